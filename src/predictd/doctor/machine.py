"""The machine: its clock, its disks, and the versions of what is installed."""

import os
import platform
import re
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from predictd.doctor.checks import Check, fail, ok, warn
from predictd.runtimes.uv import uv_executable
from predictd.settings import Settings

_STEP_SECONDS = 0.05
_WATCHED_SECONDS = 0.3
_FAIL_GB = 1.0
_WARN_GB = 10.0
_WARN_INODES = 0.05
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[^\]]*\])?(?P<versions>[^;]*)(;\s*extra == ['\"](?P<extra>\w+)['\"])?")
_BOUND = re.compile(r"(>=|<=|==|<|>)\s*([\d.]+)")
# Without these there is no server; of the others it is enough that they are right where they are installed.
_NEEDED = (None, "server")


def clock() -> Iterator[Check]:
    """Whether the time goes on evenly, and whether time zones are known."""
    wall, steady = time.time(), time.monotonic()
    time.sleep(_WATCHED_SECONDS)
    step = (time.time() - wall) - (time.monotonic() - steady)
    if abs(step) > _STEP_SECONDS:
        remedy = "Let one program alone set the clock (chrony, systemd-timesyncd), and let it slew instead of step."
        yield warn("clock", f"it was moved by {step:+.2f} s while it was watched", remedy)
    else:
        yield ok("clock", "goes on evenly")
    try:
        ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        yield warn("time zones", "there are none", "Calendars that name one need them: apt-get install tzdata.")
    else:
        yield ok("time zones", "are known")


def disks(settings: Settings) -> Iterator[Check]:
    """Room on each filesystem that a deployment writes to."""
    folders = {
        "data dir": settings.home,
        "runtimes": settings.runtimes_home,
        "mapped data": settings.mapped_home,
        "temporary files": Path(tempfile.gettempdir()),
    }
    names: dict[int, list[str]] = {}
    places: dict[int, Path] = {}
    for name, folder in folders.items():
        place = next(one for one in (folder, *folder.parents) if one.exists())
        names.setdefault(place.stat().st_dev, []).append(name)
        places.setdefault(place.stat().st_dev, place)
    for device, place in places.items():
        yield _disk(f"disk of {', '.join(names[device])}", place)


def _disk(name: str, place: Path) -> Check:
    found = os.statvfs(place)
    free, total = found.f_bavail * found.f_frsize / 1e9, found.f_blocks * found.f_frsize / 1e9
    told = f"{free:.1f} of {total:.1f} GB are free at {place}"
    remedy = "Make room, or bound the mapped data (PREDICTD_MAPPED_GB), which are made anew when they are needed."
    if not os.access(place, os.W_OK):
        return fail(name, f"{place} can't be written to", "Give it to the server's user, or choose another --data-dir.")
    if free < _FAIL_GB:
        return fail(name, told, remedy)
    if found.f_files and found.f_favail < _WARN_INODES * found.f_files:
        return warn(name, f"{found.f_favail} of {found.f_files} inodes are free at {place}", remedy)
    return warn(name, told, remedy) if free < _WARN_GB else ok(name, told)


def versions() -> Iterator[Check]:
    """Python, the packages that pyproject.toml asks for, uv, SQLite and the kernel."""
    kernel, python = platform.release(), platform.python_version()
    yield ok("versions", f"predictd {metadata.version('predictd')}, Python {python}, kernel {kernel}, uv {_uv()}")
    wrong = list(_wrong_packages())
    remedy = "Install what belongs together: in the clone, pip install --upgrade '.[server]'."
    if wrong:
        yield fail("packages", "; ".join(wrong), remedy)
    else:
        yield ok("packages", "all are in the range that was tested")
    yield ok("SQLite", f"{sqlite3.sqlite_version}: for one server with its workers; several servers need PostgreSQL")


def _uv() -> str:
    shown = subprocess.run([uv_executable(), "--version"], capture_output=True, text=True, timeout=10, check=True)
    return shown.stdout.split()[1]


def _wrong_packages() -> Iterator[str]:
    for requirement in metadata.requires("predictd") or ():
        found = _REQUIREMENT.fullmatch(requirement.strip())
        if found is None:
            continue
        name = found["name"]
        try:
            have = metadata.version(name)
        except metadata.PackageNotFoundError:
            if found["extra"] in _NEEDED:
                yield f"{name} is missing"
            continue
        if not all(_holds(have, sign, bound) for sign, bound in _BOUND.findall(found["versions"])):
            yield f"{name} {have} is not {found['versions'].strip()}"


def _holds(have: str, sign: str, bound: str) -> bool:
    mine, other = _numbers(have), _numbers(bound)
    width = max(len(mine), len(other))
    mine, other = (one + (0,) * (width - len(one)) for one in (mine, other))
    held = {">=": mine >= other, "<=": mine <= other, "==": mine == other, "<": mine < other, ">": mine > other}
    return held[sign]


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
