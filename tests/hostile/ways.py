"""The ways in which a model is run: each takes a model's name and limits and tells how the run ended."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import worker
from host import ORDINARY_USER, SLOT

from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import RuntimePaths

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LIMITS = Limits(
    seconds=20,
    memory_bytes=256 * MIB,
    scratch_bytes=64 * MIB,
    processes=64,
    output_bytes=8 * MIB,
    log_stop_bytes=4 * MIB,
)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended; `says` is the whole message of its failure, `answer` the digest of its predictions."""

    code: str
    says: str | None
    log: str
    answer: str | None
    peak: int
    stages: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to run models.

    Attributes:
        name: of the way.
        traits: what differs in it for a model; the keys of a model's OTHERWISE.
        carry_out: takes a request as the worker does.
        request: what is the same in each.
    """

    name: str
    traits: frozenset[str]
    carry_out: Callable[[dict[str, Any]], dict[str, Any]]
    request: dict[str, Any]

    def run(self, model: str, **limits: object) -> Outcome:
        return Outcome(**self.carry_out({**self.request, "model": model, "limits": asdict(LIMITS) | limits}))


@dataclass(frozen=True, kw_only=True)
class Site:
    """What every way needs: the runtime, and the folder with the pickles and the live data."""

    runtime: RuntimePaths
    folder: Path

    @property
    def request(self) -> dict[str, Any]:
        runtime = {name: str(value) for name, value in asdict(self.runtime).items()}
        return {"folder": str(self.folder), "runtime": runtime, "slot": SLOT}


@contextmanager
def as_this_user(site: Site) -> Iterator[Way]:
    """bubblewrap, started by the user of the tests."""
    traits = frozenset() if worker.has_groups() else frozenset({"sampling"})
    yield Way(name="bubblewrap", traits=traits, carry_out=worker.carry_out, request=site.request)


@contextmanager
def from_warm_parent(site: Site) -> Iterator[Way]:
    """Forked from a warm parent."""
    with as_this_user(site) as way:
        yield warm(way)


@contextmanager
def as_ordinary_user_from_warm_parent(site: Site) -> Iterator[Way]:
    """Forked from a warm parent that a user without rights started."""
    with as_ordinary_user(site) as way:
        yield warm(way)


def warm(way: Way) -> Way:
    """The same way with a warm parent, which a first run starts."""
    way = replace(way, name=f"warm {way.name}", request={**way.request, "warm": True})
    first = way.run("good")
    assert first.code == "success", first.says
    return way


@contextmanager
def as_ordinary_user(site: Site) -> Iterator[Way]:
    """bubblewrap, started by a user without rights, who can make no control group."""
    home = site.folder / "home"
    home.mkdir(exist_ok=True)
    python = Path(sys.executable)
    needed = [ROOT / "src", HERE, python.parents[1], Path(sys.base_prefix), site.folder]
    needed += [site.runtime.prefix, site.runtime.packages]
    command = [sys.executable, str(HERE / "ordinary.py"), str(ORDINARY_USER), *map(str, dict.fromkeys(needed))]
    command += ["--", sys.executable, "-B", str(HERE / "worker.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(home)}
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        first = process.stdout.readline()
        assert first, "the worker of the ordinary user did not start"
        assert json.loads(first) == {"uid": ORDINARY_USER, "has_groups": False}

        def carry_out(request: dict[str, Any]) -> dict[str, Any]:
            print(json.dumps(request), file=process.stdin, flush=True)
            line = process.stdout.readline()
            assert line, "the worker of the ordinary user died"
            return dict(json.loads(line))

        yield Way(
            name="ordinary", traits=frozenset({"sampling", "ordinary"}), carry_out=carry_out, request=site.request
        )
        process.stdin.close()


@contextmanager
def in_podman(site: Site) -> Iterator[Way]:
    """A container, its image made from the runtime's folder."""
    request = {**site.request, "kind": "podman"}
    way = Way(name="podman", traits=frozenset({"container"}), carry_out=worker.carry_out, request=request)
    # Makes the image, and whatever the engine mounts once and for all.
    first = way.run("good")
    assert first.code == "success", first.says
    yield way


WAYS = {"bubblewrap": as_this_user, "warm parent": from_warm_parent}
if os.geteuid() == 0:
    WAYS["bubblewrap as an ordinary user"] = as_ordinary_user
    WAYS["warm parent of an ordinary user"] = as_ordinary_user_from_warm_parent
    if shutil.which("podman") is not None:
        WAYS["podman"] = in_podman
