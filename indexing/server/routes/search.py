"""Search by pictures, by a person, by a track, or by a face in a video; and photographs that say who somebody is."""

from __future__ import annotations

from typing import Annotated

from fastapi import File, Form, Query, UploadFile

from indexing import gallery, search, wire
from indexing.presence import Scope
from indexing.search import FAR
from indexing.server import received, views
from indexing.server.context import Context, Ctx
from indexing.server.errors import ProblemError
from indexing.server.parameters import End, OfPerson, OfVideo, Start, until
from indexing.server.routes import router as subject
from tracker.errors import FacetrackError

router = subject("search")

FalseAccepts = Annotated[float, Query(ge=1e-6, le=0.1, description="Share of strangers who are taken for somebody.")]
Pictures = Annotated[list[UploadFile], File(description="Pictures.", min_length=1)]
Videos = Annotated[list[wire.Id] | None, Query(max_length=1000, description="Look in these videos only.")]
Quality = Annotated[float, Query(ge=0, le=1, description="Least quality of a track.")]
Pixels = Annotated[float | None, Query(ge=0, le=100_000, allow_inf_nan=False, description="Pixels of the picture.")]


@router.post("/search")
def search_pictures(
    context: Ctx,
    file: Pictures,
    far: FalseAccepts = FAR,
    together: Annotated[bool, Query(description="The pictures show one person.")] = False,
    video: Videos = None,
    start: Start = 0.0,
    end: End = None,
    min_quality: Quality = 0.0,
) -> wire.Answers:
    """Search for every face in pictures."""
    scope = _scope(context, video, start, end, min_quality)
    search.check_searchable(context.store)
    errors = list[FacetrackError]()
    with received.pictures(context, file) as pictures, context.searching() as models:
        names = [picture.info.path for picture in pictures]
        with received.calling(names):
            found = search.search(
                context.store,
                [picture.open() for picture in pictures],
                far=far,
                one_person=together,
                scope=scope,
                models=models,
                on_error=errors.append,
            )
        told = [received.named(str(error), names) for error in errors]
    return wire.Answers(items=views.answers(context, found), errors=told)


def _scope(context: Context, videos: list[int] | None, start: float, end: float | None, quality: float) -> Scope:
    ids = None if videos is None else frozenset(context.video(one).video_id for one in videos)
    return Scope(ids, start, until(end), quality)


@router.get("/search")
def search_known(
    context: Ctx,
    person: OfPerson = None,
    track: Annotated[int | None, Query(ge=1, le=wire.LARGEST_ID, description="Key of a track.")] = None,
    video: OfVideo = None,
    time: Annotated[float | None, Query(ge=0, allow_inf_nan=False, description="Seconds.")] = None,
    x: Pixels = None,
    y: Pixels = None,
    far: FalseAccepts = FAR,
) -> wire.Answers:
    """Search for who looks like a person, like a track, or like the face at a point of a video."""
    match (person, track, video, time, x, y):
        case (int(), None, None, None, None, None):
            found = search.search_person(context.store, context.person(person).identity_id, far=far)
        case (None, int(), None, None, None, None):
            found = search.search_track(context.store, context.track(track).key, far=far)
        case (None, None, int(), float(), float(), float()):
            found = search.search_at(context.store, context.video(video).video_id, time, x, y, far=far)
        case _:
            raise ProblemError(422, "name a person, or a track, or a video with time, x and y")
    return wire.Answers(items=views.answers(context, [found], image=found.probe.title), errors=[])


@router.post("/people/enroll", status_code=201)
def enroll(
    context: Ctx,
    name: Annotated[str, Form(min_length=1, max_length=200)],
    file: Pictures,
    reason: Annotated[str | None, Form(max_length=2000)] = None,
    force: Annotated[bool, Form()] = False,
) -> wire.Told:
    """Make photographs the measure of how a person looks, before or after videos are added."""
    with received.pictures(context, file) as pictures, context.correcting, context.searching() as models:
        with received.keeping(context, pictures) as kept, received.calling(picture.info.path for picture in kept):
            entry = gallery.enroll(
                context.store,
                name,
                [picture.open() for picture in kept],
                detector=models.detector,
                embedder=models.embedder,
                models_dir=context.models_dir,
                reason=reason,
                force=force,
            )
        return views.told(context, entry)
