"""A client of the service, typed as the service is: what comes back are the models of `indexing.wire`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx
from pydantic import BaseModel

from indexing import wire
from tracker.errors import FacetrackError

M = TypeVar("M", bound=BaseModel)

Files = Sequence[Path | str]


class ServiceError(FacetrackError):
    """What the service refused.

    Attributes:
        problem: What it said.
    """

    def __init__(self, problem: wire.Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class Client:
    """Asks a service; use it in a ``with`` block, or `close` it.

    Lists come whole: further parts are fetched while they are iterated over::

        with Client("http://127.0.0.1:8000") as client:
            job = client.wait(client.upload("clip.mp4").id)
            print([person.label for person in client.people()])
    """

    def __init__(self, base_url: str, token: str | None = None, *, timeout: float = 60.0) -> None:
        """Say where the service is.

        Args:
            base_url: Its address, such as ``http://127.0.0.1:8000``.
            token: What it was started with.
            timeout: Seconds to wait for an answer.
        """
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=f"{base_url.rstrip('/')}/api/v1", headers=headers, timeout=timeout)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    # ---- the service

    def health(self) -> wire.Health:
        """Return that it answers."""
        return self._get(wire.Health, "/health")

    def stats(self) -> wire.Stats:
        """Return how much it holds."""
        return self._get(wire.Stats, "/stats")

    def revision(self) -> str:
        """Return a token that is another one after each change of what is stored, whoever made it."""
        return self._get(wire.Revision, "/revision").revision

    # ---- videos and jobs

    def add(self, path: str, **settings: Any) -> wire.Job:
        """Add a video that the service itself can read, below one of its roots; settings are `wire.Settings`."""
        return self._post(wire.Job, "/jobs", {"path": path, "settings": settings})

    def upload(self, path: Path | str, **settings: Any) -> wire.Job:
        """Send a video and add it; settings are `wire.Settings`."""
        with Path(path).open("rb") as file:
            form = {"settings": wire.Settings(**settings).model_dump_json(exclude_none=True)}
            answer = self._http.post("/uploads", files={"file": (Path(path).name, file)}, data=form)
        return self._read(wire.Job, answer)

    def jobs(self, *, state: wire.State | None = None) -> Iterator[wire.Job]:
        """Yield the jobs by id."""
        return self._list(wire.Job, "/jobs", state=state)

    def job(self, job_id: int) -> wire.Job:
        """Return a job."""
        return self._get(wire.Job, f"/jobs/{job_id}")

    def cancel(self, job_id: int) -> wire.Job:
        """Stop a job."""
        return self._post(wire.Job, f"/jobs/{job_id}/cancel")

    def retry(self, job_id: int) -> wire.Job:
        """Queue a job again that failed or was cancelled."""
        return self._post(wire.Job, f"/jobs/{job_id}/retry")

    def watch(self, job_id: int) -> Iterator[wire.Job]:
        """Yield a job at each change until it has ended."""
        with self._http.stream("GET", f"/jobs/{job_id}/events", timeout=None) as answer:
            if answer.is_error:
                answer.read()
            self._check(answer)
            for line in answer.iter_lines():
                if line.startswith("data:"):
                    yield wire.Job.model_validate_json(line.removeprefix("data:"))

    def wait(self, job_id: int) -> wire.Job:
        """Return a job when it has ended."""
        *_, last = self.watch(job_id)
        return last

    def videos(self) -> Iterator[wire.Video]:
        """Yield the videos in the order they were added."""
        return self._list(wire.Video, "/videos")

    def video(self, video_id: int) -> wire.Video:
        """Return a video."""
        return self._get(wire.Video, f"/videos/{video_id}")

    def remove_video(self, video_id: int) -> None:
        """Remove a video with its tracks."""
        self._check(self._http.delete(f"/videos/{video_id}"))

    def lanes(self, video_id: int) -> wire.Lanes:
        """Return the swimlanes of a video."""
        return self._get(wire.Lanes, f"/videos/{video_id}/lanes")

    def boxes(self, video_id: int, *, start: float = 0.0, end: float | None = None) -> wire.Boxes:
        """Return the boxes of a part of a video."""
        return self._get(wire.Boxes, f"/videos/{video_id}/boxes", start=start, end=end)

    def tracks(self, video_id: int) -> Iterator[wire.Track]:
        """Yield the tracks of a video."""
        return self._list(wire.Track, f"/videos/{video_id}/tracks")

    def frame(self, video_id: int, frame: int, *, width: int | None = None) -> bytes:
        """Return a frame of a video as a JPEG file."""
        return self._bytes(f"/videos/{video_id}/frames/{frame}.jpg", width=width)

    # ---- people

    def people(
        self, *, sort: Literal["screen_time", "name", "id"] = "screen_time", ignored: bool = False, q: str = ""
    ) -> Iterator[wire.Person]:
        """Yield the people."""
        return self._list(wire.Person, "/people", sort=sort, ignored=ignored, q=q)

    def person(self, person_id: int) -> wire.Person:
        """Return a person."""
        return self._get(wire.Person, f"/people/{person_id}")

    def thumbnail(self, person_id: int) -> bytes:
        """Return the best picture of a person as a JPEG file."""
        return self._bytes(f"/people/{person_id}/thumbnail.jpg")

    def appearances(self, person_id: int, *, video: int | None = None) -> Iterator[wire.Appearance]:
        """Yield when a person is seen."""
        return self._list(wire.Appearance, f"/people/{person_id}/appearances", video=video)

    def emotions(self, person_id: int, *, video: int | None = None) -> Iterator[wire.Curve]:
        """Yield what a person shows over time in each video."""
        return self._list(wire.Curve, f"/people/{person_id}/emotions", video=video)

    def episodes(self, person_id: int, *, video: int | None = None) -> Iterator[wire.Episode]:
        """Yield the episodes of emotions of a person."""
        return self._list(wire.Episode, f"/people/{person_id}/episodes", video=video)

    def companions(self, person_id: int) -> Iterator[wire.Companion]:
        """Yield who is seen together with a person."""
        return self._list(wire.Companion, f"/people/{person_id}/companions")

    def together(self, *people: int) -> Iterator[wire.Together]:
        """Yield when several people are all seen."""
        return self._list(wire.Together, "/together", person=list(people))

    def forget(self, person_id: int) -> None:
        """Erase a person for good."""
        self._check(self._http.delete(f"/people/{person_id}"))

    # ---- corrections

    def name(self, person_id: int, name: str | None, *, reason: str | None = None) -> wire.Told:
        """Name a person; None takes the name away."""
        return self._post(wire.Told, f"/people/{person_id}/name", {"name": name, "reason": reason})

    def merge(self, person_id: int, into: int, *, force: bool = False, reason: str | None = None) -> wire.Told:
        """Say that two people are one."""
        return self._post(wire.Told, f"/people/{person_id}/merge", {"into": into, "force": force, "reason": reason})

    def split(
        self, person_id: int, tracks: Sequence[int], *, force: bool = False, reason: str | None = None
    ) -> wire.Told:
        """Say that some tracks of a person are somebody else."""
        return self._post(
            wire.Told, f"/people/{person_id}/split", {"tracks": list(tracks), "force": force, "reason": reason}
        )

    def not_(
        self, person_id: int, tracks: Sequence[int], *, force: bool = False, reason: str | None = None
    ) -> wire.Told:
        """Say that tracks are not a person."""
        return self._post(
            wire.Told, f"/people/{person_id}/not", {"tracks": list(tracks), "force": force, "reason": reason}
        )

    def assign(self, track: int, person_id: int | None, *, force: bool = False, reason: str | None = None) -> wire.Told:
        """Say whose a track is; None: somebody new."""
        return self._post(wire.Told, f"/tracks/{track}/assign", {"person": person_id, "force": force, "reason": reason})

    def confirm(self, person_id: int, *, force: bool = False, reason: str | None = None) -> wire.Told:
        """Say that all tracks that a person has now are theirs."""
        return self._post(wire.Told, f"/people/{person_id}/confirm", {"force": force, "reason": reason})

    def ignore(self, person_id: int, *, reason: str | None = None) -> wire.Told:
        """Leave a person out of every list."""
        return self._post(wire.Told, f"/people/{person_id}/ignore", {"reason": reason})

    def unignore(self, person_id: int, *, reason: str | None = None) -> wire.Told:
        """Bring a person who is ignored back."""
        return self._post(wire.Told, f"/people/{person_id}/unignore", {"reason": reason})

    def undo(self, count: int = 1) -> list[wire.Told]:
        """Take back the last corrections; returns them, newest first."""
        return self._post(wire.Undone, "/undo", {"count": count}).items

    def log(self) -> Iterator[wire.Told]:
        """Yield what people said, newest first."""
        return self._list(wire.Told, "/log")

    def questions(self, *, limit: int = 20) -> list[wire.Question]:
        """Return pairs of people who may be one, the least certain first."""
        return self._get(wire.Page[wire.Question], "/questions", limit=limit).items

    def answer(self, a: int, b: int, answer: Literal["same", "different"]) -> wire.Told:
        """Say whether two people are one."""
        return self._post(wire.Told, "/questions", {"a": a, "b": b, "answer": answer})

    # ---- who is who, said anew

    def recluster(
        self,
        *,
        clusterer: Literal["auto", "constrained", "hdbscan", "kmeans"] = "auto",
        far: float | None = None,
        dry_run: bool = False,
    ) -> wire.Reclustering:
        """Say anew who is who in all that is stored, and return what changes; ``dry_run``: what would change.

        With very many tracks it takes longer than ``timeout``.
        """
        return self._post(wire.Reclustering, "/recluster", {"clusterer": clusterer, "far": far, "dry_run": dry_run})

    def calibrate(self) -> wire.CalibrationReport:
        """Adjust the probabilities of matches to what the database shows by itself."""
        return self._post(wire.CalibrationReport, "/calibrate")

    def calibration(self) -> wire.CalibrationReport:
        """Return what the last calibration found."""
        return self._get(wire.CalibrationReport, "/calibration")

    # ---- search and exports

    def search(self, pictures: Files, *, far: float = 1e-3, together: bool = False) -> wire.Answers:
        """Search for every face in pictures; ``together``: they show one person."""
        params = _query({"far": far, "together": together})
        return self._send(pictures, lambda files: self._http.post("/search", params=params, files=files), wire.Answers)

    def search_person(self, person_id: int, *, far: float = 1e-3) -> wire.Answer:
        """Search for who looks like a person."""
        return self._get(wire.Answers, "/search", person=person_id, far=far).items[0]

    def search_track(self, track: int, *, far: float = 1e-3) -> wire.Answer:
        """Search for who looks like a track."""
        return self._get(wire.Answers, "/search", track=track, far=far).items[0]

    def enroll(self, name: str, photographs: Files) -> wire.Told:
        """Make photographs the measure of how a person looks."""
        return self._send(
            photographs,
            lambda files: self._http.post("/people/enroll", data={"name": name}, files=files),
            wire.Told,
        )

    def formats(self) -> list[wire.ExportFormat]:
        """Return the formats to export to."""
        return self._get(wire.Page[wire.ExportFormat], "/exports/formats").items

    def export(self, format: str, output: Path | str, *, videos: Sequence[int] = (), person: int | None = None) -> Path:
        """Write an export to a file and return its path; no videos: all."""
        params = _query({"video": list(videos), "person": person})
        with self._http.stream("GET", f"/exports/{format}", params=params) as answer:
            if answer.is_error:
                answer.read()
            self._check(answer)
            with Path(output).open("wb") as file:
                for piece in answer.iter_bytes():
                    file.write(piece)
        return Path(output)

    # ---- how it asks

    def _get(self, model: type[M], path: str, **params: Any) -> M:
        return self._read(model, self._http.get(path, params=_query(params)))

    def _post(self, model: type[M], path: str, body: Mapping[str, Any] | None = None) -> M:
        return self._read(model, self._http.post(path, json=body or {}))

    def _bytes(self, path: str, **params: Any) -> bytes:
        answer = self._http.get(path, params=_query(params))
        self._check(answer)
        return answer.content

    def _list(self, model: type[M], path: str, **params: Any) -> Iterator[M]:
        cursor: str | None = None
        while True:
            page = self._get(wire.Page[model], path, **params, cursor=cursor)  # type: ignore[valid-type]
            yield from page.items
            cursor = page.next
            if cursor is None:
                return

    def _send(self, paths: Files, post: Callable[[Any], httpx.Response], model: type[M]) -> M:
        with ExitStack() as stack:
            opened = [(Path(path).name, stack.enter_context(Path(path).open("rb"))) for path in paths]
            return self._read(model, post([("file", one) for one in opened]))

    def _read(self, model: type[M], answer: httpx.Response) -> M:
        self._check(answer)
        return model.model_validate_json(answer.content)

    def _check(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        if answer.headers.get("content-type", "").startswith("application/problem+json"):
            raise ServiceError(wire.Problem.model_validate_json(answer.content))
        raise FacetrackError(f"{answer.url} answered with {answer.status_code}; is it a service of facetrack?")


def _query(params: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in params.items() if value is not None}
