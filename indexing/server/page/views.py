"""What the pages show, read from the store once for each page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from indexing import gallery
from indexing import questions as likely
from indexing.corrections import Entry
from indexing.jobs import Job, JobQueue
from indexing.lanes import Lane, lanes_of, poster
from indexing.plot.chart import Row, row_of
from indexing.presence import Presence, companions
from indexing.server.page import drawing
from indexing.server.page.drawing import Shape
from indexing.store import Store
from indexing.types import Appearance, EmotionSummary, Identity, Person, TrackRecord, VideoRecord
from tracker.errors import FacetrackError
from tracker.types import EMOTIONS

Item = TypeVar("Item")

PEOPLE_A_PAGE = 48
VIDEOS_A_PAGE = 24
TRACKS_A_PAGE = 60
LANES_AT_FIRST = 24
"""Lanes of a video, and videos of a person, until all are asked for."""

JOBS = 100
"""Jobs that wait, and jobs that ended, in a list."""

_STRIPES = 4
"""People in the small picture of who is seen when."""

_FACES = 6


@dataclass(frozen=True, slots=True)
class Paged(Generic[Item]):
    """A part of a long list.

    Attributes:
        items: What is on this page.
        total: Items of the whole list.
        number: Of the page, from 1.
        pages: How many there are, at least 1.
    """

    items: Sequence[Item]
    total: int
    number: int
    pages: int

    @classmethod
    def of(cls, items: Sequence[Item], number: int, size: int) -> Paged[Item]:
        """Return a page of ``items``; the nearest one where there is no such number.

        Example:
            >>> page = Paged.of("abcde", 9, 2)
            >>> page.items, page.number, page.pages, page.shown
            ('e', 3, 3, [1, 2, 3])
        """
        pages = max(1, -(-len(items) // size))
        number = min(max(number, 1), pages)
        return cls(items[(number - 1) * size : number * size], len(items), number, pages)

    @property
    def shown(self) -> list[int]:
        """Numbers of the pages to link to, rising; 0 stands for those left out."""
        near = {1, self.pages, *range(self.number - 2, self.number + 3)}
        wanted = sorted(number for number in near if 1 <= number <= self.pages)
        shown: list[int] = []
        for number in wanted:
            shown += [0] * bool(shown and number - shown[-1] > 1)
            shown.append(number)
        return shown


# ---- the library


@dataclass(frozen=True, slots=True)
class VideoCard:
    """A video in the library.

    Attributes:
        video: The video.
        lanes: Who is seen in it.
        stripes: When the first of them are.
        poster: The frame that stands for it: where its best face is.
    """

    video: VideoRecord
    lanes: Sequence[Lane]
    stripes: Sequence[Shape]
    poster: int

    @property
    def faces(self) -> list[Lane]:
        """Who is seen most."""
        return [lane for lane in self.lanes if lane.identity is not None][:_FACES]

    @property
    def people(self) -> int:
        """Number of known people."""
        return sum(lane.identity is not None for lane in self.lanes)


@dataclass(frozen=True, slots=True)
class Library:
    """All videos and photographs, a page of them, and what they add up to."""

    cards: Paged[VideoCard]
    videos: int
    stills: int
    seconds: float
    people: int


def library(store: Store, *, query: str = "", page: int = 1) -> Library:
    """Return the videos, the newest first, whose file name contains ``query``."""
    videos = store.videos()
    chosen = [video for video in reversed(videos) if query.casefold() in video.path.name.casefold()]
    paged = Paged.of(chosen, page, VIDEOS_A_PAGE)
    people = {identity.identity_id: identity for identity in store.identities()}
    cards = [_card(video, lanes_of(store, video, people=people)) for video in paged.items]
    return Library(
        Paged(cards, paged.total, paged.number, paged.pages),
        sum(not video.info.is_image for video in videos),
        sum(video.info.is_image for video in videos),
        sum(video.end for video in videos if not video.info.is_image),
        sum(not identity.ignored for identity in people.values()),
    )


def _card(video: VideoRecord, lanes: Sequence[Lane]) -> VideoCard:
    thick = drawing.HEIGHT / _STRIPES
    stripes = [drawing.presence_shape(lane, row * thick, thick * 0.6) for row, lane in enumerate(lanes[:_STRIPES])]
    records = [record for lane in lanes for record in lane.records]
    return VideoCard(video, lanes, stripes, poster(video, records))


# ---- a video


@dataclass(frozen=True, slots=True)
class LaneView:
    """A lane of a video.

    Attributes:
        lane: Who, and when they are seen.
        shapes: What is drawn.
    """

    lane: Lane
    shapes: Sequence[Shape]


@dataclass(frozen=True, slots=True)
class VideoView:
    """A video with its lanes.

    Attributes:
        video: The video.
        lanes: Those that are shown.
        left_out: Lanes beyond these.
        cuts: Seconds of the shot boundaries.
        cuts_path: The same to be drawn.
        emotional: Whether emotions were sampled.
    """

    video: VideoRecord
    lanes: Sequence[LaneView]
    left_out: int
    cuts: Sequence[float]
    cuts_path: str
    emotional: bool


def video_view(store: Store, video_id: int, *, everybody: bool = False) -> VideoView:
    """Return a video with a lane for each person.

    Raises:
        FacetrackError: if there is no such video.
    """
    video = store.video(video_id)
    lanes = lanes_of(store, video)
    shown = lanes if everybody else lanes[:LANES_AT_FIRST]
    cuts = store.timestamps(video_id)[store.shots(video_id)][1:].tolist()
    return VideoView(
        video,
        [
            LaneView(row.lane, drawing.lane_shapes(row, emotional=video.emotion_id is not None))
            for row in _rows(store, video, shown)
        ],
        len(lanes) - len(shown),
        cuts,
        drawing.cuts_path(cuts),
        video.emotion_id is not None,
    )


def _rows(store: Store, video: VideoRecord, lanes: Sequence[Lane], identity_id: int | None = None) -> list[Row]:
    curves = {curve.identity_id: curve for curve in store.emotion_curves(identity_id, video.video_id)}
    episodes = defaultdict(list)
    for episode in store.episodes(identity_id, video.video_id):
        episodes[episode.identity_id].append(episode)
    who = [lane.identity.identity_id if lane.identity else 0 for lane in lanes]
    return [row_of(lane, b"", curves.get(w), episodes.get(w, [])) for w, lane in zip(who, lanes, strict=True)]


# ---- people


def people(
    store: Store, *, query: str = "", sort: str = "screen_time", ignored: bool = False, page: int = 1
) -> Paged[Person]:
    """Return the people whose label contains ``query``, by ``screen_time``, ``name`` or ``id``."""
    found = [p for p in store.people(ignored=ignored) if query.casefold() in p.identity.label.casefold()]
    if sort == "name":
        found.sort(key=lambda p: (p.identity.name is None, (p.identity.name or "").casefold(), p.identity.identity_id))
    elif sort == "id":
        found.sort(key=lambda p: p.identity.identity_id)
    return Paged.of(found, page, PEOPLE_A_PAGE)


# ---- a person


@dataclass(frozen=True, slots=True)
class Scene:
    """A video that a person is in: their lane in it."""

    video: VideoRecord
    appearances: Sequence[Appearance]
    shapes: Sequence[Shape]


@dataclass(frozen=True, slots=True)
class Companion:
    """Somebody who is seen together with a person.

    Attributes:
        beside: Who, where and when.
        face: The track that shows them best.
    """

    beside: Presence
    face: int


@dataclass(frozen=True, slots=True)
class PersonView:
    """All that is known of a person.

    Attributes:
        person: Who, and how much they are seen.
        videos: Id of each video of the store -> the video.
        scenes: The videos they are in, those that are shown.
        left_out: Videos beyond these.
        tracks: Their tracks, a page of them.
        companions: Who is seen with them, by falling time.
        shares: Emotions with the share of the time in which they are known, falling.
        emotion_seconds: That time.
        history: What was said of them, newest first.
        confirmed: Tracks that a person has vouched for.
    """

    person: Person
    videos: Mapping[int, VideoRecord]
    scenes: Sequence[Scene]
    left_out: int
    tracks: Paged[TrackRecord]
    companions: Sequence[Companion]
    shares: Sequence[tuple[str, float]]
    emotion_seconds: float
    history: Sequence[tuple[Entry, str]]
    confirmed: frozenset[int]


def person_view(
    store: Store, identity_id: int, *, everywhere: bool = False, uncertain: bool = False, page: int = 1
) -> PersonView:
    """Return all that is known of a person.

    Args:
        store: The store.
        identity_id: Who.
        everywhere: All videos they are in, however many.
        uncertain: The least certain tracks first.
        page: Of the tracks.

    Raises:
        FacetrackError: if there is no such person.
    """
    person = person_of(store, identity_id)
    videos = {video.video_id: video for video in store.videos(enrolled=True)}
    records = store.track_records(identity_id=identity_id)
    pins = store.verdicts().pins
    if uncertain:
        records.sort(key=lambda r: (r.key in pins, 1.0 if r.confidence is None else r.confidence, r.key))
    moving = _moving(store, identity_id, videos)
    shown = moving if everywhere else dict(list(moving.items())[:LANES_AT_FIRST])
    shares, seconds = _shares(store.emotion_summaries(identity_id))
    return PersonView(
        person,
        videos,
        [_scene(store, person.identity, videos[where], seen, records) for where, seen in shown.items()],
        len(moving) - len(shown),
        Paged.of(records, page, TRACKS_A_PAGE),
        _companions(store, identity_id),
        shares,
        seconds,
        [(entry, told) for entry, told in reversed(gallery.log(store)) if _concerns(entry, identity_id)],
        frozenset(key for key, owner in pins.items() if owner == identity_id),
    )


def person_of(store: Store, identity_id: int) -> Person:
    """Return what is known of one person.

    Raises:
        FacetrackError: if there is no such person.
    """
    for person in store.people(include_empty=True, ignored=True):
        if person.identity.identity_id == identity_id:
            return person
    raise FacetrackError(f"there is no person {identity_id}; they were forgotten, or never there")


def _moving(store: Store, identity_id: int, videos: Mapping[int, VideoRecord]) -> dict[int, list[Appearance]]:
    """Return the appearances in videos, not in pictures, by video."""
    found: dict[int, list[Appearance]] = defaultdict(list)
    for seen in store.appearances(identity_id):
        if not videos[seen.video_id].info.is_image:
            found[seen.video_id].append(seen)
    return found


def _scene(
    store: Store, identity: Identity, video: VideoRecord, seen: Sequence[Appearance], records: Iterable[TrackRecord]
) -> Scene:
    own = tuple(record for record in records if record.video_id == video.video_id)
    [row] = _rows(store, video, [Lane(identity, tuple(seen), own)], identity.identity_id)
    return Scene(video, seen, drawing.lane_shapes(row, emotional=video.emotion_id is not None))


def _shares(summaries: Sequence[EmotionSummary]) -> tuple[list[tuple[str, float]], float]:
    seconds = sum(summary.seconds for summary in summaries)
    if not seconds:
        return [], 0.0
    shares = np.sum([summary.shares * summary.seconds for summary in summaries], axis=0) / seconds
    return sorted(zip(EMOTIONS, shares.tolist(), strict=True), key=lambda pair: -pair[1]), seconds


def _concerns(entry: Entry, identity_id: int) -> bool:
    return identity_id in entry.identities or identity_id in entry.pins.values()


def _companions(store: Store, identity_id: int) -> list[Companion]:
    found = companions(store, identity_id)
    faces = {person.identity.identity_id: person.best_track for person in store.people()} if found else {}
    return [Companion(one, faces[one.identity.identity_id] or 0) for one in found]


# ---- review


@dataclass(frozen=True, slots=True)
class Question:
    """Two people who may be one.

    Attributes:
        a: One of them.
        b: The other.
        tracks_a: Tracks that show the first one, the best first.
        tracks_b: The same of the other.
        probability: That they are one.
    """

    a: Person
    b: Person
    tracks_a: Sequence[int]
    tracks_b: Sequence[int]
    probability: float


def questions(store: Store, *, limit: int) -> list[Question]:
    """Return the pairs of people who may be one, the least certain first."""
    asked = likely.questions(store, limit=limit)
    if not asked:
        return []
    people = {person.identity.identity_id: person for person in store.people()}
    return [
        Question(
            people[one.a],
            people[one.b],
            _shown(store, one.a, one.track_a),
            _shown(store, one.b, one.track_b),
            one.probability,
        )
        for one in asked
    ]


def _shown(store: Store, identity_id: int, first: int) -> list[int]:
    """Return the tracks that show a person best, ``first`` before the others."""
    records = sorted(store.track_records(identity_id=identity_id), key=lambda record: -record.quality)
    return [first, *(record.key for record in records if record.key != first)][:_FACES]


# ---- jobs


def jobs(queue: JobQueue) -> list[Job]:
    """Return the jobs: those that are worked at, those that wait, then the rest, the newest first."""
    ended: list[Job] = []
    after = 0
    while part := queue.jobs(after=after, limit=500):
        ended = [*ended, *(job for job in part if job.ended)][-JOBS:]
        after = part[-1].job_id
    return [*queue.jobs(state="running"), *queue.jobs(state="queued", limit=JOBS), *reversed(ended)]
