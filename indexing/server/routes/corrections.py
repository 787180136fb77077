"""Corrections of who is who: each is an entry of the log, is refused with 409 if contradictory, and can be undone."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request, Response

from indexing import gallery, wire
from indexing.corrections import Entry
from indexing.questions import answer as answer_question
from indexing.questions import questions
from indexing.server import views
from indexing.server.context import Context, Ctx, answer
from indexing.server.paging import PAGE, Count, Cursor, page
from indexing.server.parameters import PersonId, TrackKey
from indexing.server.routes import NOT_MODIFIED
from indexing.server.routes import router as subject

router = subject("corrections")


def _say(context: Context, verb: Callable[[], Entry]) -> wire.Told:
    with context.correcting:
        return views.told(context, verb())


@router.post("/people/{person_id}/name")
def name(context: Ctx, person_id: PersonId, body: wire.NameBody) -> wire.Told:
    """Name a person, or take the name away."""
    who = context.person(person_id).identity_id
    return _say(context, lambda: gallery.name(context.store, who, body.name, reason=body.reason))


@router.post("/people/{person_id}/merge")
def merge(context: Ctx, person_id: PersonId, body: wire.MergeBody) -> wire.Told:
    """Say that two people are one; a named one stays, of two unnamed ones the one of lower id."""
    into, who = context.person(body.into).identity_id, context.person(person_id).identity_id
    return _say(context, lambda: gallery.merge(context.store, into, who, reason=body.reason, force=body.force))


@router.post("/people/{person_id}/split")
def split(context: Ctx, person_id: PersonId, body: wire.TracksBody) -> wire.Told:
    """Say that some tracks of a person are somebody else, who becomes a new person."""
    who, tracks = context.person(person_id).identity_id, _tracks(context, body)
    return _say(context, lambda: gallery.split(context.store, who, tracks, reason=body.reason, force=body.force))


@router.post("/people/{person_id}/not")
def not_them(context: Ctx, person_id: PersonId, body: wire.TracksBody) -> wire.Told:
    """Say that tracks are not a person, now and ever."""
    who, tracks = context.person(person_id).identity_id, _tracks(context, body)
    return _say(context, lambda: gallery.not_(context.store, who, tracks, reason=body.reason, force=body.force))


def _tracks(context: Context, body: wire.TracksBody) -> list[int]:
    return [context.track(key).key for key in body.tracks]


@router.post("/people/{person_id}/confirm")
def confirm(context: Ctx, person_id: PersonId, body: wire.Said | None = None) -> wire.Told:
    """Say that all tracks that a person has now are theirs."""
    who, said = context.person(person_id).identity_id, body or wire.Said()
    return _say(context, lambda: gallery.confirm(context.store, who, reason=said.reason, force=said.force))


@router.post("/people/{person_id}/ignore")
def ignore(context: Ctx, person_id: PersonId, body: wire.Because | None = None) -> wire.Told:
    """Leave a person out of every list until asked for."""
    who, said = context.person(person_id).identity_id, body or wire.Because()
    return _say(context, lambda: gallery.ignore(context.store, who, reason=said.reason))


@router.post("/people/{person_id}/unignore")
def unignore(context: Ctx, person_id: PersonId, body: wire.Because | None = None) -> wire.Told:
    """Bring a person who is ignored back into the lists."""
    who, said = context.person(person_id).identity_id, body or wire.Because()
    return _say(context, lambda: gallery.unignore(context.store, who, reason=said.reason))


@router.post("/tracks/{key}/assign")
def assign(context: Ctx, key: TrackKey, body: wire.AssignBody) -> wire.Told:
    """Say whose a track is."""
    track = context.track(key).key
    who = None if body.person is None else context.person(body.person).identity_id
    return _say(context, lambda: gallery.assign(context.store, [track], who, reason=body.reason, force=body.force))


@router.post("/undo")
def undo(context: Ctx, body: wire.UndoBody | None = None) -> wire.Undone:
    """Take back the last corrections."""
    with context.correcting, context.uploads.discarding():
        entries = gallery.undo(context.store, (body or wire.UndoBody()).count)
        return wire.Undone(items=[views.told(context, entry) for entry in entries])


@router.get("/log", response_model=wire.Page[wire.Told], responses=NOT_MODIFIED)
def list_log(request: Request, context: Ctx, cursor: Cursor = None, limit: Count = PAGE) -> Response:
    """List what people said, newest first."""

    def build() -> wire.Page[wire.Told]:
        rows = [wire.Told(entry=wire.Entry(**entry.to_dict()), told=told) for entry, told in gallery.log(context.store)]
        return page(rows, lambda one: (-one.entry.entry,), cursor=cursor, limit=limit)

    return answer(request, context, build)


# ---- who may be one


@router.get("/questions", response_model=wire.Page[wire.Question], responses=NOT_MODIFIED)
def list_questions(request: Request, context: Ctx, limit: Count = 20) -> Response:
    """List pairs of people who may be one, the least certain first."""

    def build() -> wire.Page[wire.Question]:
        rows = {one.id: one for one in views.people(context)}
        found = [
            wire.Question(
                a=rows[one.a],
                b=rows[one.b],
                probability=round(one.probability, 4),
                similarity=round(one.similarity, 4),
                track_a=one.track_a,
                track_b=one.track_b,
            )
            for one in questions(context.store, limit=limit)
        ]
        return wire.Page(items=found)

    return answer(request, context, build)


@router.post("/questions")
def answer_one(context: Ctx, body: wire.AnswerBody) -> wire.Told:
    """Say whether two people are one; they are not asked about again."""
    a, b = context.person(body.a).identity_id, context.person(body.b).identity_id
    same = body.answer == "same"
    return _say(context, lambda: answer_question(context.store, a, b, same=same, reason=body.reason))
