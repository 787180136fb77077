"""What the service sends and takes, as JSON; shared by the service and its client.

Times are seconds, boxes ``x, y, width, height`` in pixels of the upright picture. What is not known is null.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, StringConstraints

T = TypeVar("T")

LARGEST_ID = 2**53 - 1
"""The largest integer that JavaScript holds exactly; SQLite's ids go further and never get there."""

Id = Annotated[int, Field(ge=1, le=LARGEST_ID)]
Reason = Annotated[str, StringConstraints(max_length=2000)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Box = tuple[float, float, float, float]


class Problem(BaseModel):
    """An error, as RFC 9457 has it.

    Attributes:
        type: Kind of the problem; ``about:blank``: the status says it all.
        title: The status in words.
        status: The status.
        detail: What is wrong, what came, what is allowed and what to do.
        reasons: Why a correction is contradictory, a sentence each.
        errors: Where the request is not what the OpenAPI document allows.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    reasons: list[str] | None = None
    errors: list[dict[str, Any]] | None = None


class Page(BaseModel, Generic[T]):
    """A part of a list; ``next`` is the cursor of the part that follows, null at the end."""

    items: list[T]
    next: str | None = None


class Health(BaseModel):
    """That the service answers."""

    status: Literal["ok"] = "ok"
    version: str


class Revision(BaseModel):
    """A token that is another one after each change of videos, people or corrections; jobs do not count."""

    revision: str


class Stats(BaseModel):
    """How much is in the database."""

    videos: int
    people: int
    tracks: int
    unknown_tracks: int
    seconds: float
    screen_time: float
    corrections: int
    jobs: dict[str, int]


# ---- who and where


class Who(BaseModel):
    """Whom a row is of; all null for an unknown one."""

    identity: int | None
    name: str | None
    label: str
    color: str


class Moment(BaseModel):
    """A second of a video."""

    video: int | None
    path: str
    time: float


class Person(BaseModel):
    """A person. ``name`` is null where nobody gave one; ``label`` is what to show."""

    id: int
    name: str | None
    label: str
    color: str
    ignored: bool
    videos: int
    appearances: int
    screen_time: float
    first_seen: Moment | None
    last_seen: Moment | None
    best_track: int | None
    thumbnail: str | None


class Video(BaseModel):
    """A video, or a picture. ``there`` tells whether its file still is where it was."""

    id: int
    name: str
    path: str
    there: bool
    content_hash: str
    width: int
    height: int
    fps: float
    duration: float
    is_image: bool
    frame_count: int
    end: float
    added_at: str
    detector: str
    embedder: str
    emotion: str | None
    tracks: int
    people: int
    media: str
    poster: str | None


class Track(Who):
    """One face through consecutive frames of one shot."""

    key: int
    video: int
    number: int
    shot: int
    first_frame: int
    end_frame: int
    start: float
    end: float
    quality: float
    size: float
    confidence: float | None
    thumbnail: str


class Appearance(Who):
    """An interval [start, end) in which somebody is seen."""

    video: int
    start: float
    end: float
    tracks: list[int]


class Together(BaseModel):
    """An interval in which several people are all seen."""

    people: list[int]
    video: int
    start: float
    end: float
    tracks: list[int]


class Companion(Who):
    """Who is seen together with a person, and for how long."""

    videos: int
    appearances: int
    screen_time: float


# ---- what a player shows


class TrackBoxes(Who):
    """The boxes of a track; ``sources``: 0 detected, 1 flow, 2 interpolated."""

    track: int
    first_frame: int
    times: list[float]
    boxes: list[Box]
    sources: list[int]


class Boxes(BaseModel):
    """All boxes of a video, or of a part of it."""

    tracks: list[TrackBoxes]


class Stretch(BaseModel):
    """A part of a lane in which a person is seen."""

    start: float
    end: float
    tracks: list[int]


class Feeling(BaseModel):
    """A part of a lane in which one emotion is shown; ``intensity`` is its mean probability."""

    start: float
    end: float
    label: str
    intensity: float


class Lane(Who):
    """When a person is seen in a video and what they show; all unknown ones share the last lane."""

    screen_time: float
    thumbnail: str | None
    appearances: list[Stretch]
    emotions: list[Feeling]


class Lanes(BaseModel):
    """The swimlanes of a video: ``shots`` are the seconds at which shots begin."""

    lanes: list[Lane]
    shots: list[float]
    end: float


class Curve(Who):
    """What a person shows over time in a video, smoothed."""

    video: int
    times: list[float]
    emotions: dict[str, list[float | None]]
    valence: list[float | None]
    arousal: list[float | None]
    affect_derived: bool


class Episode(Who):
    """A stretch of time in which a person shows one emotion."""

    video: int
    emotion: str
    onset: float
    apex: float
    offset: float
    mean: float
    peak: float


# ---- corrections


class Entry(BaseModel):
    """An entry of the log of what people said."""

    entry: int
    at: str
    kind: str
    identities: list[int]
    track_keys: list[int]
    name: str | None
    reason: str | None
    undone_by: int | None


class Told(BaseModel):
    """An entry, and a sentence that tells it."""

    entry: Entry
    told: str


class Undone(BaseModel):
    """What was taken back, newest first."""

    items: list[Told]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Because(_Body):
    """Why, for the log."""

    reason: Reason | None = None


class Said(Because):
    """Why, and whether it holds although it contradicts what was said or seen."""

    force: bool = False


class NameBody(Because):
    """A name; null takes it away."""

    name: Name | None


class MergeBody(Said):
    """The person that they are one with."""

    into: Id


class TracksBody(Said):
    """Keys of tracks."""

    tracks: Annotated[list[Id], Field(min_length=1, max_length=10_000)]


class AssignBody(Said):
    """Whose a track is; null: somebody new."""

    person: Id | None


class UndoBody(_Body):
    """How many entries are taken back."""

    count: Annotated[int, Field(ge=1, le=1000)] = 1


class Question(BaseModel):
    """Two people who may be one, and a picture of each."""

    a: Person
    b: Person
    probability: float
    similarity: float
    track_a: int
    track_b: int


class AnswerBody(Because):
    """What a person says of two."""

    a: Id
    b: Id
    answer: Literal["same", "different"]


# ---- who is who, said anew


class ReclusterBody(_Body):
    """How to cluster; ``far`` null: by the number of tracks. With ``dry_run`` nothing is changed."""

    clusterer: Literal["auto", "constrained", "hdbscan", "kmeans"] = "auto"
    far: Annotated[float, Field(ge=1e-6, le=0.1)] | None = None
    dry_run: bool = False


class Division(BaseModel):
    """A person of whom others are made, by label."""

    person: str
    into: list[str]


class Joining(BaseModel):
    """People who are no more, by the one that most of their frames are now."""

    people: list[str]
    into: str


class Transfer(BaseModel):
    """Tracks that go from one person to another, by label."""

    before: str
    after: str
    tracks: list[int]


class Reclustering(BaseModel):
    """What a clustering of all tracks changes, or would change; people without an id yet are `new person` and a number.

    ``moved`` counts the tracks that change hands; ``new`` people are made of unknown tracks, ``gone`` ones are nobody.
    """

    dry_run: bool
    moved: int
    split: list[Division]
    merged: list[Joining]
    new: list[str]
    gone: list[str]
    transfers: list[Transfer]


class Rate(BaseModel):
    """A share of ``count`` cases, with its 95 % interval."""

    share: float
    low: float
    high: float
    count: int


class OperatingPoint(BaseModel):
    """The errors at the similarity that stands for a false accept rate, on people that had no part in it."""

    far: float
    threshold: float
    false_accepts: Rate
    false_rejects: Rate
    usual_rejects: float


class CalibrationReport(BaseModel):
    """What a database says of the scale of its embedder; ``weight`` is its own share beside the prior's."""

    embedder: Annotated[str, Field(validation_alias=AliasChoices("embedder", "model_id"))]
    prior: str
    method: Literal["platt", "isotonic"]
    weight: float
    people: int
    couples: int
    genuine_pairs: int
    impostor_pairs: int
    set_aside: int
    losses: dict[str, float]
    points: list[OperatingPoint]
    notes: list[str]


# ---- search


class Match(Who):
    """Who was found; ``far`` is the share of strangers who are as similar."""

    probability: float
    similarity: float
    far: float
    track: int
    tracks: list[int]
    thumbnail: str
    appearances: list[Appearance]


class LeftOut(BaseModel):
    """A picture that shows somebody else than the others."""

    image: str
    similarity: float
    needed: float


class Answer(BaseModel):
    """What was found for one face, most similar first."""

    image: str
    box: Box
    quality: float
    threshold: float
    far: float
    matches: list[Match]
    left_out: list[LeftOut]


class Answers(BaseModel):
    """What was found for each face; ``errors`` tells of the pictures that could not be searched with."""

    items: list[Answer]
    errors: list[str]


# ---- jobs

State = Literal["queued", "running", "done", "failed", "cancelled"]


class Settings(_Body):
    """Options of `indexing.process`; what is left out is the default."""

    detector: Name | None = None
    embedder: Name | None = None
    emotion: Name | None = None
    preset: Literal["fast", "balanced", "accurate"] | None = None
    detect_every: Annotated[int, Field(ge=1, le=1000)] | None = None
    emotion_fps: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = None


class JobBody(_Body):
    """A video to add: a file below an allowed root."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    settings: Settings = Settings()


class Job(BaseModel):
    """A video that is to be added, or was; ``revision`` rises with each change."""

    id: int
    name: str
    path: str
    state: State
    settings: dict[str, Any]
    content_hash: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    frames_done: int
    frames_total: int | None
    message: str | None
    video: int | None
    attempts: int
    revision: int


class ExportFormat(BaseModel):
    """A format to export to; ``single``: a file of it holds one video."""

    name: str
    suffix: str
    about: str
    single: bool
