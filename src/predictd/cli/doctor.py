"""`predictd doctor`: what this machine enforces on a run, and how to get the rest."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from predictd.cli.options import AsJson, DataDir, read_settings
from predictd.cli.output import print_json
from predictd.doctor import Check, State, run_checks
from predictd.doctor.checks import Look
from predictd.doctor.machine import clock, disks, versions
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import SandboxKind
from predictd.sandbox import Isolation, probe
from predictd.settings import Settings

_MARKS = {True: "[green]ok[/]", False: "[bold red]no[/]"}
_STATES = {State.OK: "[green]ok[/]  ", State.WARN: "[yellow]warn[/]", State.FAIL: "[bold red]fail[/]"}


def doctor(
    sandbox: Annotated[
        SandboxKind | None, typer.Option(help="What to try (env: PREDICTD_SANDBOX; default bubblewrap).")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Say what this machine enforces on a run, found by making a sandbox and trying to get out of it; and what else is
    not as it should be: clock, disks, versions, database, storage, queue, runtimes, data, and the running server.

    Nothing is changed, and what is down keeps nothing else from being looked at. Ends with 1 where strangers' models
    would not be run, or where something does not work.

    Example: predictd doctor --data-dir ~/.predictd
    """
    settings = read_settings(sandbox=sandbox, data_dir=data_dir)
    if settings.sandbox is SandboxKind.NONE:
        raise typer.BadParameter("'none' isolates nothing; name bubblewrap, podman or docker", param_hint="--sandbox")
    isolation = probe(settings.sandbox)
    found = run_checks({"clock": clock, "disk": lambda: disks(settings), "versions": versions, **_deployment(settings)})
    is_sound = isolation.is_available and not any(one.state is State.FAIL for one in found)
    if as_json:
        print_json({"ok": is_sound, **asdict(isolation), "checks": [asdict(one) for one in found]})
    else:
        _show(isolation, settings.limits)
        _show_checks(found)
    if not is_sound:
        raise typer.Exit(1)


def _deployment(settings: Settings) -> dict[str, Look]:
    """The checks of the deployment, where the server's part is installed."""
    try:
        from predictd.doctor.deployment import looks  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("predictd"):
            raise
        return {}
    return looks(settings)


def _show_checks(found: list[Check]) -> None:
    out = Console(highlight=False, soft_wrap=True)
    out.print()
    for one in found:
        out.print(f"{_STATES[one.state]}  {escape(f'{one.name}: {one.told}')}")
        if one.remedy and one.state is not State.OK:
            out.print(f"      {escape(one.remedy)}")


def _show(isolation: Isolation, limits: Limits) -> None:
    out = Console(highlight=False, soft_wrap=True)
    kind = isolation.kind.value
    for good, what in (
        (isolation.version is not None, f"{kind} {isolation.version or 'is not installed or does not answer'}"),
        (isolation.starts, "a sandbox starts: namespaces, read-only system, no capabilities, system call filter"),
        (
            bool(isolation.shut) and not isolation.open,
            f"{len(isolation.shut)} of {len(isolation.shut) + len(isolation.open)} attempts to get out of it fail",
        ),
        (isolation.memory_is_limited, f"memory: {limits.memory_bytes // MIB} MiB, by {isolation.memory}"),
    ):
        out.print(f"{_MARKS[good]}  {what}")
        if not good:
            break
    if isolation.starts:
        cgroup = isolation.memory != "sampling"
        share = "a control group" if cgroup else "staying on as many processors"
        out.print(f"{_MARKS[True]}  processors: {limits.cpus:g}, by {share}")
        out.print(f"{_MARKS[True]}  processes: {limits.processes}, by {'a control group and ' if cgroup else ''}rlimit")
        out.print(f"{_MARKS[True]}  files: {limits.scratch_bytes // MIB} MiB of scratch; time: {limits.seconds:g} s")
        users = "a user of its own for each" if isolation.separate_users else "all as the server's user"
        out.print(f"{_MARKS[True]}  runs beside each other: {users}")
    for note in isolation.notes:
        out.print(f"[yellow]note[/]  {note}")
    for problem in isolation.problems:
        out.print(f"[bold red]problem[/]  {problem}")
    if isolation.is_available:
        out.print("Strangers' models can be run here.")
    else:
        out.print("Strangers' models are not run here, unless --trust-users says that you trust whoever uploads.")
