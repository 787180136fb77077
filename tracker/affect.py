"""Valence and arousal of emotions that a model has told apart only by name."""

from __future__ import annotations

import numpy as np

from tracker.types import EMOTIONS, Float32, frozen

CIRCUMPLEX = frozen(
    [[-0.51, 0.59], [-0.60, 0.35], [-0.64, 0.60], [0.76, 0.48], [-0.63, -0.27], [0.40, 0.67], [0.0, 0.0]],
    np.float32,
    (len(EMOTIONS), 2),
    "CIRCUMPLEX",
)
"""Pleasure and arousal of each class, in [-1, 1]: the means that raters gave to angry, disgusted, fearful, joyful, sad
and surprised (Russell and Mehrabian, "Evidence for a Three-Factor Theory of Emotions", J. Research in Personality 11,
1977); neutral is the origin."""


def expectation(emotions: Float32) -> Float32:
    """Return ``(N, 2)`` float32 expected valence and arousal of ``(N, 7)`` probabilities; NaN rows stay NaN.

    Example:
        >>> expectation(np.eye(7, dtype=np.float32)[[3, 6]]).tolist()
        [[0.7599999904632568, 0.47999998927116394], [0.0, 0.0]]
    """
    return np.asarray(np.asarray(emotions, np.float32) @ CIRCUMPLEX, np.float32)
