"""What the emotion network learns from: FER-2013, photographs that a teacher labels, and random views of both."""

from __future__ import annotations

import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tracker import align, models
from tracker.headless import cv2
from tracker.models.emotion_cnn import TEMPLATE
from tracker.models.emotion_cnn.export import WIENER
from tracker.protocols import Detector, EmotionModel, LandmarkModel
from tracker.types import EMOTIONS, Float32, Image, UInt8
from tracker.video import find_media, read_image

logger = logging.getLogger(__name__)

PHOTO_SIDE = 64
"""Side in pixels of a photograph's crop: the template in its middle, and what jitter may uncover around it."""

NOISE = 1.0
"""Deviation in grey levels of the noise on blurred pictures."""


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """Faces framed alike: the middle of each picture is where `TEMPLATE` lies.

    Attributes:
        images: ``(N, side, side)`` uint8 grey.
        targets: ``(N, 7)`` float32 probabilities of the classes.
    """

    images: UInt8
    targets: Float32

    def __len__(self) -> int:
        """Return the number of faces."""
        return len(self.images)


def read_fer2013(path: Path) -> tuple[Faces, Faces]:
    """Return the faces of Training and of PublicTest.

    Pictures of Training without content, or that stand in PublicTest too, are left out; equal ones are one picture
    under the mean of their labels.

    Args:
        path: An ``.npz`` with ``images``, ``labels`` and ``split`` (0 Training, 1 PublicTest).
    """
    with np.load(path) as data:
        images, labels, split = data["images"], data["labels"], data["split"]
    faces = Faces(images, np.eye(len(EMOTIONS), dtype=np.float32)[labels])
    training, test = (Faces(faces.images[split == part], faces.targets[split == part]) for part in (0, 1))
    return _cleaned(training, hidden=set(_digests(test.images))), test


def _cleaned(faces: Faces, *, hidden: set[str]) -> Faces:
    groups = defaultdict[str, list[int]](list)
    for row, digest in enumerate(_digests(faces.images)):
        if digest not in hidden and faces.images[row].std() > 2:
            groups[digest].append(row)
    first = [members[0] for members in groups.values()]
    return Faces(faces.images[first], np.stack([faces.targets[members].mean(0) for members in groups.values()]))


def _digests(images: UInt8) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def read_photographs(folder: Path, teacher: EmotionModel) -> Faces:
    """Return the face nearest to the middle of each photograph in a folder, with what ``teacher`` says of it."""
    detector, landmarks = models.load("detector", "centerface"), models.load("landmarks", "facemesh")
    views = [_two_crops(read_image(path), detector, landmarks, teacher) for path in find_media(folder)]
    found = [view for view in views if view is not None]
    logger.info("%d faces in %d photographs", len(found), len(views))
    crops, taught = [crop for crop, _ in found], [crop for _, crop in found]
    mirrored = [np.ascontiguousarray(crop[:, ::-1]) for crop in taught]
    answers = (teacher.classify(taught).emotions + teacher.classify(mirrored).emotions) / 2
    return Faces(np.stack(crops), np.asarray(answers, np.float32))


def _two_crops(
    image: Image, detector: Detector, landmarks: LandmarkModel, teacher: EmotionModel
) -> tuple[UInt8, Image] | None:
    """Return a face as the network and as the teacher want it."""
    found = detector.detect(image)
    if not len(found):
        return None
    middle = (found.boxes[:, :2] + found.boxes[:, 2:] - image.shape[1::-1]) / 2
    row = int(np.argmin(np.hypot(middle[:, 0], middle[:, 1])))
    mesh = landmarks.landmarks(image, found.boxes[row])
    matrix = align.alignment(found.landmarks[row], TEMPLATE, mesh=mesh)
    matrix[:, 2] += (PHOTO_SIDE - TEMPLATE.size) / 2
    crop = align.warp(image, matrix, PHOTO_SIDE)
    grey = np.asarray(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), np.uint8)
    return grey, align.align(image, found.landmarks[row], teacher.template, mesh=mesh)


# ---- blur


def blurred(images: Tensor, sigma: float) -> Tensor:
    """Return ``(N, 1, S, S)`` pictures under a Gaussian of ``sigma`` pixels."""
    return _filtered(images, _gaussian(images.shape[-1] * 2, sigma))


def deblurred(images: Tensor, sigma: float) -> Tensor:
    """Return ``(N, 1, S, S)`` pictures with a Gaussian of ``sigma`` pixels undone as far as noise allows (Wiener)."""
    gaussian = _gaussian(images.shape[-1] * 2, sigma)
    return _filtered(images, gaussian / (gaussian**2 + WIENER))


def _gaussian(side: int, sigma: float) -> Tensor:
    along = torch.exp(-2 * (math.pi * sigma * torch.fft.fftfreq(side)) ** 2)
    return along[:, None] * along[None]


def _filtered(images: Tensor, response: Tensor) -> Tensor:
    side = images.shape[-1]
    border = side // 2
    padded = functional.pad(images, (border,) * 4, mode="reflect")
    spectrum = torch.fft.fft2(padded) * response
    return torch.fft.ifft2(spectrum).real[..., border : border + side, border : border + side].contiguous()


# ---- views


class Views:
    """Random views of faces: framing, mirror, light, sharpness, and parts hidden."""

    def __init__(self, seed: int) -> None:
        self._random = torch.Generator().manual_seed(seed)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return ``(N, 1, size, size)`` float32 views of ``(N, 1, S, S)`` float32 pictures in [0, 255]."""
        views = crop(pictures, self._framing(len(pictures), pictures.shape[-1]))
        return self._hidden(self._softened(self._lit(views)))

    def as_blurred(self, pictures: Tensor, sigma: float, *, share: float) -> Tensor:
        """Return pictures, a share of them as blurred ones look when deblurred."""
        some = self._chance(len(pictures), share)
        if sigma and some.any():
            soft = blurred(pictures[some], sigma)
            noise = NOISE * torch.randn(soft.shape, generator=self._random)
            pictures[some] = deblurred(soft + noise, sigma)
        return pictures

    def _framing(self, n: int, side: int) -> Tensor:
        """Return ``(N, 2, 3)`` matrices from pixels of the picture to those of the view."""
        angle, scale = self._normal(n) * math.radians(9), torch.exp(self._normal(n) * 0.09)
        mirror = torch.where(self._chance(n, 0.5), -1.0, 1.0)
        a, b = scale * torch.cos(angle), scale * torch.sin(angle)
        linear = torch.stack([torch.stack([a * mirror, -b], -1), torch.stack([b * mirror, a], -1)], -2)
        centre = torch.full((2, 1), (side - 1) / 2)
        shift = (TEMPLATE.size - 1) / 2 + 1.6 * self._normal(n, 2, 1) - linear @ centre
        return torch.cat([linear, shift], -1)

    def _lit(self, views: Tensor) -> Tensor:
        """Return the views under another gamma and with light from one side."""
        n = len(views)
        gamma = torch.exp(self._normal(n, 1, 1, 1) * 0.25)
        slope = self._normal(n, 2, 1, 1) * 0.12
        ramp = torch.linspace(-1, 1, views.shape[-1])
        light = slope[:, :1] * ramp + slope[:, 1:] * ramp[:, None]
        return 255 * ((views / 255).clamp(1e-4, 1) ** gamma + light)

    def _softened(self, views: Tensor) -> Tensor:
        """Return the views, some of them as small faces would look: reduced and enlarged again."""
        some = self._chance(len(views), 0.2)
        if some.any():
            side = int(torch.randint(16, 36, (1,), generator=self._random))
            small = functional.interpolate(views[some], size=(side, side), mode="bilinear", antialias=True)
            views[some] = functional.interpolate(small, size=views.shape[-2:], mode="bilinear")
        return views

    def _hidden(self, views: Tensor) -> Tensor:
        """Return the views, a third with a rectangle of noise: Zhong et al., "Random Erasing", AAAI 2020."""
        side = views.shape[-1]
        for row in self._chance(len(views), 0.33).nonzero().ravel().tolist():
            height, width = torch.randint(5, 20, (2,), generator=self._random).tolist()
            y, x = (int(torch.randint(0, side - n, (1,), generator=self._random)) for n in (height, width))
            noise = torch.rand((height, width), generator=self._random)
            views[row, 0, y : y + height, x : x + width] = 255 * noise
        return views

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._random)

    def _chance(self, n: int, probability: float) -> Tensor:
        return torch.rand(n, generator=self._random) < probability


def crop(pictures: Tensor, matrices: Tensor) -> Tensor:
    """Return ``(N, 1, size, size)`` float32 crops, the border's grey outside.

    Args:
        pictures: ``(N, 1, S, S)`` float32.
        matrices: ``(N, 2, 3)`` float32 from pixels of the picture to pixels of the crop.
    """
    size, side = TEMPLATE.size, pictures.shape[-1]
    square = torch.linalg.inv(matrices[:, :, :2])
    inverse = torch.cat([square, -square @ matrices[:, :, 2:]], -1)
    ys, xs = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    points = torch.stack([xs, ys, torch.ones_like(xs)], -1).reshape(-1, 3).float()
    places = (points @ inverse.transpose(1, 2) + 0.5) * (2 / side) - 1
    grid = places.reshape(-1, size, size, 2)
    return functional.grid_sample(pictures, grid, mode="bilinear", padding_mode="border", align_corners=False)


def middles(faces: Faces) -> Tensor:
    """Return ``(N, 1, size, size)`` float32 middles of the pictures, for testing."""
    first = (faces.images.shape[-1] - TEMPLATE.size) // 2
    inner = faces.images[:, first : first + TEMPLATE.size, first : first + TEMPLATE.size]
    return torch.from_numpy(inner[:, None].astype(np.float32))


def concatenated(parts: Sequence[Tensor]) -> Tensor:
    """Return one batch of several, in the memory layout that convolutions want."""
    return torch.cat(list(parts)).contiguous(memory_format=torch.channels_last)
