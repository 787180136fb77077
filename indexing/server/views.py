"""What is shown: values of the store as the service tells them. The pages and the API show the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing import types, wire
from indexing.colors import color, hexadecimal
from indexing.corrections import Entry, describe
from indexing.lanes import lanes_of, poster
from indexing.presence import Presence
from indexing.search import Answer, Found
from indexing.server.context import Context
from indexing.timeline import CoAppearance
from indexing.types import UNKNOWN, Identity, TrackRecord, VideoRecord
from tracker.types import EMOTIONS, Float64, Track

API = "/api/v1"

_POSTER_WIDTH = 480


def who(people: Mapping[int, Identity], identity_id: int | None) -> dict[str, Any]:
    """Return the fields of `indexing.wire.Who`."""
    identity = None if identity_id is None else people.get(identity_id, Identity(identity_id))
    return {
        "identity": identity_id,
        "name": identity and identity.name,
        "label": identity.label if identity else UNKNOWN,
        "color": hexadecimal(color(identity_id)),
    }


def _seconds(time: float) -> float:
    return round(float(time), 6)


# ---- people


def people(context: Context) -> list[wire.Person]:
    """Return all people by falling screen time, those who are ignored and those without a track among them."""
    return context.cache.get("people", lambda: _people(context))


def _people(context: Context) -> list[wire.Person]:
    ids = {video.path: video.video_id for video in context.videos().values()}
    return [_person(person, ids) for person in context.store.people(include_empty=True, ignored=True)]


def _person(person: types.Person, ids: Mapping[Path, int]) -> wire.Person:
    identity = person.identity
    return wire.Person(
        id=identity.identity_id,
        name=identity.name,
        label=identity.label,
        color=hexadecimal(color(identity.identity_id)),
        ignored=identity.ignored,
        videos=person.videos,
        appearances=person.appearances,
        screen_time=_seconds(person.screen_time),
        first_seen=_moment(person.first_seen, ids),
        last_seen=_moment(person.last_seen, ids),
        best_track=person.best_track,
        thumbnail=None if person.best_track is None else f"{API}/people/{identity.identity_id}/thumbnail.jpg",
    )


def _moment(seen: tuple[Path, float] | None, ids: Mapping[Path, int]) -> wire.Moment | None:
    return None if seen is None else wire.Moment(video=ids.get(seen[0]), path=str(seen[0]), time=_seconds(seen[1]))


def person(context: Context, identity_id: int) -> wire.Person:
    """Return one person.

    Raises:
        ProblemError: 404, if there is none.
    """
    context.person(identity_id)
    return next(one for one in people(context) if one.id == identity_id)


# ---- videos


def videos(context: Context) -> list[wire.Video]:
    """Return the videos in the order they were added; photographs that were enrolled are none."""
    records = defaultdict[int, list[TrackRecord]](list)
    for record in context.records().values():
        records[record.video_id].append(record)
    return [_video(one, records[one.video_id]) for one in context.videos().values() if not one.enrolled]


def video(context: Context, video_id: int) -> wire.Video:
    """Return one video.

    Raises:
        ProblemError: 404, if there is none.
    """
    return _video(context.video(video_id), records_of(context, video_id))


def records_of(context: Context, video_id: int) -> list[TrackRecord]:
    """Return the tracks of a video by number."""
    return [record for record in context.records().values() if record.video_id == video_id]


def _video(video: VideoRecord, records: Sequence[TrackRecord]) -> wire.Video:
    url, info = f"{API}/videos/{video.video_id}", video.info
    return wire.Video(
        id=video.video_id,
        name=video.path.name,
        path=str(video.path),
        there=video.path.is_file(),
        content_hash=info.content_hash,
        width=info.width,
        height=info.height,
        fps=info.fps,
        duration=info.duration,
        is_image=info.is_image,
        frame_count=video.frame_count,
        end=_seconds(video.end),
        added_at=video.added_at,
        detector=video.detector_id,
        embedder=video.embedder_id,
        emotion=video.emotion_id,
        tracks=len(records),
        people=len({record.identity_id for record in records if record.identity_id is not None}),
        media=f"{url}/media",
        poster=f"{url}/frames/{poster(video, records)}.jpg?width={_POSTER_WIDTH}" if video.frame_count else None,
    )


# ---- tracks and appearances


def tracks(context: Context, records: Iterable[TrackRecord]) -> list[wire.Track]:
    """Return tracks as they are shown."""
    people = context.identities()
    return [
        wire.Track(
            **who(people, record.identity_id),
            key=record.key,
            video=record.video_id,
            number=record.track_id,
            shot=record.shot,
            first_frame=record.first_frame,
            end_frame=record.end_frame,
            start=_seconds(record.start),
            end=_seconds(record.end),
            quality=round(record.quality, 4),
            size=round(record.size, 1),
            confidence=None if record.confidence is None else round(record.confidence, 4),
            thumbnail=track_picture(record.key),
        )
        for record in records
    ]


def track_picture(key: int) -> str:
    """Return where the picture of a track is."""
    return f"{API}/tracks/{key}/thumbnail.jpg"


def appearances(context: Context, seen: Iterable[types.Appearance]) -> list[wire.Appearance]:
    """Return appearances as they are shown."""
    people = context.identities()
    return [
        wire.Appearance(
            **who(people, one.identity_id),
            video=one.video_id,
            start=_seconds(one.segment.start),
            end=_seconds(one.segment.end),
            tracks=list(one.track_keys),
        )
        for one in seen
    ]


def together(seen: Iterable[CoAppearance]) -> list[wire.Together]:
    """Return co-appearances as they are shown."""
    return [
        wire.Together(
            people=list(one.identity_ids),
            video=one.video_id,
            start=_seconds(one.segment.start),
            end=_seconds(one.segment.end),
            tracks=list(one.track_keys),
        )
        for one in seen
    ]


def companions(context: Context, found: Iterable[Presence]) -> list[wire.Companion]:
    """Return who is seen with a person as it is shown."""
    people = context.identities()
    return [
        wire.Companion(
            **who(people, one.identity.identity_id),
            videos=one.videos,
            appearances=one.appearances,
            screen_time=_seconds(one.screen_time),
        )
        for one in found
    ]


# ---- what a player shows


def boxes(context: Context, video_id: int, start: float, end: float) -> wire.Boxes:
    """Return the boxes of a video that are seen in [start, end).

    Raises:
        ProblemError: 404, if there is no such video.
    """
    context.video(video_id)
    tracks = context.cache.get(("boxes", video_id), lambda: context.store.tracks(video_id))
    times, people = context.store.timestamps(video_id), context.identities()
    return wire.Boxes(
        tracks=[
            _boxes(record, track, times, between, who(people, record.identity_id))
            for record, track in tracks
            if len(between := _frames_in(record, times, start, end))
        ]
    )


def _frames_in(record: TrackRecord, times: Float64, start: float, end: float) -> range:
    # What is on screen at the start began before it.
    began = max(int(np.searchsorted(times, start, side="right")) - 1, 0)
    return range(max(began, record.first_frame), min(int(np.searchsorted(times, end)), record.end_frame))


def _boxes(
    record: TrackRecord, track: Track, times: Float64, frames: range, fields: Mapping[str, Any]
) -> wire.TrackBoxes:
    part = slice(frames.start - record.first_frame, frames.stop - record.first_frame)
    sides = track.boxes[part].astype(np.float64)
    sides[:, 2:] -= sides[:, :2]
    return wire.TrackBoxes(
        **fields,
        track=record.key,
        first_frame=frames.start,
        times=times[frames.start : frames.stop].round(6).tolist(),
        boxes=[(x, y, w, h) for x, y, w, h in sides.round(2).tolist()],
        sources=track.sources[part].tolist(),
    )


def lanes(context: Context, video_id: int) -> wire.Lanes:
    """Return the swimlanes of a video.

    Raises:
        ProblemError: 404, if there is no such video.
    """
    video, store, people = context.video(video_id), context.store, context.identities()
    felt = defaultdict[int, list[wire.Feeling]](list)
    for episode in store.episodes(video_id=video_id):
        felt[episode.identity_id].append(
            wire.Feeling(
                start=_seconds(episode.onset),
                end=_seconds(episode.offset),
                label=episode.label,
                intensity=round(episode.mean, 4),
            )
        )
    times = store.timestamps(video_id)
    return wire.Lanes(
        lanes=[
            wire.Lane(
                **who(people, lane.identity.identity_id if lane.identity else None),
                screen_time=_seconds(lane.screen_time),
                thumbnail=None if lane.face is None else track_picture(lane.face),
                appearances=[
                    wire.Stretch(
                        start=_seconds(seen.segment.start), end=_seconds(seen.segment.end), tracks=list(seen.track_keys)
                    )
                    for seen in lane.appearances
                ],
                emotions=felt[lane.identity.identity_id] if lane.identity else [],
            )
            for lane in lanes_of(store, video)
        ],
        shots=times[store.shots(video_id)].round(6).tolist(),
        end=_seconds(video.end),
    )


# ---- emotions


def curves(context: Context, found: Iterable[types.EmotionCurve]) -> list[wire.Curve]:
    """Return curves as they are shown."""
    people = context.identities()
    return [
        wire.Curve(
            **who(people, one.identity_id),
            video=one.video_id,
            times=one.times.round(6).tolist(),
            emotions={label: _known(one.emotions[:, k]) for k, label in enumerate(EMOTIONS)},
            valence=_known(one.valence),
            arousal=_known(one.arousal),
            affect_derived=one.affect_derived,
        )
        for one in found
    ]


def _known(values: NDArray[np.float32]) -> list[float | None]:
    return [None if value != value else value for value in values.astype(np.float64).round(4).tolist()]


def episodes(context: Context, found: Iterable[types.Episode]) -> list[wire.Episode]:
    """Return episodes as they are shown."""
    people = context.identities()
    return [
        wire.Episode(
            **who(people, one.identity_id),
            video=one.video_id,
            emotion=one.label,
            onset=_seconds(one.onset),
            apex=_seconds(one.apex),
            offset=_seconds(one.offset),
            mean=round(one.mean, 4),
            peak=round(one.peak, 4),
        )
        for one in found
    ]


# ---- corrections and search


def told(context: Context, entry: Entry) -> wire.Told:
    """Return an entry with the sentence that tells it."""
    labels = {identity.identity_id: identity.label for identity in context.store.identities(include_empty=True)}
    return wire.Told(entry=wire.Entry(**entry.to_dict()), told=describe(entry, labels, log=context.store.log()))


def answers(context: Context, found: Iterable[Answer], *, image: str | None = None) -> list[wire.Answer]:
    """Return answers of a search as they are shown.

    Args:
        context: The context.
        found: The answers.
        image: What to call the probe; None: as its file is called.
    """
    return [_answer(context, one, image) for one in found]


def _answer(context: Context, found: Answer, image: str | None) -> wire.Answer:
    x1, y1, x2, y2 = (round(float(side), 2) for side in found.probe.box)
    return wire.Answer(
        image=image or found.probe.path.name,
        box=(x1, y1, round(x2 - x1, 2), round(y2 - y1, 2)),
        quality=round(found.probe.quality, 4),
        threshold=round(found.threshold, 6),
        far=found.far,
        matches=[_match(context, one) for one in found.found],
        left_out=[
            wire.LeftOut(image=one.path.name, similarity=round(one.similarity, 6), needed=round(one.needed, 6))
            for one in found.outliers
        ],
    )


def _match(context: Context, found: Found) -> wire.Match:
    return wire.Match(
        **who(context.identities(), found.match.identity_id),
        probability=round(found.match.probability, 6),
        similarity=round(found.match.similarity, 6),
        far=found.far,
        track=found.match.track_key,
        tracks=list(found.track_keys),
        thumbnail=track_picture(found.match.track_key),
        appearances=appearances(context, found.appearances),
    )
