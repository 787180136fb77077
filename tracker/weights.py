"""Where files of weights lie."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from tracker.errors import ModelError


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


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` so that no reader, and no crash, ever sees a part of it.

    Raises:
        ModelError: if the folder cannot be written.
    """
    import tempfile

    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise ModelError(f"cannot write {path}: {error}; set FACETRACK_CACHE to a folder that can be written") from error
