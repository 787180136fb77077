"""A live stream: who is on screen is told at once, and kept in the store piece by piece."""

from __future__ import annotations

import hashlib
import logging
import queue
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from indexing import identities
from indexing.onscreen import Event, Gallery, OnScreen, Seen
from indexing.pipeline import MODELS, check_embedder, identify, remember_models
from indexing.store import Store
from tracker.errors import FacetrackError
from tracker.live import LiveTracker
from tracker.stream import Arrival, Stream, find_source
from tracker.types import Image, TrackingResult

if TYPE_CHECKING:
    from tracker.embedding import Models
    from tracker.options import TrackingOptions
    from tracker.protocols import Detector, Embedder, EmotionModel

logger = logging.getLogger(__name__)

SEGMENT = 60.0
"""Seconds of a piece of the stream that is stored."""

TICK = 0.25
"""Seconds from one look at the clock to the next where no picture comes."""

REFRESH = 2.0
"""Seconds from one look for changes of the database, made here or elsewhere, to the next."""

SHARE = 0.1
"""Share of the time that clustering, and reading the people anew, may take."""

_BIN, _BINS = 0.01, 1000


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of the stream that was stored.

    Attributes:
        video_id: The video in the store.
        path: What it is called there.
        started_at: When it began.
        seconds: How long it lasts.
        tracks: Number of its tracks.
    """

    video_id: int
    path: Path
    started_at: datetime
    seconds: float
    tracks: int


@dataclass(frozen=True, slots=True)
class Figures:
    """How a session goes.

    Attributes:
        seconds: Since it began.
        frames: Pictures that were looked at.
        dropped: Pictures that were not, as a newer one was there.
        skipped: Packets that were not decoded, as they came too late.
        fps: Pictures a second that are looked at, of late.
        latency: Seconds from the moment at which the newest one could be read to the moment at which it was told.
        median: Median of that over the session.
        p95: 95 % of the pictures were told within so many seconds.
        reconnects: Times that the connection was made again.
        connected: Whether there is one.
        segments: Pieces that were stored.
        tracks: Tracks in them.
    """

    seconds: float = 0.0
    frames: int = 0
    dropped: int = 0
    skipped: int = 0
    fps: float = 0.0
    latency: float = 0.0
    median: float = 0.0
    p95: float = 0.0
    reconnects: int = 0
    connected: bool = True
    segments: int = 0
    tracks: int = 0


class Viewer(Protocol):
    """Who wants to know what is on screen; called from one thread."""

    def start(self, name: str, began: datetime) -> None:
        """The session begins: times are seconds from ``began`` on."""
        ...

    def tell(self, event: Event) -> None:
        """Something has changed on screen."""
        ...

    def show(self, seen: Sequence[Seen], figures: Figures) -> None:
        """Another picture was looked at, or none came for a while."""
        ...

    def kept(self, segment: Segment) -> None:
        """A piece was stored."""
        ...

    def end(self, figures: Figures) -> None:
        """The session is over and all of it is stored."""
        ...


class _Blind:
    """A viewer that looks away."""

    def start(self, name: str, began: datetime) -> None: ...

    def tell(self, event: Event) -> None: ...

    def show(self, seen: Sequence[Seen], figures: Figures) -> None: ...

    def kept(self, segment: Segment) -> None: ...

    def end(self, figures: Figures) -> None: ...


def follow(
    source: str,
    store: Store,
    *,
    viewer: Viewer | None = None,
    stop: threading.Event | None = None,
    name: str | None = None,
    segment: float = SEGMENT,
    realtime: bool | None = None,
    max_reconnects: int | None = None,
    stream_options: Mapping[str, str] | None = None,
    detector: str | Detector | None = None,
    embedder: str | Embedder | None = None,
    emotion: str | EmotionModel | None = "emotion_cnn",
    preset: str = "balanced",
    detect_every: int | None = None,
    emotion_fps: float | None = 5.0,
    clusterer: str = "auto",
    far: float | None = None,
    models_dir: Path | None = None,
) -> Figures:
    """Say who is on screen in a stream until it ends or is stopped, and keep it in a store.

    The newest picture is looked at, and those that came meanwhile are dropped: what is told is never older than it
    takes to look at one picture, however slow that is. Each piece becomes a video of the store, with tracks,
    embeddings, expressions and thumbnails, but without its pictures; a piece in which nobody is seen is not kept. Who
    is who is then found as for any video, see `indexing.identify`.

    Args:
        source: See `tracker.stream.find_source`.
        store: Where to.
        viewer: Told of what happens.
        stop: Ends the session when it is set; the running piece is stored. None: it goes on until the stream ends.
        name: What the stream is called in the store; None: as its address, without user, password and query.
        segment: Seconds after which a piece is stored, or at a cut from half of that on.
        realtime: See `tracker.stream.Stream`.
        max_reconnects: The same.
        stream_options: Options of FFmpeg for opening the source.
        detector: See `tracker.track_faces`; None: that of the store.
        embedder: The same; it has to be the store's.
        emotion: See `tracker.track_faces`.
        preset: See `tracker.track_faces`.
        detect_every: See `tracker.track_faces`.
        emotion_fps: See `tracker.track_faces`.
        clusterer: See `indexing.identify`.
        far: The same.
        models_dir: See `tracker.track_faces`.

    Returns:
        How it went.

    Raises:
        FacetrackError: if the source cannot be opened or is lost for good, a model is unknown or missing, or the store
            holds vectors of another embedder. What was seen until then is stored.
        ValueError: if an option is out of its range.
    """
    from tracker.embedding import load_models
    from tracker.options import options_for

    if not segment > 0:
        raise ValueError(f"segment is {segment}; seconds above 0 are needed")
    identities.check_clusterer(clusterer)
    options = options_for(preset, detect_every=detect_every, emotion_fps=emotion_fps)
    stream = Stream(find_source(source, options=stream_options), realtime=realtime, max_reconnects=max_reconnects)
    kept = {"detector": "centerface", "embedder": "dlib", **store.get_meta(MODELS, {})}
    named: dict[str, Any] = {"detector": detector or kept["detector"], "embedder": embedder or kept["embedder"]}
    models = load_models(**named, emotion=emotion, models_dir=models_dir)
    check_embedder(store, models.embedder.model_id)
    remember_models(store, **named)
    with stream, _Keeper(store, clusterer=clusterer, far=far) as keeper:
        session = _Session(models, options, stream, keeper, viewer or _Blind(), name or stream.name, segment)
        try:
            session.run(stop or threading.Event())
        finally:
            session.end()
    return session.figures()


# ---- the thread that looks


class _Session:
    """What is seen in a stream from its beginning to its end."""

    def __init__(
        self,
        models: Models,
        options: TrackingOptions,
        stream: Stream,
        keeper: _Keeper,
        viewer: Viewer,
        name: str,
        segment: float,
    ) -> None:
        self._models, self._options, self._stream, self._keeper = models, options, stream, keeper
        self._viewer, self._name, self._segment = viewer, name, segment
        self._id = uuid.uuid4().hex
        self._began = datetime.now(UTC) - timedelta(seconds=time.monotonic() - stream.began)
        self._screen, self._ages = OnScreen(), _Ages()
        self._piece: _Piece | None = None
        self._pieces = self._segments = self._tracks = 0
        viewer.start(name, self._began)

    def run(self, stop: threading.Event) -> None:
        """Look at what comes until it ends."""
        while not (stop.is_set() or self._stream.ended):
            arrival = self._stream.take(TICK)
            if arrival is None:
                self._wait()
            else:
                self._look(arrival)
            self._note_kept()
            self._viewer.show(self._screen.seen, self.figures())

    def end(self) -> None:
        """Store what runs, and wait until all is stored."""
        try:
            self._finish()
            self._tell(self._screen.clear(self._now))
            self._keeper.close()
        finally:
            self._note_kept()
            self._viewer.end(self.figures())

    def figures(self) -> Figures:
        """Return how it goes."""
        stream = self._stream
        return Figures(
            seconds=self._now,
            frames=self._ages.count,
            dropped=stream.dropped,
            skipped=stream.skipped,
            fps=0.0 if self._piece is None else self._piece.tracker.fps,
            latency=self._ages.newest,
            median=self._ages.quantile(0.5),
            p95=self._ages.quantile(0.95),
            reconnects=stream.reconnects,
            connected=stream.connected,
            segments=self._segments,
            tracks=self._tracks,
        )

    @property
    def _now(self) -> float:
        return time.monotonic() - self._stream.began

    def _wait(self) -> None:
        if self._stream.connected:
            self._tell(self._screen.wait(self._now))
            return
        self._finish()
        self._tell(self._screen.clear(self._now))

    def _look(self, arrival: Arrival) -> None:
        image = arrival.image()
        if self._piece is not None and self._piece.is_over(arrival, image, self._segment):
            gap = self._piece.connection != arrival.connection
            self._finish()
            self._tell(self._screen.clear(arrival.time) if gap else [])
        if self._piece is None:
            self._piece = self._begin(arrival, image)
        faces = self._piece.tracker.push(image, arrival.time, cut=arrival.cut)
        self._tell(self._screen.update(faces, arrival.time, self._keeper.gallery))
        self._ages.add(time.monotonic() - arrival.due)

    def _begin(self, arrival: Arrival, image: Image) -> _Piece:
        height, width = image.shape[:2]
        fps = self._stream.fps
        tracker = LiveTracker(self._models, width=width, height=height, fps=fps, options=self._options)
        return _Piece(tracker, arrival.connection, arrival.time, image.shape)

    def _finish(self) -> None:
        """End the running piece and have it stored."""
        piece, self._piece = self._piece, None
        if piece is None:
            return
        self._screen.begin()
        # Not by the beginning of the session: the clock of the computer may have been set since.
        started = datetime.now(UTC) - timedelta(seconds=self._now - piece.start)
        with piece.tracker as tracker:
            result = tracker.finish(Path(self._name, _stamp(started)), _hash(self._id, self._pieces))
        live = {"source": self._name, "started_at": started.isoformat(), "session": self._id, "piece": self._pieces}
        self._pieces += 1
        if result.tracks:
            self._keeper.put(replace(result, settings={**result.settings, "live": live}), started)

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            self._viewer.tell(event)

    def _note_kept(self) -> None:
        for segment in self._keeper.stored():
            self._segments += 1
            self._tracks += segment.tracks
            self._viewer.kept(segment)


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """A piece of the stream that runs."""

    tracker: LiveTracker
    connection: int
    start: float
    shape: tuple[int, ...]

    def is_over(self, arrival: Arrival, image: Image, longest: float) -> bool:
        elapsed = arrival.time - self.start
        if arrival.connection != self.connection or image.shape != self.shape:
            return True
        return elapsed >= longest or (arrival.cut and elapsed >= longest / 2)


def _stamp(moment: datetime) -> str:
    """Return a moment as it may stand in the name of a file, to the millisecond.

    Example:
        >>> _stamp(datetime(2026, 11, 25, 7, 8, 9, 123456, UTC))
        '2026-11-25T07-08-09-123Z'
    """
    return f"{moment:%Y-%m-%dT%H-%M-%S}-{moment.microsecond // 1000:03}Z"


def _hash(session: str, piece: int) -> str:
    """Return what stands in place of a file's SHA-256: no file has it, and no other piece."""
    return hashlib.sha256(f"facetrack live {session} {piece}".encode()).hexdigest()


@dataclass(slots=True, eq=False)
class _Ages:
    """How old the pictures were when they were told, to a hundredth of a second, in bounded memory."""

    count: int = 0
    newest: float = 0.0
    _bins: Any = field(default_factory=lambda: np.zeros(_BINS, np.int64))

    def add(self, seconds: float) -> None:
        self.count += 1
        self.newest = seconds
        self._bins[min(max(int(seconds / _BIN), 0), _BINS - 1)] += 1

    def quantile(self, share: float) -> float:
        reached = np.cumsum(self._bins) >= share * self.count
        return float((np.argmax(reached) + 1) * _BIN) if self.count else 0.0


# ---- the thread that stores


class _Keeper:
    """Stores pieces in a thread of its own, one at a time: who brings the next one waits, and nothing piles up."""

    def __init__(self, store: Store, *, clusterer: str, far: float | None) -> None:
        self._store, self._clusterer, self._far = store, clusterer, far
        self._brought: queue.Queue[tuple[TrackingResult, datetime] | None] = queue.Queue(maxsize=1)
        self._stored: queue.SimpleQueue[Segment] = queue.SimpleQueue()
        self._identify, self._read = _Ration(SHARE), _Ration(SHARE)
        self._unidentified = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="keeper")
        self._state = self._file_state()
        self.gallery = Gallery.of(store)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End, whatever happened."""
        if self._thread.is_alive():
            self._brought.put(None)
            self._thread.join()

    def put(self, result: TrackingResult, started: datetime) -> None:
        """Have a piece stored.

        Raises:
            FacetrackError: if an earlier one could not be.
        """
        self._check()
        self._brought.put((result, started))

    def close(self) -> None:
        """Wait until all is stored and everybody is found.

        Raises:
            FacetrackError: if something could not be stored.
        """
        self._brought.put(None)
        self._thread.join()
        self._check()

    def stored(self) -> Iterator[Segment]:
        """Yield what was stored since the last call.

        Raises:
            FacetrackError: if something could not be.
        """
        while not self._stored.empty():
            yield self._stored.get()
        self._check()

    def _check(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            raise error

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        going = True
        while going:
            try:
                going = self._step()
            except Exception as error:  # it is raised where the next piece is brought
                logger.debug("where it came from:", exc_info=error)
                self._error = error
        try:
            self._find_people(last=True)
        except Exception as error:
            self._error = error

    def _step(self) -> bool:
        """Store what is brought; return whether more may come."""
        try:
            brought = self._brought.get(timeout=REFRESH)
        except queue.Empty:
            pass
        else:
            if brought is None:
                return False
            self._keep(*brought)
        try:
            self._find_people()
            self._read_people()
        except FacetrackError as error:  # what is stored is safe, and the next time will do
            logger.warning("%s", error)
        return True

    def _keep(self, result: TrackingResult, started: datetime) -> None:
        video_id = self._store.add_video(result)
        self._unidentified = True
        self._stored.put(Segment(video_id, result.video.path, started, result.end, len(result.tracks)))

    def _find_people(self, *, last: bool = False) -> None:
        if self._unidentified and (last or self._identify.due):
            with self._identify:
                identify(self._store, clusterer=self._clusterer, far=self._far)
            self._unidentified = False

    def _read_people(self) -> None:
        """Read the people anew if anybody, in whatever process, has written to the database."""
        state = self._file_state()
        if state != self._state and self._read.due:
            with self._read:
                self.gallery = Gallery.of(self._store)
            self._state = state

    def _file_state(self) -> list[tuple[int, int]]:
        path = self._store.path
        files = (path, path.with_name(path.name + "-wal"))
        return [(stat.st_mtime_ns, stat.st_size) for stat in (file.stat() for file in files if file.exists())]


class _Ration:
    """Work that is due again only after so long a time that it takes no more than a share of all."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._next = self._start = 0.0

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._next

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(self, *_: object) -> None:
        now = time.monotonic()
        self._next = now + (now - self._start) / self._share
