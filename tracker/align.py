"""From landmarks to the aligned crop that an embedder wants, and how good that crop is."""

from __future__ import annotations

import math

import numpy as np

from tracker.headless import cv2
from tracker.protocols import Template
from tracker.types import Float32, Float64, Image

FULL_SIZE = 90.0
"""Side of a face in pixels (root of its box's area) from which more pixels no longer help; half of it counts half."""

SHARPNESS_SCALE = 60.0
"""Variance of the Laplacian (grey, face brought to 112 px, contrast evened) at which `sharpness` is one half."""

FLOOR = 0.05
"""Least value of a factor of `quality`: a poor view weighs little, yet more than nothing."""

APART = 0.3
"""Mean distance of landmarks and mesh at which a view counts half, over the root mean square distance of the five
points from their middle."""

NO_MESH = 0.25
"""What a view counts where the mesh finds no face: so many times less do such ones part their person from strangers
(see `benchmarks/quality.py`)."""

_FIVE_OF_MESH = ((33, 133), (362, 263), (1,), (61,), (291,))
_SHARPNESS_SIDE = 56
_NOSE_DROP = 0.5  # where the nose tip lies between the eyes (0) and the mouth (1) of a frontal face
_REFERENCE_DEVIATION = 50.0


def similarity(source: Float32, target: Float32) -> Float64:
    """Return the ``(2, 3)`` float64 similarity (turn, scale, shift; no mirror) that best carries points to points.

    Least squares after Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991.

    Args:
        source: ``(N, 2)`` points, N at least 2.
        target: ``(N, 2)`` points.

    Raises:
        ValueError: if the points of ``source`` all lie in one place or are not finite.

    Example:
        >>> similarity(np.float32([[0, 0], [1, 0], [0, 1]]), np.float32([[5, 5], [7, 5], [5, 7]])).round(6)
        array([[ 2., -0.,  5.],
               [ 0.,  2.,  5.]])
    """
    # A similarity is one complex factor and one complex shift, so Umeyama's solution is a complex regression.
    a, b = (np.asarray(points, np.float64) @ np.array([1, 1j]) for points in (source, target))
    spread = a - a.mean()
    energy = float(np.vdot(spread, spread).real)
    if not (np.isfinite(energy) and energy > 1e-12 and np.isfinite(b).all()):
        raise ValueError(
            f"landmarks {np.asarray(source).tolist()} give no alignment: finite, different points are needed"
        )
    factor = np.vdot(spread, b - b.mean()) / energy
    shift = b.mean() - factor * a.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def transform(points: Float32, matrix: Float64) -> Float32:
    """Return ``(N, 2)`` float32 ``points`` carried by a ``(2, 3)`` matrix."""
    return np.asarray(np.asarray(points, np.float64) @ matrix[:, :2].T + matrix[:, 2], np.float32)


def warp(image: Image, matrix: Float64, size: int) -> Image:
    """Return the ``(size, size, 3)`` uint8 crop of ``image`` under ``matrix``; black outside of the image.

    A face that shrinks is first reduced by area averaging, as bilinear sampling alone would alias.

    Args:
        image: ``(H, W, 3)`` uint8.
        matrix: ``(2, 3)`` similarity from pixels of the image to pixels of the crop.
        size: Side of the crop in pixels.
    """
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if scale < 0.75:
        image, matrix = _reduce(image, matrix, size, scale)
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(crop, np.uint8)


def _reduce(image: Image, matrix: Float64, size: int, scale: float) -> tuple[Image, Float64]:
    """Return the part of ``image`` that a crop needs, at the crop's scale, and the matrix that is left to apply."""
    inverse = np.asarray(cv2.invertAffineTransform(matrix), np.float64)
    corners = transform(np.array([[0, 0], [size, 0], [0, size], [size, size]], np.float32), inverse)
    margin = math.ceil(2 / scale)
    height, width = image.shape[:2]
    x1, y1 = np.clip(np.floor(corners.min(0)).astype(int) - margin, 0, [width - 1, height - 1])
    x2, y2 = np.clip(np.ceil(corners.max(0)).astype(int) + margin, [x1 + 1, y1 + 1], [width, height])
    reduced_size = (max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale)))
    reduced = cv2.resize(image[y1:y2, x1:x2], reduced_size, interpolation=cv2.INTER_AREA)
    ratio = np.array([(x2 - x1) / reduced_size[0], (y2 - y1) / reduced_size[1]])
    # Pixel centres: x = x1 + ratio * (x' + 0.5) - 0.5.
    to_image = np.array([[ratio[0], 0, x1 + ratio[0] / 2 - 0.5], [0, ratio[1], y1 + ratio[1] / 2 - 0.5], [0, 0, 1]])
    return np.asarray(reduced, np.uint8), np.asarray(matrix @ to_image)


def alignment(landmarks: Float32, template: Template, *, mesh: Float32 | None = None) -> Float64:
    """Return the ``(2, 3)`` similarity from pixels of an image to the crop of ``template``, see `align`.

    Where mesh and landmarks serve, the mean of both similarities, which errs less than either.
    """
    five = similarity(landmarks, template.five_points) if np.isfinite(landmarks).all() else None
    if mesh is None or not template.mesh_indices:
        return similarity(landmarks, template.five_points) if five is None else five
    dense = similarity(np.asarray(mesh)[list(template.mesh_indices), :2], template.mesh_points)
    return dense if five is None else (dense + five) / 2


def align(image: Image, landmarks: Float32, template: Template, *, mesh: Float32 | None = None) -> Image:
    """Return the ``(template.size, template.size, 3)`` uint8 BGR crop of a face.

    Args:
        image: ``(H, W, 3)`` uint8 BGR.
        landmarks: ``(5, 2)`` float32 pixels, see `tracker.types.LANDMARKS`; NaN: the mesh alone.
        template: Where the face has to lie.
        mesh: ``(478, 2 or 3)`` Face Mesh points in pixels, used where the template names mesh points; None: the
            landmarks alone.

    Raises:
        ValueError: if neither serves: points that are not finite or all in one place.
    """
    return warp(image, alignment(landmarks, template, mesh=mesh), template.size)


def box_landmarks(box: Float32) -> Float32:
    """Return ``(5, 2)`` float32 landmarks of an upright frontal face in ``box``, where no detector gave any.

    Args:
        box: ``(4,)`` float32 xyxy, hairline to chin and ear to ear.
    """
    share = np.array([[0.31, 0.41], [0.69, 0.41], [0.5, 0.6], [0.34, 0.78], [0.66, 0.78]], np.float32)
    return np.asarray(box[:2] + share * (box[2:] - box[:2]), np.float32)


def frontality(landmarks: Float32) -> float:
    """Return how much a face looks into the camera, in [0, 1]: 1 frontal, near 0 in profile or without landmarks.

    Yaw shows in where the nose tip lies between the eyes, pitch in where it lies between eyes and mouth; neither
    changes with turn, scale or shift of the image.

    Args:
        landmarks: ``(5, 2)`` float32, see `tracker.types.LANDMARKS`.

    Example:
        >>> frontality(np.float32([[38, 52], [74, 52], [56, 72], [41, 92], [71, 92]]))
        1.0
        >>> frontality(np.float32([[38, 52], [74, 52], [74, 73], [48, 92], [72, 92]]))
        0.0
    """
    right_eye, left_eye, nose, *mouth = np.asarray(landmarks, np.float64)
    eyes, middle = left_eye - right_eye, (right_eye + left_eye) / 2
    down = np.mean(mouth, axis=0) - middle
    span, drop = float(eyes @ eyes), float(down @ down)
    if not (np.isfinite(span + drop + nose.sum()) and span > 0 and drop > 0):
        return 0.0
    yaw = 2 * abs(float((nose - middle) @ eyes)) / span
    pitch = 2 * abs(float((nose - middle) @ down) / drop - _NOSE_DROP)
    return max(0.0, 1 - yaw**2) * max(0.0, 1 - pitch**2)


def sharpness(crop: Image) -> float:
    """Return how sharp a face crop is, in [0, 1): `SHARPNESS_SCALE` gives one half.

    The variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) of the inner half of the crop, brought to 112 px and
    to one contrast, so that neither size nor light passes for sharpness.

    Args:
        crop: ``(H, W, 3)`` uint8 with the face in its middle.
    """
    if not crop.size:
        return 0.0
    height, width = crop.shape[:2]
    middle = crop[height // 4 : height - height // 4, width // 4 : width - width // 4]
    grey = cv2.cvtColor(middle, cv2.COLOR_BGR2GRAY).astype(np.float32)
    shrinks = min(middle.shape[:2]) > _SHARPNESS_SIDE
    face = cv2.resize(
        grey, (_SHARPNESS_SIDE, _SHARPNESS_SIDE), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    gain = _REFERENCE_DEVIATION / max(float(face.std()), 10.0)
    variance = float(cv2.Laplacian(face, cv2.CV_32F).var()) * gain**2
    return variance / (variance + SHARPNESS_SCALE)


def quality(*, score: float, size: float, sharpness: float, frontality: float) -> float:
    """Return how well a view serves recognition, in [0, 1], as far as it can be told before it is aligned.

    The detector's score times the fourth root of size (linear up to `FULL_SIZE`), sharpness and frontality, each factor
    in [`FLOOR`, 1]; see `trust` for the rest. The root is what measuring gave: of two views of a person the worse one
    still says much (`benchmarks/quality.py`).

    Args:
        score: Detector score in [0, 1].
        size: Side of the face in pixels, see `tracker.boxes.sizes`.
        sharpness: See `sharpness`.
        frontality: See `frontality`.

    Example:
        >>> [round(quality(score=1, size=size, sharpness=1, frontality=1), 3) for size in (45, 90, 200)]
        [0.841, 1.0, 1.0]
    """
    sure, large, sharp, frontal = (
        min(1.0, max(FLOOR, factor)) for factor in (score, size / FULL_SIZE, sharpness, frontality)
    )
    return sure * math.pow(large * sharp * frontal, 0.25)


def trust(image: Image, landmarks: Float32, template: Template, *, mesh: Float32 | None) -> float:
    """Return what the alignment of a face adds to its `quality`, a factor in (0, 1].

    The fourth root of the share of the crop that lies inside of the picture, times the agreement of the two kinds of
    landmarks: where they lie apart, or the mesh finds no face, one of them is wrong, and the crop with it.

    Args:
        image: As for `align`.
        landmarks: As for `align`, finite.
        template: As for `align`.
        mesh: ``(478, 2 or 3)`` Face Mesh points in pixels; None: there is no face for it.
    """
    inside = warp(np.full_like(image, 255), alignment(landmarks, template, mesh=mesh), template.size)
    shown = math.pow(max(float(inside.mean()) / 255, FLOOR), 0.25)
    return shown * (NO_MESH if mesh is None else agreement(landmarks, mesh))


def agreement(landmarks: Float32, mesh: Float32) -> float:
    """Return how well five landmarks and a mesh of the same face agree, in (0, 1].

    It is one half where they lie `APART` times the size of the face from each other, in the mean.

    Args:
        landmarks: ``(5, 2)`` float32 pixels, see `tracker.types.LANDMARKS`.
        mesh: ``(478, 2 or 3)`` Face Mesh points in the same pixels.
    """
    points = np.asarray(mesh, np.float64)[:, :2]
    ours = np.stack([points[list(indices)].mean(axis=0) for indices in _FIVE_OF_MESH])
    theirs = np.asarray(landmarks, np.float64)
    size = math.sqrt(sum(float(np.square(five - five.mean(axis=0)).sum()) for five in (ours, theirs)) / 10)
    distance = float(np.linalg.norm(ours - theirs, axis=1).mean())
    return 1 / (1 + distance / (APART * max(size, 1e-6)))
