"""One run of a model in isolation, from the request to the report."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from predictd.data.mapping import count_rows, is_mapped
from predictd.domain.errors import InvalidInputError, PlatformError
from predictd.domain.runs import RunReport, RunRequest, SandboxKind
from predictd.runner.mapped import DamagedFileError
from predictd.sandbox.container import contained
from predictd.sandbox.container_engine import find_engine
from predictd.sandbox.fork_pool import WarmParents
from predictd.sandbox.fork_server import CannotFork, WarmRun
from predictd.sandbox.handle import Launched
from predictd.sandbox.host_info import this_machine
from predictd.sandbox.launch import launched
from predictd.sandbox.resource_group import ResourceGroup
from predictd.sandbox.resources import resource_group
from predictd.sandbox.supervisor import Follower
from predictd.sandbox.verdict import judge

log = logging.getLogger(__name__)


def run(
    request: RunRequest,
    *,
    on_log: Callable[[bytes], None],
    on_started: Callable[[], None] | None = None,
    cancel: threading.Event | None = None,
    kind: SandboxKind = SandboxKind.BUBBLEWRAP,
    parents: WarmParents | None = None,
) -> RunReport:
    """Run the model to its end; blocks, at most for the start and `limits.seconds`, and leaves no process behind.

    Args:
        request: what runs, on which data, within which limits.
        on_log: gets what the model prints, as it comes, in pieces of at most 64 KiB; called from this thread.
        on_started: called once the sandbox is up, before anything of the user's is loaded.
        cancel: ends the run within a moment when set.
        kind: what isolates it; NONE runs the model as a plain process of this user, which it can do anything as.
        parents: what a run in bubblewrap is forked from, if it can be; otherwise it starts cold, with the same result.

    Raises:
        PlatformError: the platform is at fault: no bubblewrap or engine, a broken runtime, unreadable data.
        RunCancelled: `cancel` was set.
    """
    _check_inputs(request)
    rows = _count_rows(request.live)
    with _started(request, kind, parents) as (started, group):
        follower = Follower(
            started, group, request.limits, rows=rows, on_log=on_log, on_started=on_started, cancel=cancel
        )
        seen = follower.follow()
    report = judge(seen, request.limits, request.runtime.version)
    log.info("the model ended after %.2f s with at most %d MiB", report.limited_seconds, report.peak_memory_bytes >> 20)
    return replace(report, forked=isinstance(started, WarmRun), machine=this_machine(request.limits))


@contextmanager
def _started(
    request: RunRequest, kind: SandboxKind, parents: WarmParents | None
) -> Iterator[tuple[Launched, ResourceGroup]]:
    with ExitStack() as stack:
        if parents is not None and kind is SandboxKind.BUBBLEWRAP:
            try:
                forked = stack.enter_context(parents.forked(request))
            except CannotFork as error:
                if parents.only:
                    raise PlatformError(f"A run could not be forked from its warm parent: {error}.") from error
            else:
                log.info("the model runs, forked from a warm parent")
                yield forked
                return
        group = resource_group(request.limits, request.slot)
        stack.callback(group.close)
        log.info("the model starts cold, isolated by %s", kind.value)
        yield stack.enter_context(launch(request, group, kind)), group


def launch(
    request: RunRequest, group: ResourceGroup, kind: SandboxKind, program: Sequence[str] = ()
) -> contextlib.AbstractContextManager[Launched]:
    """Start the run in a sandbox of that kind, watched by the group; `program` takes the place of the runner."""
    if kind is SandboxKind.PODMAN or kind is SandboxKind.DOCKER:
        return contained(find_engine(kind.value), request, group, program)
    return launched(request, group, isolate=kind is SandboxKind.BUBBLEWRAP, program=program)


def _count_rows(live: Path) -> int:
    try:
        return count_rows(live)
    except (InvalidInputError, DamagedFileError, OSError) as error:
        log.error("live data: %s", error)
        raise PlatformError("The live data of this run can't be read.") from error


def _check_inputs(request: RunRequest) -> None:
    """Whether the platform's own files are there, so that their absence is never the model's fault."""
    for name, path, is_data in (
        ("pickle", request.pickle, False),
        ("live data", request.live, True),
        ("benchmark models' data", request.benchmarks, True),
        ("compiled trees", request.tables, False),
    ):
        if path is None:
            continue
        try:
            with path.open("rb") as file:
                head = file.read(4)
                file.seek(-min(4, os.fstat(file.fileno()).st_size), os.SEEK_END)
                tail = file.read(4)
        except OSError as error:
            log.error("%s: %s", name, error)
            raise PlatformError(f"The {name} of this run can't be read: {error.strerror}.") from error
        if is_data and not head == tail == b"PAR1" and not is_mapped(path):
            raise PlatformError(f"The {name} of this run is no parquet file.")
    for path, what in ((request.runtime.python, "interpreter"), (request.runtime.packages, "packages")):
        if not path.exists():
            raise PlatformError(f"The {what} of the runtime of Python {request.runtime.version} is missing.")
