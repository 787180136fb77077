"""Ask the service how fast it answers while it works, and what is lost when it is killed.

    python benchmarks/service.py load DATABASE [--people 500] [--readers 50] [--seconds 60]
    python benchmarks/service.py kill [--kills 20] [--seed 0]

``load``: on a copy of a database, cut down to so many people, as many readers as asked for GET /api/v1/people over and
over, each as soon as it has its answer and without telling what it knows (no If-None-Match), while one worker analyses
copies of the demo clip. The readers are one process of their own.

``kill``: the service with its worker is killed (SIGKILL to the whole process group) in the middle of a job, at a random
frame of it, and started again; before each kill a correction is made. In the end every video that was finished, every
correction that was answered and every job has to be there. Both print Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from indexing.client import Client
from indexing.demo import make_demo_clip
from indexing.jobs import Job, JobQueue
from indexing.processes import environment
from indexing.store import Store

PATIENCE = 300.0
"""Seconds until something that should happen is taken for lost."""

WARM = 3.0
"""Seconds of asking before the counting begins."""

QUICK = {"detect_every": 4, "emotion": None}
"""Settings of the jobs that are killed: each kill costs a start of the service."""


def main(arguments: list[str] | None = None) -> int:
    """Run one of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    loaded = parts.add_parser("load")
    loaded.add_argument("database", type=Path)
    loaded.add_argument("--people", type=int, default=500)
    loaded.add_argument("--readers", type=int, default=50)
    loaded.add_argument("--seconds", type=float, default=60.0)
    killed = parts.add_parser("kill")
    killed.add_argument("--kills", type=int, default=20)
    killed.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        if options.part == "load":
            return load(Path(name), options.database, options.people, options.readers, options.seconds)
        return kill(Path(name), options.kills, random.Random(options.seed))


# ---- the service, and work for it


@contextmanager
def service(db: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Give a service in a process group of its own, and its address; nothing of it is left."""
    program = ["-c", "from indexing.cli import main; main()", "serve", "--db", str(db), "--port", "0"]
    log = db.with_name("service.log")
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, *program, "--root", str(db.parent)],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        address = process.stdout.readline().partition(" is served at ")[2].partition(";")[0]
        if not address:
            sys.exit(f"the service did not start:\n{log.read_text()[-2000:]}")
        yield process, address
    finally:
        kill_group(process)
        process.stdout.close()


def kill_group(process: subprocess.Popen[str]) -> None:
    """End a service and its workers without a warning."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def copies(clip: Path, count: int) -> list[Path]:
    """Return copies of a clip that show the same and are other files: a free box of MP4 tells them apart."""
    made = []
    for number in range(count):
        copy = clip.with_name(f"{clip.stem}-{number}{clip.suffix}")
        shutil.copyfile(clip, copy)
        with copy.open("ab") as file:
            file.write(struct.pack(">I4sI", 12, b"free", number))
        made.append(copy)
    return made


def percentile(values: Sequence[float], percent: float) -> str:
    """Return a percentile of seconds in milliseconds."""
    return f"{1000 * float(np.percentile(values, percent)):.0f} ms" if values else "-"


# ---- load


@dataclass(slots=True)
class Tally:
    """What the readers found.

    Attributes:
        seconds: Of each answer.
        errors: What went wrong.
        size: Bytes of the last answer.
    """

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    size: int = 0


def load(folder: Path, database: Path, people: int, readers: int, seconds: float) -> int:
    """Measure how fast people are told while a job runs."""
    db = cut_down(database, folder / "facetrack.db", people)
    make_demo_clip(folder / "demo.mp4")
    clips = copies(folder / "demo.mp4", 1 + int(seconds))
    with Store(db) as store, service(db) as (_, address), Client(address) as client:
        queue = JobQueue(store)
        for clip in clips:
            client.add(str(clip))
        wait_for_frames(queue, 1)
        alone = asyncio.run(ask(address, 1, min(seconds, 10.0)))
        before = frames_done(queue)
        tally = asyncio.run(ask(address, readers, seconds))
        worked = (frames_done(queue) - before) / (seconds + WARM)
        counts = queue.counts()
    cores = len(os.sched_getaffinity(0))
    print(f"{cores} cores, one worker at {worked:.1f} frames/s, {counts['done']} videos stored meanwhile\n")
    print("| readers | answers | per second | bytes | p50 | p95 | p99 | longest | errors |\n|" + "---:|" * 9)
    for count, found, length in ((1, alone, min(seconds, 10.0)), (readers, tally, seconds)):
        quick = " | ".join(percentile(found.seconds, percent) for percent in (50, 95, 99, 100))
        rate = len(found.seconds) / length
        print(f"| {count} | {len(found.seconds)} | {rate:.0f} | {found.size} | {quick} | {len(found.errors)} |")
    for error in sorted({*alone.errors, *tally.errors})[:10]:
        print(f"\n    {error}")
    return 1 if alone.errors or tally.errors or not tally.seconds else 0


def cut_down(database: Path, target: Path, people: int) -> Path:
    """Copy a database with the videos of its first people."""
    reading = f"{database.resolve().as_uri()}?mode=ro"
    with closing(sqlite3.connect(reading, uri=True)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)
    Store(target).close()
    with closing(sqlite3.connect(target)) as copy, copy:
        copy.execute("PRAGMA foreign_keys = ON")
        kept = "SELECT identity_id FROM tracks WHERE identity_id IS NOT NULL GROUP BY 1 ORDER BY 1 LIMIT ?"
        copy.execute(f"DELETE FROM identities WHERE id NOT IN ({kept})", (people,))
        copy.execute("DELETE FROM videos WHERE id NOT IN (SELECT video_id FROM tracks WHERE identity_id IS NOT NULL)")
    with Store(target) as store:
        print(f"{len(store.people())} people in {len(store.videos())} videos, {len(store.track_records())} tracks\n")
    return target


def frames_done(queue: JobQueue) -> int:
    """Return how many frames all jobs have behind them."""
    return sum(job.frames_done for job in queue.jobs(limit=10_000))


def wait_for_frames(queue: JobQueue, frames: int) -> None:
    """Wait until a worker is at it."""
    deadline = time.monotonic() + PATIENCE
    while frames_done(queue) < frames:
        assert time.monotonic() < deadline, "no worker began"
        time.sleep(0.1)


async def ask(address: str, readers: int, seconds: float) -> Tally:
    """Have so many readers ask for so long."""
    tally = Tally()
    begin = time.perf_counter() + WARM
    await asyncio.gather(*(read(address, tally, begin, begin + seconds) for _ in range(readers)))
    return tally


async def read(address: str, tally: Tally, begin: float, end: float) -> None:
    """Ask for the people over one connection until the end."""
    host, _, port = address.removeprefix("http://").partition(":")
    request = f"GET /api/v1/people HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: application/json\r\n\r\n".encode()
    while time.perf_counter() < end:
        try:
            await keep_asking(host, int(port), request, tally, begin, end)
        except (OSError, EOFError, ValueError) as error:
            tally.errors.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.1)


async def keep_asking(host: str, port: int, request: bytes, tally: Tally, begin: float, end: float) -> None:
    """Ask over one connection; HTTP by hand, as a client library would take more time than the service."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        while (asked := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode().lower().split("\r\n")
            length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
            await reader.readexactly(length)
            if " 200 " not in f"{lines[0]} ":
                tally.errors.append(lines[0])
            elif asked >= begin:
                tally.seconds.append(time.perf_counter() - asked)
                tally.size = length
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


# ---- kill


@dataclass(slots=True)
class Witness:
    """What has to be there in the end.

    Attributes:
        names: Given to person 1, in order, each answered by the service.
        done: Jobs that were seen to be done.
        killed: Frames that jobs had done when the service was killed.
        waited: Seconds from each start of the service to the first frame of its job.
    """

    names: list[str] = field(default_factory=list)
    done: set[int] = field(default_factory=set)
    killed: list[int] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)


def kill(folder: Path, kills: int, chance: random.Random) -> int:
    """Kill the service over and over, and look for what is lost."""
    db, witness = folder / "facetrack.db", Witness()
    make_demo_clip(folder / "demo.mp4")
    clips = iter(copies(folder / "demo.mp4", 3 * kills))
    with Store(db) as store:
        queue = JobQueue(store)
        with service(db) as (_, address), Client(address) as client:
            client.wait(client.add(str(folder / "demo.mp4"), **QUICK).id)
        while len(witness.killed) < kills:
            one_life(db, queue, witness, clips, chance)
            check(store, queue, witness)
        with service(db) as (_, address), Client(address) as client:
            for job in queue.jobs(limit=1000):
                client.wait(job.job_id)
        check(store, queue, witness)
        jobs = queue.jobs(limit=1000)
        lost = [job.job_id for job in jobs if job.state != "done"]
        with closing(sqlite3.connect(db)) as connection:
            sound = connection.execute("PRAGMA integrity_check").fetchone()[0]
        videos = len(store.videos())
    frames = ", ".join(map(str, witness.killed))
    print("| | |\n|---|---|")
    print(f"| kills in the middle of a job | {len(witness.killed)}, at frames {frames} of 300 |")
    print(f"| jobs | {len(jobs)}, begun {sum(job.attempts for job in jobs)} times, not done in the end: {len(lost)} |")
    print(f"| finished videos | {videos}, lost: {len(jobs) - videos} |")
    print(f"| corrections that were answered | {len(witness.names)}, lost: 0 |")
    print(f"| integrity of the database | {sound} |")
    print(f"| from the start of the service to a frame of its job | {np.median(witness.waited):.1f} s (median) |")
    return 1 if lost or videos != len(jobs) or sound != "ok" else 0


def one_life(db: Path, queue: JobQueue, witness: Witness, clips: Iterator[Path], chance: random.Random) -> None:
    """Start the service, let it work, correct something, and kill it somewhere in a job."""
    began = time.monotonic()
    with service(db) as (process, address), Client(address) as client:
        job = unfinished(queue) or queue.get(client.add(str(next(clips)), **QUICK).id)
        if chance.random() < 0.25:
            # One job in four comes to its end in between, so that there is more to be lost.
            witness.done.add(client.wait(job.job_id).id)
            job, began = queue.get(client.add(str(next(clips)), **QUICK).id), time.monotonic()
        if wait_for(queue, job, 1) is None:
            return
        witness.waited.append(time.monotonic() - began)
        client.name(1, name := f"Name {len(witness.names)}")
        witness.names.append(name)
        frames = wait_for(queue, job, chance.randrange(1, 300))
        kill_group(process)
        if frames is not None:
            witness.killed.append(frames)


def unfinished(queue: JobQueue) -> Job | None:
    """Return the job that has to be taken up again."""
    return next((job for job in queue.jobs(limit=1000) if not job.ended), None)


def wait_for(queue: JobQueue, job: Job, frames: int) -> int | None:
    """Wait for a frame of a job; return how many there are, None if it came to its end meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while not (now := queue.get(job.job_id)).ended:
        if now.state == "running" and now.frames_done >= frames:
            return now.frames_done
        assert time.monotonic() < deadline, now
        time.sleep(0.01)
    assert now.state == "done", now
    return None


def check(store: Store, queue: JobQueue, witness: Witness) -> None:
    """Look whether everything that was finished or answered is there."""
    names = [entry.name for entry in store.log()]
    assert names == witness.names, (names, witness.names)
    assert {identity.name for identity in store.identities() if identity.identity_id == 1} == set(witness.names[-1:])
    videos = {video.video_id for video in store.videos()}
    for job in queue.jobs(state="done", limit=1000):
        assert job.video_id in videos, job
    assert witness.done <= {job.job_id for job in queue.jobs(state="done", limit=1000)}


if __name__ == "__main__":
    sys.exit(main())
