"""How far tests go: a little each time, and far where ``--hypothesis-profile=thorough`` asks."""

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import settings

T = TypeVar("T")

THOROUGH = 32
"""How many times as far machines of states are driven."""

settings.register_profile("thorough", max_examples=1000, deadline=None)

# How long an example takes tells how busy the machine is, and nothing of the code.
settings.register_profile("patient", deadline=None)
if settings.get_current_profile_name() == "default":
    settings.load_profile("patient")


def is_thorough() -> bool:
    """Whether all is to be tried that can be."""
    return settings.get_current_profile_name() == "thorough"


def bounded(examples: int, steps: int) -> settings:
    """Return settings for that many runs of at most so many steps."""
    further = THOROUGH if is_thorough() else 1
    return settings(max_examples=further * examples, stateful_step_count=steps, deadline=None)


def representative(few: Sequence[T], rest: Sequence[T]) -> list[T]:
    """Return a few parameters that show together what each of all can show, and the rest where all are asked for.

    For grids whose members are slow and differ in one thing at a time: name a few in which each thing occurs.
    """
    return [*few, *(rest if is_thorough() else ())]
