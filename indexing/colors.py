"""The colour of each person: the same in pictures and videos, told apart by colour-blind eyes as far as it goes."""

from __future__ import annotations

import colorsys

Color = tuple[float, float, float]

# The eight of Okabe and Ito (2008) without black, in an order that sets the first few far apart.
_PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#D55E00", "#0072B2", "#F0E442")

_UNKNOWN = "#9AA0A6"

_GOLDEN = 0.61803398875


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


def _parse(code: str) -> Color:
    red, green, blue = (int(code[k : k + 2], 16) / 255 for k in (1, 3, 5))
    return red, green, blue
