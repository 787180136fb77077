"""Reference pictures against the index: every face in them, answered as people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexing import calibrate, cluster
from indexing.calibrate import Calibration
from indexing.index import Hits, load_or_rebuild
from indexing.pipeline import MODELS
from indexing.store import Store
from indexing.types import UNKNOWN, Appearance, Identity, Match, TrackRecord
from tracker.errors import FacetrackError
from tracker.types import Float32, Image

if TYPE_CHECKING:
    from tracker.embedding import Models
    from tracker.protocols import Detector, Embedder


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A face of a reference picture.

    Attributes:
        path: The picture.
        box: ``(4,)`` float32 xyxy in its pixels.
        vector: ``(D,)`` float32 of unit length; shorter where it is the mean of several views.
        thumbnail: ``(H, W, 3)`` uint8 BGR.
    """

    path: Path
    box: Float32
    vector: Float32
    thumbnail: Image


@dataclass(frozen=True, slots=True)
class Found:
    """A person that a probe may be, or a track of an unknown person.

    Attributes:
        match: The most similar track of the person.
        identity: The person; None: unknown.
        track_keys: All tracks of the person that lie above the threshold, most similar first.
        appearances: Everywhere the person is seen; of an unknown one the track alone.
    """

    match: Match
    identity: Identity | None
    track_keys: tuple[int, ...]
    appearances: tuple[Appearance, ...]

    @property
    def label(self) -> str:
        """The person's name, or "Person 3"; "Unknown"."""
        return self.identity.label if self.identity else UNKNOWN


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """What was found for one face.

    Attributes:
        probe: The face.
        threshold: The similarity from which on all is answered.
        found: People and unknown tracks, most similar first.
    """

    probe: Probe
    threshold: float
    found: tuple[Found, ...]


def search(
    store: Store,
    pictures: Sequence[Path | str],
    *,
    far: float = 1e-3,
    detector: str | Detector | None = None,
    embedder: str | Embedder | None = None,
    models_dir: Path | None = None,
    on_error: Callable[[FacetrackError], None] | None = None,
) -> list[Answer]:
    """Search a store for every face in reference pictures.

    Args:
        store: Where to look.
        pictures: Images; a video serves too, each track of it being a face.
        far: Share of pairs of two people that are taken for one, 1e-6 to 0.1: it sets the threshold.
        detector: See `tracker.track_faces`; None: that of the store.
        embedder: The same; it has to be the store's.
        models_dir: Folder in which weights are looked for first.
        on_error: Told of each picture that fails, while the others go on; None: the first one ends the search.

    Raises:
        FacetrackError: if the store is empty, a picture shows no face, or the embedder is not the store's.
        MediaError: if a picture cannot be decoded.
    """
    check_searchable(store)
    models = _load(store, detector, embedder, models_dir)
    probes: list[Probe] = []
    for picture in pictures:
        try:
            probes += _probes(Path(picture), models)
        except FacetrackError as error:
            if on_error is None:
                raise
            on_error(error)
    return answer(store, probes, far=far)


def check_searchable(store: Store) -> None:
    """Refuse a store that has no face to compare with.

    Raises:
        FacetrackError: if there is no embedding in it.
    """
    if not len(load_or_rebuild(store)):
        raise FacetrackError(f"{store.path} has no faces to search; add videos first: facetrack add VIDEO")


def answer(store: Store, probes: Sequence[Probe], *, far: float = 1e-3) -> list[Answer]:
    """Return for each probe all people and unknown tracks above the threshold for ``far``, most similar first.

    The search is exact and by range: nothing above the threshold is left out, and nothing below it is answered.

    Raises:
        FacetrackError: if ``far`` is out of range.
    """
    scale = calibrate.for_model(store.embedder_id or "")
    threshold = scale.threshold(far)
    index = load_or_rebuild(store)
    records = {record.key: record for record in store.track_records()}
    return [
        Answer(probe, threshold, tuple(_people(store, _matches(store, hits, records, scale), records)))
        for probe in probes
        for hits in index.range_search(probe.vector[None], threshold)
    ]


def _matches(store: Store, hits: Hits, records: dict[int, TrackRecord], scale: Calibration) -> list[Match]:
    """Return each track that was hit once, by its most similar embedding, most similar first."""
    best: dict[int, float] = {}
    keys = store.embedding_tracks(hits.ids).tolist()
    for key, similarity in zip(keys, hits.similarities.tolist(), strict=True):
        if key in records:
            best.setdefault(key, similarity)
    return [Match(records[key].identity_id, key, s, float(scale.probability(s))) for key, s in best.items()]


def _people(store: Store, matches: Sequence[Match], records: dict[int, TrackRecord]) -> Iterator[Found]:
    groups: dict[tuple[int | None, int], list[Match]] = {}
    for match in matches:
        alone = match.track_key if match.identity_id is None else -1
        groups.setdefault((match.identity_id, alone), []).append(match)
    people = {identity.identity_id: identity for identity in store.identities()}
    for (identity_id, _), members in groups.items():
        keys = tuple(match.track_key for match in members)
        if identity_id is None:
            record = records[keys[0]]
            yield Found(members[0], None, keys, (Appearance(None, record.video_id, record.segment, keys),))
        else:
            yield Found(members[0], people[identity_id], keys, tuple(store.appearances(identity_id)))


def _load(
    store: Store,
    detector: str | Detector | None,
    embedder: str | Embedder | None,
    models_dir: Path | None,
) -> Models:
    from tracker.embedding import load_models

    kept = {"detector": "centerface", "embedder": "dlib", **store.get_meta(MODELS, {})}
    models = load_models(
        detector=detector or kept["detector"], embedder=embedder or kept["embedder"], models_dir=models_dir
    )
    if models.embedder.model_id != store.embedder_id:
        raise FacetrackError(
            f"{store.path} holds vectors of {store.embedder_id}, and {models.embedder.model_id} makes others that "
            "cannot be compared with them; name the one of the database with --embedder"
        )
    return models


def _probes(path: Path, models: Models) -> list[Probe]:
    from tracker.options import options_for
    from tracker.pipeline import track_video
    from tracker.video import open_video

    with open_video(path) as video:
        tracks = track_video(models, video, options=options_for("accurate")).tracks
    probes = [
        Probe(path, track.boxes[len(track) // 2], cluster.template(rows.embeddings, rows.qualities), track.thumbnail)
        for track in tracks
        if len(rows := track.keyframes)
    ]
    if not probes:
        raise FacetrackError(f"{path}: no face was found in this picture; give one that shows a face clearly")
    return probes
