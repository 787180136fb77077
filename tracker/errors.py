"""Errors that say what is wrong, what came, what is allowed and what to do; the command line prints one line."""


class FacetrackError(Exception):
    """Anything that a user can mend: bad input, a missing model, a database of another version."""


class MediaError(FacetrackError):
    """A file that cannot be decoded as a video or an image."""


class ModelError(FacetrackError):
    """An unknown model, or weights that are missing or damaged."""
