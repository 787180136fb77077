"""The colour of each person and of each emotion, told apart by colour-blind eyes as far as it goes."""

from __future__ import annotations

import colorsys

Color = tuple[float, float, float]

# The eight of Okabe and Ito (2008) without black, in an order that sets the first few far apart.
_PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")

_UNKNOWN = "#9AA0A6"

_GOLDEN = 0.61803398875

# Found by a search within the hues that people expect: any two are at least 14 apart (CIEDE2000) for normal eyes and
# those without red, green or blue cones (Machado et al. 2009), each at 2:1 or more on white and on near black.
_EMOTIONS = {
    "angry": "#CE1020",
    "disgust": "#23A06C",
    "fear": "#824774",
    "happy": "#DFAE14",
    "sad": "#2B6CD0",
    "surprise": "#1FC0F8",
    "neutral": "#9AA0A8",
}

NOT_KNOWN = "#EEF0F2"
"""Where a face is seen and its emotion is not known: lighter than neutral, and hatched."""

PLEASANT, UNPLEASANT = "#4D9221", "#C51B7D"
"""Ends of the scale of valence, white between them: the diverging PiYG of Brewer (https://colorbrewer2.org)."""


def color(identity_id: int | None) -> Color:
    """Return the colour of a person, RGB in [0, 1]; grey for an unknown one.

    The first seven are those of Okabe and Ito (https://jfly.uni-koeln.de/color/); after them hues follow by the golden
    section, in three lightnesses.

    Example:
        >>> color(1) == color(8), color(None)
        (False, (0.6039215686274509, 0.6274509803921569, 0.6509803921568628))
    """
    if identity_id is None:
        return _parse(_UNKNOWN)
    place = identity_id - 1
    if 0 <= place < len(_PALETTE):
        return _parse(_PALETTE[place])
    return colorsys.hls_to_rgb(place * _GOLDEN % 1.0, (0.48, 0.64, 0.36)[place % 3], 0.62)


def emotion_color(label: str) -> Color:
    """Return the colour of an emotion of `tracker.types.EMOTIONS`, RGB in [0, 1].

    Example:
        >>> hexadecimal(emotion_color("happy"))
        '#DFAE14'
    """
    return _parse(_EMOTIONS[label])


def hexadecimal(rgb: Color) -> str:
    """Return a colour as HTML writes it."""
    return "#" + "".join(f"{round(255 * part):02X}" for part in rgb)


def _parse(code: str) -> Color:
    red, green, blue = (int(code[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return red, green, blue
