"""Run a model in isolation, from the request to the report."""

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
from predictd.sandbox.container import launch_container
from predictd.sandbox.container_engine import find_engine
from predictd.sandbox.fork_pool import ForkPool
from predictd.sandbox.fork_server import CannotForkError, ForkedRun
from predictd.sandbox.handle import RunHandle
from predictd.sandbox.host_info import this_machine
from predictd.sandbox.launch import launch_process
from predictd.sandbox.resource_group import ResourceGroup, create_resource_group
from predictd.sandbox.supervisor import RunSupervisor
from predictd.sandbox.verdict import judge

log = logging.getLogger(__name__)


def run(
    request: RunRequest,
    *,
    on_log: Callable[[bytes], None],
    on_started: Callable[[], None] | None = None,
    cancel: threading.Event | None = None,
    kind: SandboxKind = SandboxKind.BUBBLEWRAP,
    fork_pool: ForkPool | None = None,
) -> RunReport:
    """Run the model and return the report; block at most for the start and `limits.seconds`, leave no process behind.

    Args:
        request: the pickle, its data and its limits.
        on_log: called from this thread with the output of the model in chunks of at most 64 KiB.
        on_started: called when the sandbox has started, before anything of the user's is loaded.
        cancel: when set, ends the run immediately.
        kind: the kind of sandbox; NONE runs the model as a plain process with all rights of this user.
        fork_pool: forks runs in bubblewrap; a run that can't be forked starts cold, with the same result.

    Raises:
        PlatformError: The platform failed: no bubblewrap or engine, a broken runtime, unreadable data.
        RunCancelledError: `cancel` was set.
    """
    _check_inputs(request)
    rows = _count_rows(request.live)
    with _start(request, kind, fork_pool) as (handle, group):
        supervisor = RunSupervisor(
            handle, group, request.limits, rows=rows, on_log=on_log, on_started=on_started, cancel=cancel
        )
        evidence = supervisor.supervise()
    report = judge(evidence, request.limits, request.runtime.version)
    log.info("the model ended after %.2f s with at most %d MiB", report.limited_seconds, report.peak_memory_bytes >> 20)
    return replace(report, forked=isinstance(handle, ForkedRun), machine=this_machine(request.limits))


@contextmanager
def _start(
    request: RunRequest, kind: SandboxKind, fork_pool: ForkPool | None
) -> Iterator[tuple[RunHandle, ResourceGroup]]:
    with ExitStack() as stack:
        if fork_pool is not None and kind is SandboxKind.BUBBLEWRAP:
            try:
                forked = stack.enter_context(fork_pool.forked(request))
            except CannotForkError as error:
                if fork_pool.fork_only:
                    raise PlatformError(f"The run could not be forked from its fork server: {error}.") from error
            else:
                log.info("the model runs, forked from a fork server")
                yield forked
                return
        group = create_resource_group(request.limits, request.slot)
        stack.callback(group.close)
        log.info("the model starts cold, isolated by %s", kind.value)
        yield stack.enter_context(launch(request, group, kind)), group


def launch(
    request: RunRequest, group: ResourceGroup, kind: SandboxKind, program: Sequence[str] = ()
) -> contextlib.AbstractContextManager[RunHandle]:
    """Start the run in a sandbox of that kind, limited by the group; `program` replaces the runner."""
    if kind is SandboxKind.PODMAN or kind is SandboxKind.DOCKER:
        return launch_container(find_engine(kind.value), request, group, program)
    return launch_process(request, group, isolate=kind is SandboxKind.BUBBLEWRAP, program=program)


def _count_rows(live: Path) -> int:
    try:
        return count_rows(live)
    except (InvalidInputError, DamagedFileError, OSError) as error:
        log.error("live data: %s", error)
        raise PlatformError("The live data of this run can't be read.") from error


def _check_inputs(request: RunRequest) -> None:
    """Raise PlatformError if a file of the platform is missing, so that the model is not blamed for it."""
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
            raise PlatformError(f"The {name} of this run is not a parquet file.")
    for path, name in ((request.runtime.python, "interpreter"), (request.runtime.packages, "packages")):
        if not path.exists():
            raise PlatformError(f"The {name} of the runtime of Python {request.runtime.version} is missing.")
