"""The forms: what people say of who is who, with or without a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from indexing import gallery, questions
from indexing.corrections import Entry, describe
from indexing.server.context import Context, context_of
from indexing.server.errors import MEDIA_TYPE
from indexing.server.page.answers import PageRoute, filled, reason_of, scripted
from indexing.server.routes.videos import delete_video
from indexing.server.security import local_path
from indexing.store import Store
from tracker.errors import FacetrackError

router = APIRouter(route_class=PageRoute)

Act = Callable[[Store, bool], Sequence[Entry]]
Keys = Annotated[list[int], Form()]


@dataclass(frozen=True, slots=True)
class Said:
    """A form that was sent.

    Attributes:
        request: The request.
        force: It is to be written although it contradicts what was said or seen.
        next: Where to go on.
        fields: Names and values of the form but ``force``, to send it again.
    """

    request: Request
    force: bool
    next: str
    fields: Sequence[tuple[str, str]]

    @property
    def context(self) -> Context:
        """What the service works with."""
        return context_of(self.request)

    def answer(self, act: Act, *, before: str = "") -> Response:
        """Do it and tell what was done; why not, where it is refused.

        Args:
            act: Writes it into the log.
            before: Words before those that tell it: it was taken back.
        """
        context = self.context
        try:
            with context.correcting, context.uploads.discarding():
                entries = act(context.store, self.force)
                text = told(context.store, entries)
        except FacetrackError as error:
            return self._refused(error)
        if before:
            return self.done(before + text)
        return self.done(text, undo=len(entries), entry=entries[-1].entry_id)

    def done(self, text: str, *, undo: int = 0, entry: int = 0, to: str | None = None) -> Response:
        """Return that something was done.

        Args:
            text: What.
            undo: How many entries of the log it was.
            entry: Number of the last of them.
            to: Where to go on, if not where the form was.
        """
        if scripted(self.request):
            return JSONResponse({"told": text, "undo": undo, "entry": entry, "next": to})
        return RedirectResponse(to or self.next, 303)

    def _refused(self, error: FacetrackError) -> Response:
        reason, forcible = reason_of(error)
        status = 409 if forcible else 422
        if scripted(self.request):
            problem = {"title": "Refused", "status": status, "detail": reason, "forcible": forcible}
            return JSONResponse(problem, status, media_type=MEDIA_TYPE)
        shown = {"reason": reason, "forcible": forcible, "fields": self.fields, "back": self.next}
        return filled(self.request, "refused.html", status=status, **shown)


async def _said(request: Request, force: Annotated[bool, Form()] = False, next: Annotated[str, Form()] = "/") -> Said:
    form = await request.form()
    fields = [(name, value) for name, value in form.multi_items() if name != "force" and isinstance(value, str)]
    return Said(request, force, local_path(next), fields)


Sent = Annotated[Said, Depends(_said)]


def told(store: Store, entries: Sequence[Entry]) -> str:
    """Return what entries of the log say, as a sentence."""
    labels = {identity.identity_id: identity.label for identity in store.identities(include_empty=True)}
    log = store.log()
    sentences = [describe(entry, labels, log=log) for entry in entries]
    more = f", and {len(sentences) - 2} more" if len(sentences) > 2 else ""
    text = "; ".join(sentences[:2]) + more
    return text[:1].upper() + text[1:]


@router.post("/people/{identity_id}/name")
def name(said: Sent, identity_id: int, name: Annotated[str, Form()] = "") -> Response:
    """Name a person; an empty name takes it away."""
    return said.answer(lambda store, _: [gallery.name(store, identity_id, name.strip() or None)])


@router.post("/people/{identity_id}/confirm")
def confirm(said: Sent, identity_id: int) -> Response:
    """Say that all tracks of a person are theirs."""
    return said.answer(lambda store, force: [gallery.confirm(store, identity_id, force=force)])


@router.post("/people/{identity_id}/ignore")
def ignore(said: Sent, identity_id: int) -> Response:
    """Leave a person out of the lists."""
    return said.answer(lambda store, _: [gallery.ignore(store, identity_id)])


@router.post("/people/{identity_id}/unignore")
def unignore(said: Sent, identity_id: int) -> Response:
    """Bring a person back into the lists."""
    return said.answer(lambda store, _: [gallery.unignore(store, identity_id)])


@router.post("/people/merge")
def merge_several(said: Sent, people: Keys) -> Response:
    """Say that several people are one."""
    return said.answer(lambda store, force: _merge(store, list(dict.fromkeys(people)), force=force))


@router.post("/people/ignore")
def ignore_several(said: Sent, people: Keys) -> Response:
    """Leave several people out of the lists."""
    return said.answer(lambda store, _: [gallery.ignore(store, person) for person in dict.fromkeys(people)])


@router.post("/people/{identity_id}/merge")
def merge(said: Sent, identity_id: int, into: Annotated[str, Form()]) -> Response:
    """Say that a person and another one, told by name or number, are one."""
    return said.answer(lambda store, force: [gallery.merge(store, into, identity_id, force=force)])


@router.post("/people/{identity_id}/split")
def split(said: Sent, identity_id: int, tracks: Keys) -> Response:
    """Say that some tracks of a person are somebody else."""
    return said.answer(lambda store, force: [gallery.split(store, identity_id, tracks, force=force)])


@router.post("/people/{identity_id}/not")
def not_them(said: Sent, identity_id: int, tracks: Keys) -> Response:
    """Say that tracks are not a person."""
    return said.answer(lambda store, force: [gallery.not_(store, identity_id, tracks, force=force)])


@router.post("/tracks/assign")
def assign(said: Sent, tracks: Keys, person: Annotated[str, Form()] = "") -> Response:
    """Say whose tracks are; nobody's name: of somebody new."""
    who = person.strip() or None
    return said.answer(lambda store, force: [gallery.assign(store, tracks, who, force=force)])


@router.post("/undo")
def undo(said: Sent, count: Annotated[int, Form(ge=1)] = 1, entry: Annotated[int, Form()] = 0) -> Response:
    """Take back the last corrections; where an entry is named, only if it still is the last one."""
    return said.answer(lambda store, _: _undo(store, count, entry), before="Taken back: ")


@router.post("/review")
def review(
    said: Sent,
    a: Annotated[int, Form()],
    b: Annotated[int, Form()],
    answer: Annotated[Literal["same", "different"], Form()],
) -> Response:
    """Say whether two people are one."""
    if answer == "same":
        return said.answer(lambda store, force: [gallery.merge(store, a, b, force=force)])
    return said.answer(lambda store, _: [questions.answer(store, a, b, same=False)])


@router.post("/jobs/{job_id}/cancel")
def cancel(said: Sent, job_id: int) -> Response:
    """Stop a job."""
    job = said.context.queue.cancel(job_id)
    return said.done(f"{job.path.name} is cancelled", to="/jobs")


@router.post("/jobs/{job_id}/retry")
def retry(said: Sent, job_id: int) -> Response:
    """Queue a job again."""
    job = said.context.queue.retry(job_id)
    return said.done(f"{job.path.name} is queued again", to="/jobs")


@router.post("/videos/{video_id}/remove")
def remove(said: Sent, video_id: int) -> Response:
    """Remove a video with its faces; the file goes only where it was uploaded."""
    name = said.context.video(video_id).path.name
    delete_video(said.context, video_id)
    return said.done(f"{name} is removed", to="/")


def _merge(store: Store, people: Sequence[int], *, force: bool) -> list[Entry]:
    """Merge people one by one; where one is refused, none is merged."""
    if len(people) < 2:
        raise FacetrackError("one person alone cannot be merged; select two or more")
    entries: list[Entry] = []
    with store.transaction():
        for person in people[1:]:
            kept = entries[-1].identities[0] if entries else people[0]
            entries.append(gallery.merge(store, kept, person, force=force))
    return entries


def _undo(store: Store, count: int, entry: int) -> list[Entry]:
    holding = [one.entry_id for one in store.log() if one.holds]
    if entry and holding[-1:] != [entry]:
        raise FacetrackError("something else was said meanwhile; the list of corrections tells what the last one is")
    return gallery.undo(store, count)
