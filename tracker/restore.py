"""What is done for a photograph that somebody searches with, before it is compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tracker import align
from tracker import boxes as geometry
from tracker.headless import cv2
from tracker.keyframes import Candidate

SHARP = 0.6
"""Sharpness (`tracker.align.sharpness`) from which a face is left as it is; photographs of LFW have 0.64 to 0.94."""

GAIN = 10.0
"""Detail that is added for each unit of sharpness that is missing, up to `MOST`."""

MOST = 3.0

RADIUS = 0.03
"""Deviation of the blur that detail is told by, as a share of the face's side."""


def sharpened(face: Candidate) -> Candidate | None:
    """Return a blurred face with its detail brought out by unsharp masking; None where it is sharp enough.

    An embedder that was trained on sharp faces takes blurred ones for each other. `benchmarks/probes.py` measures what
    this gains, and that flips, other light, contrast and shifts gain nothing.
    """
    side = float(geometry.sizes(face.box[None])[0])
    lack = SHARP - align.sharpness(geometry.pixels(face.patch, face.box))
    if lack <= 0 or side < 1:
        return None
    amount = min(GAIN * lack, MOST)
    pixels = face.patch.astype(np.float32)
    detail = pixels - cv2.GaussianBlur(pixels, (0, 0), RADIUS * side)
    return replace(face, patch=np.clip(pixels + amount * detail, 0, 255).astype(np.uint8))
