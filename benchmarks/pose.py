"""Compare head pose from Face Mesh with FSA-Net on real footage. Prints Markdown.

    python benchmarks/pose.py FOLDER NETWORKS [--every 10] [--picture axes.png]

FOLDER holds clips (``*.mp4``), a row each, or photographs (``*.jpg``, in folders of their own too), one row. NETWORKS
holds ``fsanet-*.onnx``, whose answers are averaged (Yang et al., "FSA-Net: Learning Fine-Grained Structure Aggregation
for Head Pose Estimation from a Single Image", CVPR 2019). FSA-Net is no truth: its own mean error on AFLW2000 is 5
degrees, by its authors. Bias is the median of ours less FSA-Net's. The picture shows the axes of both: red to the
right of the image, green down, blue out of the face.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from tracker import align, models
from tracker import boxes as geometry
from tracker.expression import ExpressionOptions
from tracker.headpose import head_pose, rotation
from tracker.models.sessions import open_session
from tracker.types import POSE, Float32, Image
from tracker.video import open_video, read_image

LEAST_SCORE = 0.5
"""Score from which a detection is compared."""

SIDE, MARGIN = 64, 0.2
"""Pixels of FSA-Net's input, and what it sees around the box as a share of its longer side, to each side.

Chosen on photographs of Labeled Faces in the Wild, where its answers to a face and to its mirror image differ least.
"""

TILE = 200
"""Side of a face in the picture, in pixels."""

RED, GREEN, BLUE = (40, 40, 230), (60, 180, 40), (230, 120, 30)


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A face and its two poses, ``(3,)`` float32 each, as of `tracker.headpose.head_pose`.

    Attributes:
        crop: ``(TILE, TILE, 3)`` uint8 for the picture.
        ours: From Face Mesh.
        theirs: From FSA-Net.
    """

    crop: Image
    ours: Float32
    theirs: Float32


class FsaNet:
    """The mean of several FSA-Nets, in our axes."""

    def __init__(self, folder: Path) -> None:
        """Load ``fsanet-*.onnx`` of a folder."""
        paths = sorted(folder.glob("fsanet-*.onnx"))
        if not paths:
            raise SystemExit(f"{folder} holds no fsanet-*.onnx")
        self._sessions = [open_session(path) for path in paths]

    def pose(self, image: Image, box: Float32) -> Float32:
        """Return ``(3,)`` float32 pitch, yaw and roll in radians."""
        crop = square(image, box, SIDE).astype(np.float32)
        values = ((crop - 127.5) / 128).transpose(2, 0, 1)[None]
        answers = [session.run(None, {session.get_inputs()[0].name: values})[0][0] for session in self._sessions]
        return to_our_axes(np.mean(answers, axis=0))


def to_our_axes(degrees: Float32) -> Float32:
    """Return ``(3,)`` pitch, yaw, roll in radians of FSA-Net's ``(3,)`` yaw, pitch, roll in degrees.

    FSA-Net learned from 300W-LP, whose rotations are Rx Ry Rz as ours are, and whose pitch grows when a face looks up.
    """
    yaw, pitch, roll = np.radians(degrees)
    return np.array([-pitch, yaw, roll], np.float32)


def square(image: Image, box: Float32, side: int) -> Image:
    """Return the square around a box, with `MARGIN`."""
    scale = side / (float((box[2:] - box[:2]).max()) * (1 + 2 * MARGIN))
    shift = (side - 1) / 2 - ((box[:2] + box[2:] - 1) / 2) * scale
    return align.warp(image, np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64), side)


def pictures(folder: Path, every: int) -> dict[str, Iterator[Image]]:
    """Return name -> every so manyth picture of each clip, or of all photographs together.

    Raises:
        SystemExit: if there are neither.
    """
    clips, photographs = sorted(folder.glob("*.mp4")), sorted(folder.rglob("*.jpg"))
    if clips:
        return {clip.stem: frames(clip, every) for clip in clips}
    if not photographs:
        raise SystemExit(f"{folder} holds neither *.mp4 nor *.jpg")
    return {folder.name: (read_image(path) for path in photographs[::every])}


def frames(clip: Path, every: int) -> Iterator[Image]:
    """Yield every so manyth frame of a clip."""
    with open_video(clip) as video:
        yield from (frame.image for frame in itertools.islice(video, 0, None, every))


def look(images: Iterator[Image], network: FsaNet) -> list[Face]:
    """Return the faces in which Face Mesh finds a pose."""
    detector, landmarks = models.load("detector", "centerface"), models.load("landmarks", "facemesh")
    faces = []
    for image in images:
        found = detector.detect(image)
        wanted = (found.scores > LEAST_SCORE) & (geometry.sizes(found.boxes) >= ExpressionOptions().smallest)
        for box in found.boxes[wanted]:
            mesh = landmarks.landmarks(image, box)
            if mesh is not None and np.isfinite(pose := head_pose(mesh)).all():
                faces.append(Face(square(image, box, TILE), pose, network.pose(image, box)))
    return faces


def table(rows: dict[str, list[Face]]) -> list[str]:
    """Return a Markdown table: a row per clip, all together, and all that are told an emotion."""
    titles = [f"{what} {angle}" for what in ("difference", "bias", "correlation") for angle in POSE]
    everything = [face for faces in rows.values() for face in faces]
    widest = ExpressionOptions().widest_yaw
    facing = [face for face in everything if abs(float(face.ours[1])) <= widest]
    total = {"**all**": everything, f"**yaw up to {np.degrees(widest):.0f}°**": facing}
    lines = ["| clip | faces | " + " | ".join(titles) + " |", "|" + "---|" * (len(titles) + 2)]
    return lines + [
        f"| {name} | {len(faces)} | " + " | ".join(agreement(faces)) + " |" for name, faces in (rows | total).items()
    ]


def agreement(faces: Sequence[Face]) -> list[str]:
    """Return the mean absolute difference and the median difference in degrees, and the correlation, of each angle."""
    if len(faces) < 2:
        return [""] * 9
    ours, theirs = (np.degrees([getattr(face, name) for face in faces]) for name in ("ours", "theirs"))
    difference = ours - theirs
    correlation = [np.corrcoef(ours[:, k], theirs[:, k])[0, 1] for k in range(len(POSE))]
    errors, biases = np.abs(difference).mean(axis=0), np.median(difference, axis=0)
    return [*(f"{v:.1f}°" for v in errors), *(f"{v:+.1f}°" for v in biases), *(f"{v:.2f}" for v in correlation)]


def draw(faces: Sequence[Face], path: Path, *, rows: int = 4, columns: int = 4) -> None:
    """Write faces of evenly spread yaw, with our axes on the left and FSA-Net's on the right of each pair."""
    by_yaw = sorted(faces, key=lambda face: float(face.ours[1]))
    chosen = [by_yaw[k] for k in np.linspace(0, len(faces) - 1, min(rows * columns, len(faces))).round().astype(int)]
    pairs = [np.hstack([tile(face, "ours"), tile(face, "theirs")]) for face in chosen]
    pairs += [np.zeros_like(pairs[0])] * (-len(pairs) % columns)
    sheet = np.vstack([np.hstack(pairs[k : k + columns]) for k in range(0, len(pairs), columns)])
    if not cv2.imwrite(str(path), sheet):
        raise SystemExit(f"cannot write {path}")


def tile(face: Face, which: str) -> Image:
    """Return the face with the axes of one of its poses, and its angles in degrees."""
    picture, pose = face.crop.copy(), getattr(face, which)
    axes = rotation(pose)[:2].T * [[1], [1], [-1]] * (TILE / 3)
    centre = (TILE // 2, TILE // 2)
    for colour, (x, y) in zip((RED, GREEN, BLUE), axes, strict=True):
        cv2.line(picture, centre, (round(centre[0] + x), round(centre[1] + y)), colour, 2, cv2.LINE_AA)
    text = " ".join(f"{value:+.0f}" for value in np.degrees(pose))
    name = {"ours": "mesh", "theirs": "FSA-Net"}[which]
    cv2.rectangle(picture, (0, TILE - 18), (TILE, TILE), (0, 0, 0), -1)
    style = (cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)
    cv2.putText(picture, f"{name} {text}", (4, TILE - 5), *style)
    return picture


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="clips or photographs")
    parser.add_argument("networks", type=Path, help="folder of fsanet-*.onnx")
    parser.add_argument("--every", type=int, default=10, help="look at every so manyth picture")
    parser.add_argument("--picture", type=Path, help="PNG of the axes of both")
    options = parser.parse_args()
    network = FsaNet(options.networks)
    rows = {name: look(images, network) for name, images in pictures(options.folder, max(options.every, 1)).items()}
    print("\n".join(table(rows)))
    if options.picture and any(rows.values()):
        draw([face for faces in rows.values() for face in faces], options.picture)


if __name__ == "__main__":
    main()
