"""What the service has to know of processes: how to start one of its own, whether one lives, what it occupies.

Whether a process lives and what it occupies is read from ``/proc``. Where there is none, nobody is known to be dead
and no memory is counted.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

REFUSED = 65
"""Exit code of a process that says what is wrong with what it was given."""

MIB = 2**20

_START = 19
"""Place of the start time in ``/proc/PID/stat`` (proc(5)), counted behind the name, which may hold anything."""


def command(module: str, *arguments: str, order: Mapping[str, Any]) -> list[str]:
    """Return the command that runs a module of ours with arguments and, as the last of them, JSON."""
    # -P: no code is taken from the folder that somebody happened to be in.
    return [sys.executable, "-P", "-m", module, *arguments, json.dumps(order)]


def environment() -> dict[str, str]:
    """Return the environment in which a new process finds the same modules as this one."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)}


def name_of(pid: int) -> str:
    """Return a name that no other process has or had: machine, number and time of its start."""
    return f"{platform.node()}:{pid}:{_started(pid)}"


def is_gone(name: str) -> bool:
    """Say whether the process of a name is dead for certain.

    Example:
        >>> is_gone(name_of(os.getpid())), is_gone(f"{platform.node()}:{os.getpid()}:1"), is_gone("a worker elsewhere")
        (False, True, False)
    """
    machine, _, process = name.partition(":")
    pid, _, started = process.partition(":")
    here = machine == platform.node() and pid.isdecimal() and started != ""
    return here and _started(int(pid)) != started


def _started(pid: int) -> str:
    with suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_START]
    return ""


def address_space() -> int:
    """Return the bytes of address space of this process; 0 where the system does not tell."""
    return _pages(0)


def resident() -> int:
    """Return the bytes of memory that this process occupies; 0 where the system does not tell."""
    return _pages(1)


def _pages(place: int) -> int:
    with suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[place]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def limit(**limits: int) -> None:
    """Limit this process for good, where the system can.

    Args:
        limits: Name of a limit as `resource` has it, without ``RLIMIT_``, and its value.
    """
    with suppress(ImportError):
        import resource

        for name, most in limits.items():
            hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[1]
            allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
            with suppress(OSError, ValueError):
                resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (allowed, allowed))
