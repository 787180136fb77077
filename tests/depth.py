"""How far machines of states are driven: a little each time, and far where ``--hypothesis-profile=thorough`` asks."""

from hypothesis import settings

THOROUGH = 20
"""How many times as far."""

settings.register_profile("thorough", max_examples=1000, deadline=None)


def bounded(examples: int, steps: int) -> settings:
    """Return settings for that many runs of at most so many steps."""
    further = THOROUGH if settings.get_current_profile_name() == "thorough" else 1
    return settings(max_examples=further * examples, stateful_step_count=steps, deadline=None)
