"""People: who they are, where they are seen and what they show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import Query, Request, Response

from indexing import wire
from indexing.presence import co_appearances, companions
from indexing.server import views
from indexing.server.context import Context, Ctx, answer
from indexing.server.errors import ProblemError
from indexing.server.paging import PAGE, Count, Cursor, Key, page
from indexing.server.parameters import OfVideo, PersonId
from indexing.server.pictures import thumbnail
from indexing.server.routes import NOT_MODIFIED, jpeg
from indexing.server.routes import router as subject

router = subject("people")

Sort = Literal["screen_time", "name", "id"]

_ORDERS: dict[Sort, Callable[[wire.Person], Key]] = {
    "screen_time": lambda one: (-one.screen_time, one.id),
    # Names first, those without one after them.
    "name": lambda one: (one.name is None, (one.name or "").casefold(), one.id),
    "id": lambda one: (one.id,),
}


@router.get("/people", response_model=wire.Page[wire.Person], responses=NOT_MODIFIED)
def list_people(
    request: Request,
    context: Ctx,
    sort: Sort = "screen_time",
    ignored: Annotated[bool, Query(description="Those who are ignored, too.")] = False,
    q: Annotated[str, Query(max_length=200, description="A part of the name.")] = "",
    cursor: Cursor = None,
    limit: Count = PAGE,
) -> Response:
    """List the people."""

    def build() -> wire.Page[wire.Person]:
        wanted = q.strip().casefold()
        rows = [
            one
            for one in views.people(context)
            if one.best_track is not None and (ignored or not one.ignored) and wanted in one.label.casefold()
        ]
        return page(rows, _ORDERS[sort], cursor=cursor, limit=limit)

    return answer(request, context, build)


@router.get("/people/{person_id}", response_model=wire.Person, responses=NOT_MODIFIED)
def get_person(request: Request, context: Ctx, person_id: PersonId) -> Response:
    """Tell of one person."""
    return answer(request, context, lambda: views.person(context, person_id))


@router.delete("/people/{person_id}", status_code=204)
def forget_person(context: Ctx, person_id: PersonId) -> None:
    """Erase a person: name, tracks, embeddings, pictures, and what was said of them. This cannot be undone."""
    from indexing.report import remove_thumbnails

    context.person(person_id)
    with context.correcting, context.uploads.discarding():
        context.store.forget(person_id)
        remove_thumbnails(context.store)


@router.get("/people/{person_id}/appearances", response_model=wire.Page[wire.Appearance], responses=NOT_MODIFIED)
def list_appearances(
    request: Request,
    context: Ctx,
    person_id: PersonId,
    video: OfVideo = None,
    cursor: Cursor = None,
    limit: Count = PAGE,
) -> Response:
    """List when a person is seen."""

    def build() -> wire.Page[wire.Appearance]:
        context.person(person_id)
        rows = views.appearances(context, context.store.appearances(person_id, video))
        return page(rows, lambda one: (one.video, one.start), cursor=cursor, limit=limit)

    return answer(request, context, build)


@router.get("/people/{person_id}/tracks", response_model=wire.Page[wire.Track], responses=NOT_MODIFIED)
def list_tracks(
    request: Request, context: Ctx, person_id: PersonId, cursor: Cursor = None, limit: Count = PAGE
) -> Response:
    """List the tracks of a person, those of photographs that were enrolled among them."""

    def build() -> wire.Page[wire.Track]:
        context.person(person_id)
        theirs = [record for record in context.records().values() if record.identity_id == person_id]
        return page(views.tracks(context, theirs), lambda one: (one.key,), cursor=cursor, limit=limit)

    return answer(request, context, build)


@router.get("/people/{person_id}/emotions", response_model=wire.Page[wire.Curve], responses=NOT_MODIFIED)
def list_emotions(
    request: Request,
    context: Ctx,
    person_id: PersonId,
    video: OfVideo = None,
    cursor: Cursor = None,
    limit: Count = PAGE,
) -> Response:
    """List what a person shows over time in each video."""

    def build() -> wire.Page[wire.Curve]:
        context.person(person_id)
        rows = views.curves(context, context.store.emotion_curves(person_id, video))
        return page(rows, lambda one: (one.video,), cursor=cursor, limit=limit)

    return answer(request, context, build)


@router.get("/people/{person_id}/episodes", response_model=wire.Page[wire.Episode], responses=NOT_MODIFIED)
def list_episodes(
    request: Request,
    context: Ctx,
    person_id: PersonId,
    video: OfVideo = None,
    cursor: Cursor = None,
    limit: Count = PAGE,
) -> Response:
    """List the episodes of emotions of a person."""

    def build() -> wire.Page[wire.Episode]:
        context.person(person_id)
        rows = views.episodes(context, context.store.episodes(person_id, video))
        return page(rows, lambda one: (one.video, one.onset), cursor=cursor, limit=limit)

    return answer(request, context, build)


@router.get("/people/{person_id}/companions", response_model=wire.Page[wire.Companion], responses=NOT_MODIFIED)
def list_companions(
    request: Request, context: Ctx, person_id: PersonId, cursor: Cursor = None, limit: Count = PAGE
) -> Response:
    """List who is seen together with a person, and for how long."""

    def build() -> wire.Page[wire.Companion]:
        context.person(person_id)
        rows = views.companions(context, companions(context.store, person_id))
        return page(rows, lambda one: (-one.screen_time, one.identity), cursor=cursor, limit=limit)

    return answer(request, context, build)


@router.get("/people/{person_id}/thumbnail.jpg", response_class=Response, responses={**NOT_MODIFIED, **jpeg()})
def get_thumbnail(request: Request, context: Ctx, person_id: PersonId) -> Response:
    """Return the best picture of a person."""
    best = views.person(context, person_id).best_track
    if best is None:
        raise ProblemError(404, f"person {person_id} has no picture, as they have no track")
    return thumbnail(request, context, best)


@router.get("/together", response_model=wire.Page[wire.Together], responses=NOT_MODIFIED)
def list_together(
    request: Request,
    context: Ctx,
    person: Annotated[list[wire.Id], Query(min_length=2, max_length=20, description="Two people or more.")],
    cursor: Cursor = None,
    limit: Count = PAGE,
) -> Response:
    """List when several people are all seen."""
    return answer(request, context, lambda: _together(context, person, cursor, limit))


def _together(context: Context, people: list[int], cursor: str | None, limit: int) -> wire.Page[wire.Together]:
    rows = views.together(co_appearances(context.store, [context.person(one).identity_id for one in people]))
    return page(rows, lambda one: (one.video, one.start, one.end), cursor=cursor, limit=limit)
