"""Frames per second and faces found on one video, beside the loops that people write: every frame through a library.

    python benchmarks/speed.py VIDEO [--frames 40]

The loops see only the first so many frames, as they are slow; ours sees the whole video, its start-up included.
The loop of face_recognition needs it installed: ``pip install --no-deps face_recognition 'setuptools<81'``, with
``dlib-bin`` of the test extra. Prints Markdown.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from indexing import Store, process
from tracker.types import Image
from tracker.video import open_video

OURS = "emotion_cnn"


def frames(video: Path, count: int) -> Iterator[Image]:
    """Yield the first ``count`` pictures of a video."""
    with open_video(video) as opened:
        yield from (frame.image for frame in islice(opened, count))


def deepface_loop() -> Callable[[Image], int]:
    """Return a function that finds and embeds faces with deepface: its Dlib model and its default detector."""
    from tracker.models import load

    load("embedder", "deepface:Dlib")  # places the weights that facetrack brings, so that nothing is fetched
    from deepface import DeepFace

    def look(image: Image) -> int:
        found = DeepFace.represent(image, model_name="Dlib", detector_backend="opencv", enforce_detection=False)
        return sum(face["face_confidence"] > 0 for face in found)

    return look


def face_recognition_loop() -> Callable[[Image], int]:
    """Return a function that finds and embeds the faces of a picture with face_recognition."""
    import face_recognition

    def look(image: Image) -> int:
        rgb = np.ascontiguousarray(image[:, :, ::-1])
        return len(face_recognition.face_encodings(rgb, face_recognition.face_locations(rgb)))

    return look


def time_loop(make: Callable[[], Callable[[Image], int]], video: Path, count: int) -> tuple[float, float]:
    """Return frames per second and faces per frame of a loop, its first (warm-up) call not counted."""
    pictures = list(frames(video, count))
    look = make()
    look(pictures[0])
    start = time.perf_counter()
    faces = [look(picture) for picture in pictures]
    return len(pictures) / (time.perf_counter() - start), float(np.mean(faces))


def time_facetrack(video: Path, preset: str, emotion: str | None) -> tuple[float, float, float, dict[str, float]]:
    """Return frames per second (loading of models included), real-time factor, faces per frame, seconds per stage."""
    with tempfile.TemporaryDirectory() as scratch, Store(Path(scratch) / "speed.db") as store:
        start = time.perf_counter()
        (outcome,) = process([video], store, preset=preset, emotion=emotion)
        seconds = time.perf_counter() - start
        record = store.videos()[0]
    faces = outcome.statistics.face_frames / record.frame_count
    return record.frame_count / seconds, record.end / seconds, faces, outcome.statistics.seconds


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=40)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print("| what | frames/s | times real time | faces per frame |\n|---|---|---|---|")
    profile = ""
    for preset, emotion in (("fast", OURS), ("balanced", None), ("balanced", OURS), ("accurate", OURS)):
        rate, factor, faces, stages = time_facetrack(options.video, preset, emotion)
        without = "" if emotion else ", without emotions"
        print(f"| facetrack, {preset}{without} | {rate:.1f} | {factor:.2f} | {faces:.2f} |")
        if preset == "balanced" and emotion:
            profile = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in sorted(stages.items()))
    for name, loop in (("deepface (Dlib)", deepface_loop), ("face_recognition", face_recognition_loop)):
        try:
            rate, faces = time_loop(loop, options.video, options.frames)
        except ImportError as error:
            print(f"| {name}, every frame | not installed: {error} | | |")
        else:
            print(f"| {name}, every frame | {rate:.2f} | | {faces:.2f} |")
    print(f"\nbalanced, by stage (they run side by side): {profile}")


if __name__ == "__main__":
    main()
