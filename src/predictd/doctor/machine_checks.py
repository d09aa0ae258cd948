"""Checks of the machine: clock, disks, and installed versions."""

import operator
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

from predictd.monitoring.checks import Check, check_disk, fail, ok, warn
from predictd.runtimes.uv import uv_executable
from predictd.settings import Settings

_STEP_SECONDS = 0.05
_OBSERVED_SECONDS = 0.3
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[^\]]*\])?(?P<versions>[^;]*)(;\s*extra == ['\"](?P<extra>\w+)['\"])?")
_BOUND = re.compile(r"(>=|<=|==|<|>)\s*([\d.]+)")
# Extras that a server requires; packages of other extras are only checked if they are installed.
_REQUIRED_EXTRAS = (None, "server")


def check_clock_rate() -> Iterator[Check]:
    """Check that the clock runs evenly, and that time zones are available."""
    wall, steady = time.time(), time.monotonic()
    time.sleep(_OBSERVED_SECONDS)
    step = (time.time() - wall) - (time.monotonic() - steady)
    if abs(step) > _STEP_SECONDS:
        remedy = "Let only one program set the clock (chrony, systemd-timesyncd), by slewing instead of stepping."
        yield warn("clock", f"it jumped by {step:+.2f} s during the check", remedy)
    else:
        yield ok("clock", "runs evenly")
    try:
        ZoneInfo("America/New_York")
    except ZoneInfoNotFoundError:
        yield warn("time zones", "are missing", "Calendars with a time zone require them: apt-get install tzdata.")
    else:
        yield ok("time zones", "are available")


def check_disks(settings: Settings) -> Iterator[Check]:
    """Check each file system that a deployment writes to."""
    folders = {
        "data dir": settings.home,
        "runtimes": settings.runtimes_home,
        "mapped data": settings.mapped_home,
        "temporary files": Path(tempfile.gettempdir()),
    }
    names: dict[int, list[str]] = {}
    places: dict[int, Path] = {}
    for name, folder in folders.items():
        place = next(parent for parent in (folder, *folder.parents) if parent.exists())
        names.setdefault(place.stat().st_dev, []).append(name)
        places.setdefault(place.stat().st_dev, place)
    for device, place in places.items():
        yield check_disk(f"disk of {', '.join(names[device])}", place)


def check_versions() -> Iterator[Check]:
    """Check the installed packages against the required versions, and report other versions."""
    kernel, python = platform.release(), platform.python_version()
    yield ok(
        "versions", f"predictd {metadata.version('predictd')}, Python {python}, kernel {kernel}, uv {_uv_version()}"
    )
    problems = list(_package_problems())
    remedy = "Install matching versions: in the clone, pip install --upgrade '.[server]'."
    if problems:
        yield fail("packages", "; ".join(problems), remedy)
    else:
        yield ok("packages", "all are in the tested range")
    yield ok("SQLite", f"{sqlite3.sqlite_version}: for one server with its workers; several servers need PostgreSQL")


def _uv_version() -> str:
    shown = subprocess.run([uv_executable(), "--version"], capture_output=True, text=True, timeout=10, check=True)
    return shown.stdout.split()[1]


def _package_problems() -> Iterator[str]:
    for requirement in metadata.requires("predictd") or ():
        match = _REQUIREMENT.fullmatch(requirement.strip())
        if match is None:
            continue
        name = match["name"]
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            if match["extra"] in _REQUIRED_EXTRAS:
                yield f"{name} is missing"
            continue
        if not all(_satisfies(version, sign, bound) for sign, bound in _BOUND.findall(match["versions"])):
            yield f"{name} {version} is not {match['versions'].strip()}"


def _satisfies(version: str, sign: str, bound: str) -> bool:
    installed, limit = _numbers(version), _numbers(bound)
    width = max(len(installed), len(limit))
    installed, limit = (numbers + (0,) * (width - len(numbers)) for numbers in (installed, limit))
    compare = {">=": operator.ge, "<=": operator.le, "==": operator.eq, "<": operator.lt, ">": operator.gt}[sign]
    return bool(compare(installed, limit))


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()
