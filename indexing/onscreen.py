"""Who is on screen now: running tracks against the people of a store, told before anything of them is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from indexing import calibrate, cluster, identities
from indexing.calibrate import FARS, Calibration
from indexing.emotions import ENTER, LEAVE
from indexing.store import Store
from indexing.types import UNKNOWN, Identity
from tracker.associate import match
from tracker.live import Face
from tracker.types import EMOTIONS, Float32

FALSE_NAMES = 0.01
"""Share of strangers that may be taken for one of the people of a store, whoever it is."""

STAYS = 10.0
"""Who was told stays as long as the face is no less like them than at this many times that rate."""

LINGER = 1.5
"""Seconds without being seen after which somebody has left..."""

LOOKS = 4
"""...if so many pictures were looked at meanwhile: a face is sure after three."""

PATIENCE = 0.7
"""Seconds for which a face is looked at before it is told that nobody knows it."""

_SAME_PLACE = 0.3


@dataclass(frozen=True, slots=True)
class Answer:
    """Who a face is.

    Attributes:
        identity: Who.
        confidence: Calibrated probability in [0, 1] that it is.
    """

    identity: Identity
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class Gallery:
    """The people of a store, as they were at one moment.

    Attributes:
        people: Who.
        means: ``(P, D)`` float32 mean of the templates of each one's tracks: a dot product with it is the mean
            similarity to them, by which clustering joins tracks too.
        scale: The calibration of the embedder.
    """

    people: tuple[Identity, ...]
    means: Float32
    scale: Calibration

    @classmethod
    def of(cls, store: Store) -> Gallery:
        """Return the people of a store."""
        scale = calibrate.for_store(store)
        rows, records = store.embeddings(), store.track_records()
        keys = np.array(sorted(record.key for record in records), np.int64)
        owner = {record.key: record.identity_id or -1 for record in records}
        owners = np.array([owner[key] for key in keys.tolist()], np.int64)
        templates, seen = identities.templates(keys, rows, floor=scale.threshold(identities.MEDOID_FAR))
        known = seen & (owners >= 0)
        ids, codes = np.unique(owners[known], return_inverse=True)
        means, _ = cluster.cluster_means(templates[known], np.ones(int(known.sum())), codes)
        people = {person.identity_id: person for person in store.identities()}
        there = np.isin(ids, list(people))  # another process may have erased somebody meanwhile
        return cls(tuple(people[identity] for identity in ids[there].tolist()), means[there], scale)

    def who(self, faces: Sequence[Float32 | None], told: Sequence[Identity | None]) -> list[Answer | None]:
        """Return who faces are that are seen at once, each person once; None: nobody here, or not clearly one.

        A face is somebody where so few strangers are as alike that in all, over all people, `FALSE_NAMES` of them would
        be, and where the next person is clearly less alike.

        Args:
            faces: ``(D,)`` unit vectors; None: not known yet.
            told: Who each was taken for before.
        """
        answers: list[Answer | None] = [None] * len(faces)
        seen = [place for place, vector in enumerate(faces) if vector is not None]
        if not (seen and self.people):
            return answers
        alike = np.stack([faces[place] for place in seen]) @ self.means.T  # type: ignore[misc]
        limit, stays = self._limit(FALSE_NAMES), self._limit(FALSE_NAMES * STAYS)
        # Of two faces that are like one person, the more alike one is; the other is compared with the rest.
        while (alike > -1).any():
            row, column = (int(at) for at in np.unravel_index(int(alike.argmax()), alike.shape))
            similarity, person, place = float(alike[row, column]), self.people[column], seen[row]
            before = told[place]
            kept = before is not None and before.identity_id == person.identity_id and similarity >= stays
            rival = float(np.delete(alike[row], column).max(initial=-1.0))
            if kept or (similarity >= limit and self._clearly(similarity, rival)):
                answers[place] = Answer(person, float(self.scale.probability(similarity)))
                alike[:, column] = -1
            alike[row] = -1
        return answers

    def _limit(self, share: float) -> float:
        far = share / max(len(self.people), 1)
        return self.scale.threshold(float(np.clip(far, FARS[-1], FARS[0])))

    def _clearly(self, similarity: float, rival: float) -> bool:
        return self.scale.far(similarity) * identities.MARGIN <= self.scale.far(rival)


@dataclass(frozen=True, slots=True)
class Seen:
    """Somebody on screen.

    Attributes:
        face: A number that is theirs as long as they stay, and never used again in a session.
        identity: Who; None: nobody that is known.
        confidence: Probability in [0, 1] that it is; 0 of unknown ones.
        since: Seconds of the session from which on they are seen.
        until: When they were seen last.
        box: x, y, width and height in pixels.
        emotion: One of `tracker.types.EMOTIONS`; None where none is clear.
        intensity: Its probability in [0, 1].
    """

    face: int
    identity: Identity | None
    confidence: float
    since: float
    until: float
    box: tuple[float, float, float, float]
    emotion: str | None
    intensity: float

    @property
    def label(self) -> str:
        """The person's name, ``Person 3``, or ``Unknown`` and the number of the face."""
        return f"{UNKNOWN} {self.face}" if self.identity is None else self.identity.label


@dataclass(frozen=True, slots=True)
class Event:
    """What has changed on screen.

    Attributes:
        kind: ``enter``, ``leave``; ``name``: the face is taken for somebody else than before; ``emotion``.
        time: Seconds of the session.
        seen: Whom it is about, as they are now.
    """

    kind: Literal["enter", "leave", "name", "emotion"]
    time: float
    seen: Seen


@dataclass(slots=True, eq=False)
class _Presence:
    """Somebody on screen, or just gone; ``told``: those who look on know of it; ``missed``: in so many pictures."""

    face: int
    since: float
    until: float
    box: Float32
    identity: Identity | None = None
    confidence: float = 0.0
    told: bool = False
    missed: int = 0
    emotion: str | None = None
    intensity: float = 0.0

    @property
    def hidden(self) -> bool:
        return self.identity is not None and self.identity.ignored

    def seen(self) -> Seen:
        x1, y1, x2, y2 = (round(float(side), 1) for side in self.box)
        box = x1, y1, round(x2 - x1, 1), round(y2 - y1, 1)
        return Seen(
            self.face, self.identity, self.confidence, self.since, self.until, box, self.emotion, self.intensity
        )


@dataclass(slots=True, eq=False)
class OnScreen:
    """Keeps who is on screen, from the faces of one frame to those of the next; people who are ignored are left out."""

    _count: int = 0
    _there: list[_Presence] = field(default_factory=list)
    _of_face: dict[int, _Presence] = field(default_factory=dict)
    _handed_over: list[_Presence] = field(default_factory=list)

    @property
    def seen(self) -> tuple[Seen, ...]:
        """Who is on screen, longest first."""
        return tuple(presence.seen() for presence in self._there if presence.told)

    def update(self, faces: Sequence[Face], time: float, gallery: Gallery) -> list[Event]:
        """Take in the faces of the next frame; return what has changed.

        Args:
            faces: The faces.
            time: Seconds of the session, never falling.
            gallery: Who is known.
        """
        here = [self._presence(face, time, {f.number for f in faces}) for face in faces]
        self._of_face = {face.number: presence for face, presence in zip(faces, here, strict=True)}
        answers = gallery.who([face.template for face in faces], [presence.identity for presence in here])
        events = []
        for face, presence, answer in zip(faces, here, answers, strict=True):
            events += self._recognise(face, presence, answer, time)
        for face in faces:
            events += self._tell(face, self._of_face[face.number], time)
        for presence in self._there:
            presence.missed = 0 if presence.until == time else presence.missed + 1
        return events + self._drop([p for p in self._there if p.missed >= LOOKS and time - p.until > LINGER], time)

    def wait(self, time: float) -> list[Event]:
        """Let time pass without a picture; return who has left."""
        return self._drop([presence for presence in self._there if time - presence.until > LINGER], time)

    def clear(self, time: float) -> list[Event]:
        """Take everybody off the screen, as the picture has gone; return who has left."""
        self.begin()
        self._handed_over.clear()
        return self._drop(list(self._there), time)

    def begin(self) -> None:
        """Begin with a new tracker, whose faces have other numbers; those who are there are found by their place."""
        self._handed_over = list(self._of_face.values())
        self._of_face.clear()

    def _presence(self, face: Face, time: float, numbers: set[int]) -> _Presence:
        presence = self._of_face.get(face.number)
        if presence is None and face.follows is not None and face.follows not in numbers:
            presence = self._of_face.get(face.follows)
        if presence is None:
            presence = self._at_its_place(face) or self._new(face)
        presence.until, presence.box = time, face.box
        return presence

    def _new(self, face: Face) -> _Presence:
        self._count += 1
        presence = _Presence(self._count, face.since, face.since, face.box)
        self._there.append(presence)
        return presence

    def _at_its_place(self, face: Face) -> _Presence | None:
        there = [presence for presence in self._handed_over if presence in self._there]
        if not there:
            return None
        pairs = match(face.box[None], np.stack([presence.box for presence in there]), gate=_SAME_PLACE)
        if not pairs:
            return None
        self._handed_over.remove(there[pairs[0][1]])
        return there[pairs[0][1]]

    def _recognise(self, face: Face, presence: _Presence, answer: Answer | None, time: float) -> list[Event]:
        if face.template is None:
            return []
        before, identity = presence.identity, None if answer is None else answer.identity
        presence.identity, presence.confidence = identity, 0.0 if answer is None else answer.confidence
        if identity == before:
            return []
        away = [other for other in self._there if _is(other, identity) and other not in self._of_face.values()]
        if presence.told:
            presence.told = not presence.hidden
            return [Event("name" if presence.told else "leave", time, presence.seen()), *self._drop(away, time)]
        if away:
            self._go_on(away[0], face, presence)
        return []

    def _go_on(self, away: _Presence, face: Face, fresh: _Presence) -> None:
        """Take up again the presence of somebody who was away for a moment only, in place of a fresh one."""
        away.identity, away.confidence = fresh.identity, fresh.confidence
        away.until, away.box = fresh.until, fresh.box
        self._there.remove(fresh)
        self._of_face[face.number] = away

    def _tell(self, face: Face, presence: _Presence, time: float) -> list[Event]:
        before = presence.emotion
        presence.emotion, presence.intensity = _emotion(before, face.emotions)
        if presence.told:
            return [] if presence.emotion == before else [Event("emotion", time, presence.seen())]
        known = presence.identity is not None or time - presence.since >= PATIENCE
        presence.told = known and not presence.hidden
        return [Event("enter", time, presence.seen())] if presence.told else []

    def _drop(self, gone: Sequence[_Presence], time: float) -> list[Event]:
        self._there = [presence for presence in self._there if presence not in gone]
        self._of_face = {number: presence for number, presence in self._of_face.items() if presence not in gone}
        return [Event("leave", time, presence.seen()) for presence in gone if presence.told]


def _is(presence: _Presence, identity: Identity | None) -> bool:
    known = presence.identity
    return known is not None and identity is not None and known.identity_id == identity.identity_id


def _emotion(before: str | None, mean: Float32 | None) -> tuple[str | None, float]:
    """Return the emotion that is shown, held as long as an episode of it would be, and its probability."""
    if mean is None:
        return None, 0.0
    best = int(mean.argmax())
    if mean[best] >= ENTER:
        return EMOTIONS[best], float(mean[best])
    held = 0.0 if before is None else float(mean[EMOTIONS.index(before)])
    return (before, held) if held >= LEAVE else (None, 0.0)
