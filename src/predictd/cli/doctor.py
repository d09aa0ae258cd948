"""`predictd doctor`: what this machine enforces on a run, and how to get the rest."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.text import Text

from predictd.cli.options import AsJson, DataDir, read_settings
from predictd.cli.output import output_console, print_json
from predictd.doctor.machine_checks import check_clock_rate, check_disks, check_versions
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import SandboxKind
from predictd.monitoring.checks import Check, RunCheck, State, run_checks
from predictd.sandbox import Isolation, probe
from predictd.settings import Settings

_MARKS = {True: ("ok", "green"), False: ("no", "bold red")}
_STATES = {State.OK: ("ok  ", "green"), State.WARN: ("warn", "yellow"), State.FAIL: ("fail", "bold red")}


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
    found = run_checks(
        {
            "clock": check_clock_rate,
            "disk": lambda: check_disks(settings),
            "versions": check_versions,
            **_deployment(settings),
        }
    )
    is_sound = isolation.is_available and not any(one.state is State.FAIL for one in found)
    if as_json:
        print_json({"ok": is_sound, **asdict(isolation), "checks": [asdict(one) for one in found]})
    else:
        _show(isolation, settings.limits)
        _show_checks(found)
    if not is_sound:
        raise typer.Exit(1)


def _deployment(settings: Settings) -> dict[str, RunCheck]:
    """The checks of the deployment, where the server's part is installed."""
    try:
        from predictd.doctor.deployment_checks import deployment_checks  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("predictd"):
            raise
        return {}
    return deployment_checks(settings)


def _show_checks(found: list[Check]) -> None:
    out = output_console()
    out.print()
    for one in found:
        out.print(Text.assemble(_STATES[one.state], f"  {one.name}: {one.message}"), soft_wrap=True)
        if one.remedy and one.state is not State.OK:
            out.print(f"      {one.remedy}", soft_wrap=True)


def _show(isolation: Isolation, limits: Limits) -> None:
    out = output_console()

    def show(mark: tuple[str, str], what: str) -> None:
        out.print(Text.assemble(mark, f"  {what}"), soft_wrap=True)

    kind = isolation.kind.value
    for good, what in (
        (isolation.version is not None, f"{kind} {isolation.version or 'is not installed or does not answer'}"),
        (isolation.starts, "a sandbox starts: namespaces, read-only system, no capabilities, system call filter"),
        (
            bool(isolation.blocked) and not isolation.open,
            f"{len(isolation.blocked)} of {len(isolation.blocked + isolation.open)} attempts to get out of it fail",
        ),
        (isolation.memory_is_limited, f"memory: {limits.memory_bytes // MIB} MiB, by {isolation.memory}"),
    ):
        show(_MARKS[good], what)
        if not good:
            break
    if isolation.starts:
        cgroup = isolation.memory != "sampling"
        share = "a control group" if cgroup else "staying on as many processors"
        show(_MARKS[True], f"processors: {limits.cpus:g}, by {share}")
        show(_MARKS[True], f"processes: {limits.processes}, by {'a control group and ' if cgroup else ''}rlimit")
        show(_MARKS[True], f"files: {limits.scratch_bytes // MIB} MiB of scratch; time: {limits.seconds:g} s")
        users = "a user of its own for each" if isolation.separate_users else "all as the server's user"
        show(_MARKS[True], f"runs beside each other: {users}")
    for note in isolation.notes:
        show(("note", "yellow"), note)
    for problem in isolation.problems:
        show(("problem", "bold red"), problem)
    if isolation.is_available:
        out.print("Strangers' models can be run here.", soft_wrap=True)
    else:
        out.print(
            "Strangers' models are not run here, unless --trust-users says that you trust whoever uploads.",
            soft_wrap=True,
        )
