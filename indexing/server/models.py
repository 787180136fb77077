"""The models that searches and enrolments need: loaded at the first one, kept, and used by one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from indexing.search import load_models, model_names
from indexing.store import Store

if TYPE_CHECKING:
    from tracker.embedding import Models


class SearchModels:
    """The models of a store, loaded when they are first needed."""

    def __init__(self, store: Store, models_dir: Path | None) -> None:
        self._store, self._models_dir = store, models_dir
        self._lock = threading.Lock()
        self._names: dict[str, str] = {}
        self._loaded: Models | None = None

    @contextmanager
    def __call__(self) -> Iterator[Models]:
        """Lend the models, which are not made for several threads, to one request."""
        with self._lock:
            names = model_names(self._store)
            if self._loaded is None or names != self._names:
                self._loaded, self._names = load_models(self._store, models_dir=self._models_dir), names
            yield self._loaded
