"""The two verbs of the service: `process` adds videos to a store, `identify` says who is in all of them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from indexing import calibrate, identities
from indexing.carry import Changes, changes
from indexing.types import TrackRecord, Verdicts, VideoRecord
from tracker.errors import FacetrackError
from tracker.types import Keyframes, Statistics, VideoInfo

if TYPE_CHECKING:
    from indexing.identities import Assignment
    from indexing.store import Store
    from tracker.embedding import Models
    from tracker.options import TrackingOptions
    from tracker.protocols import Detector, Embedder, EmotionModel

logger = logging.getLogger(__name__)

_IDENTIFIED = "identified"
_WAITING = "waiting"
_SETTLED_AT = "settled_at"

MODELS = "models"
"""Key under which a store keeps the names of the models it was made with."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        path: The file.
        status: ``added``; ``unchanged``: the same content was there with the same models and settings; ``failed``.
        message: One line for people.
        video_id: The video in the store; None where it failed.
        statistics: What the tracker did, where it ran.
    """

    path: Path
    status: Literal["added", "unchanged", "failed"]
    message: str
    video_id: int | None = None
    statistics: Statistics = field(default_factory=Statistics)


class Progress(Protocol):
    """Who wants to know how far a long run is."""

    def start(self, path: Path, frames: int | None) -> None:
        """A file begins, with about so many frames; None: not known."""
        ...

    def advance(self, frames: int) -> None:
        """So many frames more are done."""
        ...

    def finish(self, outcome: Outcome) -> None:
        """The file is done."""
        ...


class _Silent:
    """Progress that nobody watches."""

    def start(self, path: Path, frames: int | None) -> None: ...

    def advance(self, frames: int) -> None: ...

    def finish(self, outcome: Outcome) -> None: ...


def process(
    paths: Iterable[Path | str],
    store: Store,
    *,
    detector: str | Detector = "centerface",
    embedder: str | Embedder = "dlib",
    emotion: str | EmotionModel | None = "emotion_cnn",
    preset: str = "balanced",
    detect_every: int | None = None,
    emotion_fps: float | None = 5.0,
    clusterer: str = "auto",
    far: float | None = None,
    models_dir: Path | None = None,
    progress: Progress | None = None,
) -> list[Outcome]:
    """Add videos, images and folders of them to a store, then say who is who in all of it.

    Each file is stored in one transaction as soon as it is done; a file that fails is told in its outcome and the
    others go on. An interrupted run is taken up again by the same call: what is stored is left alone.

    Args:
        paths: Files and folders.
        store: Where to.
        detector: See `tracker.track_faces`.
        embedder: See `tracker.track_faces`.
        emotion: See `tracker.track_faces`.
        preset: See `tracker.track_faces`.
        detect_every: See `tracker.track_faces`.
        emotion_fps: See `tracker.track_faces`.
        clusterer: See `identify`.
        far: See `identify`.
        models_dir: See `tracker.track_faces`.
        progress: Told of each file.

    Returns:
        What became of each file, in order.

    Raises:
        FacetrackError: if a model is unknown or missing, or the store holds vectors of another embedder.
        ValueError: if an option is out of its range.
    """
    from tracker.embedding import load_models
    from tracker.options import options_for

    identities.check_clusterer(clusterer)
    options = options_for(preset, detect_every=detect_every, emotion_fps=emotion_fps)
    models = load_models(detector=detector, embedder=embedder, emotion=emotion, models_dir=models_dir)
    check_embedder(store, models.embedder.model_id)
    remember_models(store, detector=detector, embedder=embedder)
    watcher = progress or _Silent()
    outcomes = []
    for item in _media(paths):
        outcome = item if isinstance(item, Outcome) else _add(item, store, models, options, watcher)
        watcher.finish(outcome)
        outcomes.append(outcome)
    if store.get_meta(_IDENTIFIED) != _state(store, clusterer, far):
        identify(store, clusterer=clusterer, far=far, settle=True)
    return outcomes


def identify(store: Store, *, clusterer: str = "auto", far: float | None = None, settle: bool = False) -> None:
    """Say whose the tracks of the store are that are new, and cluster what lies within their reach anew.

    New are the tracks of nobody that were not there the last time, and those whose identity contradicts what people
    said. Everything else is left alone, see `indexing.identities.assign`.

    Args:
        store: The store.
        clusterer: ``auto``, ``constrained``, ``hdbscan`` or ``kmeans``.
        far: False accept rate at which two tracks are taken for one person; None: by the number of tracks.
        settle: Cluster everything anew if the number of tracks has changed so much that the rate has, see
            `indexing.identities.DRIFT`. A correction never does: it moves what it speaks of.

    Raises:
        FacetrackError: if the clusterer or the rate is none of those there are.
    """

    def placed(seen: _Seen) -> Assignment:
        waiting = set(store.get_meta(_WAITING, ()))
        fresh = [track.key for track in seen.tracks if track.identity_id is None and track.key not in waiting]
        return identities.assign(
            seen.tracks,
            store.embeddings(),
            fresh=fresh,
            verdicts=seen.verdicts,
            scale=calibrate.for_store(store),
            clusterer=clusterer,
            far=far,
            settled_at=store.get_meta(_SETTLED_AT, identities.NEVER) if settle else None,
        )

    _decide(store, placed, [clusterer, far])


def recluster(store: Store, *, clusterer: str = "auto", far: float | None = None, dry_run: bool = False) -> Changes:
    """Say anew whose every track of the store is, from the embeddings and what people said; ids are carried over.

    Args:
        store: The store.
        clusterer: See `identify`.
        far: See `identify`.
        dry_run: Only tell what would change.

    Returns:
        What changes.

    Raises:
        FacetrackError: if the clusterer or the rate is none of those there are.
    """

    def clustered(seen: _Seen) -> Assignment:
        scale = calibrate.for_store(store)
        return identities.recluster(
            seen.tracks, store.embeddings(), verdicts=seen.verdicts, scale=scale, clusterer=clusterer, far=far
        )

    if dry_run:
        seen = _Seen.of(store)
        return _told(store, seen, clustered(seen))
    seen, result, ids = _decide(store, clustered, [clusterer, far])
    return _told(store, seen, result, ids)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What whose each track is follows from."""

    tracks: list[TrackRecord]
    verdicts: Verdicts
    revision: str

    @classmethod
    def of(cls, store: Store) -> _Seen:
        return cls(store.track_records(), store.verdicts(), store.embeddings_revision)


def _decide(
    store: Store, decide: Callable[[_Seen], Assignment], options: Sequence[Any]
) -> tuple[_Seen, Assignment, list[int]]:
    """Say whose the tracks are and write it; return what it followed from, the outcome, and the id of each group.

    Others may write while it is thought about. What they wrote is not overwritten by what followed from less: it is
    thought about once more then, while they wait.
    """
    seen = _Seen.of(store)
    result = decide(seen)
    with store.transaction():
        now = _Seen.of(store)
        if now != seen:
            seen, result = now, decide(now)
        return seen, result, _keep(store, result, [seen.revision, *options])


def _keep(store: Store, result: Assignment, state: Any) -> list[int]:
    """Write whose the tracks are, and which of them wait on."""
    looked_at = frozenset(result.clustered)
    groups = [group for group in result.groups if not looked_at.isdisjoint(group[1])]
    ids = store.assign(groups, confidences=result.confidences, among=looked_at)
    store.set_meta(_WAITING, list(result.unknown), silent=True)
    store.set_meta(_IDENTIFIED, state, silent=True)
    if result.settled_at is not None:
        store.set_meta(_SETTLED_AT, result.settled_at, silent=True)
    return ids


def _told(store: Store, seen: _Seen, result: Assignment, ids: Sequence[int | None] = ()) -> Changes:
    """Return what is different now, or would be where the groups have no ids yet."""
    before = {track.key: track.identity_id for track in seen.tracks if track.identity_id is not None}
    labels = {identity.identity_id: identity.label for identity in store.identities(include_empty=True)}
    after = {
        key: -1 - place if who is None else who
        for place, (who, (_, keys)) in enumerate(zip(ids or [w for w, _ in result.groups], result.groups, strict=True))
        for key in keys
    }
    return changes(before, after, labels=labels, frames={track.key: track.frame_count for track in seen.tracks})


def reembed(
    store: Store, *, embedder: str | Embedder, models_dir: Path | None = None, progress: Progress | None = None
) -> list[Outcome]:
    """Put the vectors of another embedder in place of all in the store; identities keep their tracks.

    The keyframes are cut anew from the files, which have to be where they were and be the same.

    Args:
        store: The store.
        embedder: See `tracker.track_faces`.
        models_dir: See `tracker.track_faces`.
        progress: Told of each file.

    Returns:
        What became of each file.

    Raises:
        FacetrackError: if a file is gone or has changed, or there is a piece of a live stream; nothing is stored then.
    """
    from tracker.embedding import load_models
    from tracker.pipeline import embed_keyframes
    from tracker.video import open_video

    for record in store.videos(enrolled=True):
        record.check_pictures()
    models = load_models(embedder=embedder, models_dir=models_dir)
    watcher = progress or _Silent()
    keyframes: list[tuple[int, Keyframes]] = []
    outcomes = []
    for record in store.videos(enrolled=True):
        watcher.start(record.path, record.frame_count)
        tracks = store.tracks(record.video_id)
        with open_video(record.path) as video:
            _check_unchanged(record, video.info)
            made = embed_keyframes(models, video, [track for _, track in tracks], advance=watcher.advance)
        keyframes += [(track.key, rows) for (track, _), rows in zip(tracks, made, strict=True)]
        outcomes.append(Outcome(record.path, "added", f"{sum(map(len, made))} embeddings", record.video_id))
        watcher.finish(outcomes[-1])
    store.replace_embeddings(models.embedder.model_id, keyframes)
    remember_models(store, embedder=embedder)
    return outcomes


def remember_models(
    store: Store, *, detector: str | Detector | None = None, embedder: str | Embedder | None = None
) -> None:
    """Keep the names of the models in the store, so that a search needs no options; objects have none."""
    named = {"detector": detector, "embedder": embedder}
    known = store.get_meta(MODELS, {})
    kept = {**known, **{kind: name for kind, name in named.items() if isinstance(name, str)}}
    if kept != known:
        store.set_meta(MODELS, kept, silent=True)


def _media(paths: Iterable[Path | str]) -> Iterator[Path | Outcome]:
    """Yield the media files of files and folders, and an outcome for what is none."""
    from tracker.video import find_media

    for path in paths:
        try:
            yield from find_media(path)
        except FacetrackError as error:
            yield Outcome(Path(path), "failed", str(error))


def _add(path: Path, store: Store, models: Models, options: TrackingOptions, watcher: Progress) -> Outcome:
    from tracker.pipeline import track_video
    from tracker.video import open_video

    try:
        with open_video(path) as video:
            info = video.info
            known = store.find_video(info.content_hash)
            if known and _is_same(known, models, options):
                return Outcome(
                    path, "unchanged", f"already there as {known.path}, same models and settings", known.video_id
                )
            watcher.start(path, round(info.fps * info.duration) or None if not info.is_image else 1)
            result = track_video(models, video, options=options, advance=watcher.advance)
        video_id = store.add_video(result, replace=known is not None)
    except FacetrackError as error:
        return Outcome(path, "failed", str(error))
    return Outcome(path, "added", f"{len(result.tracks)} tracks", video_id, result.statistics)


def _is_same(known: VideoRecord, models: Models, options: TrackingOptions) -> bool:
    settings = json.loads(json.dumps(asdict(options)))
    emotion_id = None if models.emotion is None else models.emotion.model_id
    ids = (models.detector.model_id, models.embedder.model_id, emotion_id)
    return (known.detector_id, known.embedder_id, known.emotion_id) == ids and known.settings == settings


def check_embedder(store: Store, model_id: str) -> None:
    """Refuse an embedder whose vectors cannot stand beside those of a store.

    Raises:
        FacetrackError: if the store holds vectors of another one.
    """
    if store.embedder_id not in (None, model_id):
        raise FacetrackError(
            f"{store.path} holds vectors of {store.embedder_id}; those of {model_id} cannot be compared with them: "
            f"keep to --embedder of the database, use another --db, or run `facetrack reembed` first"
        )


def _check_unchanged(record: VideoRecord, info: VideoInfo) -> None:
    if record.info.content_hash != info.content_hash:
        raise FacetrackError(f"{record.path} is not the file that was added; put that one back, or remove the video")


def _state(store: Store, clusterer: str, far: float | None) -> Any:
    return [store.embeddings_revision, clusterer, far]
