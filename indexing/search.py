"""Faces against the index, answered as people: those of pictures, of a person, of a track, or one that is clicked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexing import calibrate, cluster
from indexing.calibrate import Calibration
from indexing.index import Hits, load_or_rebuild
from indexing.pipeline import MODELS
from indexing.presence import EVERYWHERE, Scope, appearances_of
from indexing.probes import Outlier, Probe, combine
from indexing.store import Store
from indexing.types import UNKNOWN, Appearance, Identity, Match, TrackRecord, VideoRecord
from tracker.errors import FacetrackError
from tracker.types import Float32, Image, Track

if TYPE_CHECKING:
    from tracker.embedding import Models
    from tracker.protocols import Detector, Embedder
    from tracker.video import Video

FAR = 1e-3
"""False accept rate of a search, if no other is asked for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A person that a probe may be, or a track of an unknown person.

    Attributes:
        match: The most similar track of the person.
        identity: The person; None: unknown.
        track_keys: All tracks of the person that lie above the threshold, most similar first.
        appearances: Everywhere the person is seen, within the scope of the search; of an unknown one the track alone.
        far: Share of strangers that are as similar as the match.
    """

    match: Match
    identity: Identity | None
    track_keys: tuple[int, ...]
    appearances: tuple[Appearance, ...]
    far: float = FAR

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
        far: Share of strangers that reach the threshold.
        pictures: Those that were combined into the probe; none where it is one face.
        outliers: Those that were not, as they show somebody else.
    """

    probe: Probe
    threshold: float
    found: tuple[Found, ...]
    far: float = FAR
    pictures: tuple[Path, ...] = ()
    outliers: tuple[Outlier, ...] = ()


def search(
    store: Store,
    pictures: Sequence[Path | str | Video],
    *,
    far: float = FAR,
    one_person: bool = False,
    scope: Scope = EVERYWHERE,
    detector: str | Detector | None = None,
    embedder: str | Embedder | None = None,
    models_dir: Path | None = None,
    models: Models | None = None,
    on_error: Callable[[FacetrackError], None] | None = None,
) -> list[Answer]:
    """Search a store for the faces in reference pictures.

    A face that is blurred is sharpened before it is compared, see `tracker.restore`.

    Args:
        store: Where to look.
        pictures: Images, or pictures that are open; a video serves too, each track of it being a face.
        far: Share of pairs of two people that are taken for one, 1e-6 to 0.1: it sets the threshold.
        one_person: The pictures show one person: they are combined into one template, weighted by quality, and those
            that show somebody else are left out and named. Otherwise each face is searched for by itself.
        scope: Where in the store to look.
        detector: See `tracker.track_faces`; None: that of the store.
        embedder: The same; it has to be the store's.
        models_dir: Folder in which weights are looked for first.
        models: Those of `load_models`, in place of the three before it, for who searches often.
        on_error: Told of each picture that fails, while the others go on; None: the first one ends the search.

    Raises:
        FacetrackError: if the store is empty, a picture shows no face, the embedder is not the store's, or the
            pictures of one person show no one person.
        MediaError: if a picture cannot be decoded.
    """
    check_searchable(store)
    models = models or load_models(store, detector=detector, embedder=embedder, models_dir=models_dir)
    _check_embedder(store, models)
    faces: list[list[Probe]] = []
    for picture in pictures:
        try:
            faces.append(_probes(picture, models))
        except FacetrackError as error:
            if on_error is None:
                raise
            on_error(error)
    if not one_person:
        return answer(store, [probe for found in faces for probe in found], far=far, scope=scope)
    return [search_combined(store, faces, far=far, scope=scope)] if faces else []


def search_combined(
    store: Store, faces: Sequence[Sequence[Probe]], *, far: float = FAR, scope: Scope = EVERYWHERE
) -> Answer:
    """Search a store for the one person whom several pictures show.

    Args:
        store: Where to look.
        faces: The faces of each picture.
        far: See `search`.
        scope: The same.

    Raises:
        FacetrackError: if no one person is in most pictures, or several are.
    """
    probe, pictures, outliers = combine(faces, calibrate.for_store(store))
    [found] = answer(store, [probe], far=far, scope=scope)
    return replace(found, pictures=pictures, outliers=outliers)


def search_person(store: Store, identity_id: int, *, far: float = FAR, scope: Scope = EVERYWHERE) -> Answer:
    """Search a store for all that looks like a person it knows, the person's own tracks among it.

    Raises:
        FacetrackError: if there is no such person, or no face of theirs that could be compared.
    """
    records = store.track_records(identity_id=identity_id)
    identity = store.resolve_person(str(identity_id))
    return _search_tracks(store, records, identity.label, far=far, scope=scope)


def search_track(store: Store, track_key: int, *, far: float = FAR, scope: Scope = EVERYWHERE) -> Answer:
    """Search a store for all that looks like one of its tracks, the track itself among it.

    Raises:
        FacetrackError: if there is no such track, or its face could not be compared.
    """
    records = [record for record in store.track_records() if record.key == track_key]
    if not records:
        raise FacetrackError(
            f"there is no track {track_key} in {store.path}; `facetrack search --json` names those found"
        )
    return _search_tracks(store, records, f"track {track_key}", far=far, scope=scope)


def search_at(
    store: Store, video_id: int, time: float, x: float, y: float, *, far: float = FAR, scope: Scope = EVERYWHERE
) -> Answer:
    """Search a store for the face that is seen at a point of a video, see `track_at` and `search_track`."""
    return search_track(store, track_at(store, video_id, time, x, y).key, far=far, scope=scope)


def track_at(store: Store, video_id: int, time: float, x: float, y: float) -> TrackRecord:
    """Return the track whose box holds a point; of several the one whose middle is nearest for its size.

    Args:
        store: Where to look.
        video_id: The video.
        time: Seconds.
        x: Pixels of the upright picture, from the left.
        y: Pixels from the top.

    Raises:
        FacetrackError: if there is no face; the message tells where and when there is one.
    """
    video = store.video(video_id)
    if not 0 <= time <= video.end:
        raise FacetrackError(f"{video.path.name} lasts {video.end:.2f} s; there is no picture at {time:g} s")
    frame = max(int(np.searchsorted(store.timestamps(video_id), time, side="right")) - 1, 0)
    tracks = store.tracks(video_id)
    shown = [
        (record, _box_at(track, frame)) for record, track in tracks if record.first_frame <= frame < record.end_frame
    ]
    inside = [(record, box) for record, box in shown if _off(box, x, y) <= 1]
    if not inside:
        raise FacetrackError(_nobody_there(video, time, x, y, shown, [record for record, _ in tracks]))
    return min(inside, key=lambda found: _off(found[1], x, y))[0]


def _box_at(track: Track, frame: int) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(side) for side in track.boxes[frame - track.first_frame])
    return x1, y1, x2, y2


def _off(box: tuple[float, float, float, float], x: float, y: float) -> float:
    """Return how far a point lies from the middle of a box, 1 at its edge."""
    x1, y1, x2, y2 = box
    across, down = max(x2 - x1, 1e-6) / 2, max(y2 - y1, 1e-6) / 2
    return max(abs(x - x1 - across) / across, abs(y - y1 - down) / down)


def _nobody_there(
    video: VideoRecord,
    time: float,
    x: float,
    y: float,
    shown: Sequence[tuple[TrackRecord, tuple[float, float, float, float]]],
    records: Sequence[TrackRecord],
) -> str:
    there = f"{video.path.name} shows no face at {x:g},{y:g} at {time:g} s"
    middles = [(record.key, (x1 + x2) / 2, (y1 + y2) / 2) for record, (x1, y1, x2, y2) in shown]
    if middles:
        near = sorted(middles, key=lambda middle: hypot(middle[1] - x, middle[2] - y))[:5]
        return f"{there}; it shows " + ", ".join(
            f"track {key} at {across:.0f},{down:.0f}" for key, across, down in near
        )
    if not records:
        return f"{there}, nor anywhere"
    nearest = min(records, key=lambda record: max(record.start - time, time - record.end))
    return (
        f"{there}, nor elsewhere then; the nearest is track {nearest.key}, {nearest.start:.2f} to {nearest.end:.2f} s"
    )


def _search_tracks(store: Store, records: Sequence[TrackRecord], title: str, *, far: float, scope: Scope) -> Answer:
    check_searchable(store)
    [found] = answer(store, [_probe_of(store, records, title)], far=far, scope=scope)
    return found


def _probe_of(store: Store, records: Sequence[TrackRecord], title: str) -> Probe:
    """Return the template of tracks as a probe, pictured by the best of them."""
    rows = store.embeddings()
    rows = rows[np.isin(rows.track_keys, [record.key for record in records])]
    if not len(rows):
        raise FacetrackError(f"{title}: no face of it was good enough to be compared; take another track")
    best = int(np.argmax(rows.qualities))
    record = next(record for record in records if record.key == rows.track_keys[best])
    track = next(track for other, track in store.tracks(record.video_id) if other.key == record.key)
    return Probe(
        store.video(record.video_id).path,
        track.boxes[int(rows.frames[best]) - track.first_frame],
        cluster.template(rows.vectors, rows.qualities),
        _picture(store.thumbnail(record.key)),
        float(rows.qualities[best]),
        title,
    )


def _picture(jpeg: bytes) -> Image:
    from tracker.headless import cv2

    if not jpeg:
        return np.zeros((0, 0, 3), np.uint8)
    return np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


def check_searchable(store: Store) -> None:
    """Refuse a store that has no face to compare with.

    Raises:
        FacetrackError: if there is no embedding in it.
    """
    if not len(load_or_rebuild(store)):
        raise FacetrackError(f"{store.path} has no faces to search; add videos first: facetrack add VIDEO")


def answer(store: Store, probes: Sequence[Probe], *, far: float = FAR, scope: Scope = EVERYWHERE) -> list[Answer]:
    """Return for each probe all people and unknown tracks above the threshold for ``far``, most similar first.

    The search is by range: nothing above the threshold is left out, and nothing below it is answered. Photographs that
    were enrolled are looked at in any scope, as they tell who a person is and not when they are seen.

    Args:
        store: Where to look.
        probes: The faces.
        far: See `search`.
        scope: Where in the store to look.

    Raises:
        FacetrackError: if ``far`` is out of range.
    """
    scale = calibrate.for_store(store)
    threshold = scale.threshold(far)
    index, view = load_or_rebuild(store), _View.of(store, scope)
    return [
        Answer(probe, threshold, tuple(view.people(view.matches(hits, scale), scale)), far)
        for probe in probes
        for hits in index.range_search(probe.vector[None], threshold)
    ]


@dataclass(frozen=True, slots=True)
class _View:
    """The part of a store that is looked at."""

    store: Store
    scope: Scope
    records: Mapping[int, TrackRecord]
    identities: Mapping[int, Identity]
    enrolled: frozenset[int]

    @classmethod
    def of(cls, store: Store, scope: Scope) -> _View:
        enrolled = frozenset(video.video_id for video in store.videos(enrolled=True) if video.enrolled)
        people = {person.identity_id: person for person in store.identities()}
        hidden = set() if scope.ignored else {key for key, person in people.items() if person.ignored}
        records = {
            record.key: record
            for record in store.track_records()
            if record.identity_id not in hidden and (record.video_id in enrolled or scope.holds(record))
        }
        return cls(store, scope, records, people, enrolled)

    def matches(self, hits: Hits, scale: Calibration) -> list[Match]:
        """Return each track that was hit once, by its most similar embedding, most similar first."""
        best: dict[int, float] = {}
        keys = self.store.embedding_tracks(hits.ids).tolist()
        for key, similarity in zip(keys, hits.similarities.tolist(), strict=True):
            if key in self.records:
                best.setdefault(key, similarity)
        return [Match(self.records[key].identity_id, key, s, float(scale.probability(s))) for key, s in best.items()]

    def people(self, matches: Sequence[Match], scale: Calibration) -> Iterator[Found]:
        """Yield who was found, each person once."""
        groups: dict[tuple[int | None, int], list[Match]] = {}
        for match in matches:
            alone = match.track_key if match.identity_id is None else -1
            groups.setdefault((match.identity_id, alone), []).append(match)
        for (identity_id, _), members in groups.items():
            keys = tuple(match.track_key for match in members)
            seen = self.seen(identity_id, keys)
            if seen or not self.scope.limited:
                identity = None if identity_id is None else self.identities[identity_id]
                yield Found(members[0], identity, keys, tuple(seen), scale.far(members[0].similarity))

    def seen(self, identity_id: int | None, keys: tuple[int, ...]) -> list[Appearance]:
        if identity_id is not None:
            return appearances_of(self.store, identity_id, self.scope)
        record = self.records[keys[0]]
        shown = [] if record.video_id in self.enrolled else [Appearance(None, record.video_id, record.segment, keys)]
        return self.scope.cut(shown)


def load_models(
    store: Store,
    *,
    detector: str | Detector | None = None,
    embedder: str | Embedder | None = None,
    models_dir: Path | None = None,
) -> Models:
    """Return the models to search a store with: its own, where no others are named.

    Args:
        store: The store.
        detector: See `search`.
        embedder: The same.
        models_dir: The same.
    """
    from tracker import embedding

    names = model_names(store)
    return embedding.load_models(
        detector=detector or names["detector"], embedder=embedder or names["embedder"], models_dir=models_dir
    )


def model_names(store: Store) -> dict[str, str]:
    """Return the names of the detector and the embedder of a store; those of the defaults while it has none."""
    return {"detector": "centerface", "embedder": "dlib", **store.get_meta(MODELS, {})}


def _check_embedder(store: Store, models: Models) -> None:
    if models.embedder.model_id != store.embedder_id:
        raise FacetrackError(
            f"{store.path} holds vectors of {store.embedder_id}, and {models.embedder.model_id} makes others that "
            "cannot be compared with them; name the one of the database with --embedder"
        )


def _probes(picture: Path | str | Video, models: Models) -> list[Probe]:
    from tracker.options import options_for
    from tracker.pipeline import track_video
    from tracker.video import opened

    with opened(picture) as video:
        path, found = video.info.path, track_video(models, video, options=options_for("accurate"))
        tracks = [track for track in found.tracks if len(track.keyframes)]
        if not tracks:
            raise FacetrackError(f"{path}: no face was found in this picture; give one that shows a face clearly")
        sharper = _sharpened(next(iter(video)).image, tracks, models) if video.info.is_image else {}
    return [
        Probe(
            path,
            track.boxes[len(track) // 2],
            sharper.get(track.track_id, cluster.template(track.keyframes.embeddings, track.keyframes.qualities)),
            track.thumbnail,
            float(track.keyframes.qualities.max()),
        )
        for track in tracks
    ]


def _sharpened(image: Image, tracks: Sequence[Track], models: Models) -> dict[int, Float32]:
    """Return new vectors, by number of the track, of the faces of a picture that are blurred."""
    from tracker.embedding import embed
    from tracker.keyframes import cut_patch
    from tracker.restore import sharpened

    faces = {
        track.track_id: sharpened(cut_patch(image, 0, track.boxes[0], track.landmarks[0], 1.0)) for track in tracks
    }
    blurred = {number: face for number, face in faces.items() if face is not None}
    views = embed(models, list(blurred.values()))
    return {number: view.embedding for number, view in zip(blurred, views, strict=True)}
