"""`predictd doctor`: how well this machine isolates runs, and the health of the deployment."""

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
        SandboxKind | None, typer.Option(help="Sandbox to test (env: PREDICTD_SANDBOX; default bubblewrap).")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Test the isolation of runs by starting a sandbox and trying to escape from it, then check the deployment.

    The checks cover clock, disks, versions, database, storage, queue, runtimes, data and the running server; they
    change nothing, and one that fails does not stop the others. The exit code is 1 if untrusted models would not run
    here, or if a check fails.

    Example: predictd doctor --data-dir ~/.predictd
    """
    settings = read_settings(sandbox=sandbox, data_dir=data_dir)
    if settings.sandbox is SandboxKind.NONE:
        raise typer.BadParameter("'none' does not isolate; choose bubblewrap, podman or docker", param_hint="--sandbox")
    isolation = probe(settings.sandbox)
    checks = run_checks(
        {
            "clock": check_clock_rate,
            "disk": lambda: check_disks(settings),
            "versions": check_versions,
            **_deployment(settings),
        }
    )
    is_sound = isolation.is_available and not any(check.state is State.FAIL for check in checks)
    if as_json:
        print_json({"ok": is_sound, **asdict(isolation), "checks": [asdict(check) for check in checks]})
    else:
        _show(isolation, settings.limits)
        _show_checks(checks)
    if not is_sound:
        raise typer.Exit(1)


def _deployment(settings: Settings) -> dict[str, RunCheck]:
    """Return the checks of the deployment; none without the extra server."""
    try:
        from predictd.doctor.deployment_checks import deployment_checks  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("predictd"):
            raise
        return {}
    return deployment_checks(settings)


def _show_checks(checks: list[Check]) -> None:
    out = output_console()
    out.print()
    for check in checks:
        out.print(Text.assemble(_STATES[check.state], f"  {check.name}: {check.message}"), soft_wrap=True)
        if check.remedy and check.state is not State.OK:
            out.print(f"      {check.remedy}", soft_wrap=True)


def _show(isolation: Isolation, limits: Limits) -> None:
    out = output_console()

    def show(mark: tuple[str, str], text: str) -> None:
        out.print(Text.assemble(mark, f"  {text}"), soft_wrap=True)

    kind = isolation.kind.value
    for passed, text in (
        (isolation.version is not None, f"{kind} {isolation.version or 'is not installed or does not respond'}"),
        (isolation.starts, "a sandbox starts: namespaces, read-only system, no capabilities, system call filter"),
        (
            bool(isolation.blocked) and not isolation.open,
            f"{len(isolation.blocked)} of {len(isolation.blocked) + len(isolation.open)} escape attempts fail",
        ),
        (isolation.memory_is_limited, f"memory: {limits.memory_bytes // MIB} MiB, by {isolation.memory}"),
    ):
        show(_MARKS[passed], text)
        if not passed:
            break
    if isolation.starts:
        cgroup = isolation.memory != "sampling"
        share = "a control group" if cgroup else "CPU affinity"
        show(_MARKS[True], f"processors: {limits.cpus:g}, by {share}")
        show(_MARKS[True], f"processes: {limits.processes}, by {'a control group and ' if cgroup else ''}rlimit")
        show(_MARKS[True], f"files: {limits.scratch_bytes // MIB} MiB of scratch; time: {limits.seconds:g} s")
        users = "a separate user for each" if isolation.separate_users else "all as the server's user"
        show(_MARKS[True], f"concurrent runs: {users}")
    for note in isolation.notes:
        show(("note", "yellow"), note)
    for problem in isolation.problems:
        show(("problem", "bold red"), problem)
    if isolation.is_available:
        out.print("Untrusted models can run on this machine.", soft_wrap=True)
    else:
        out.print(
            "Untrusted models don't run on this machine. Use --trust-users only if you trust every account.",
            soft_wrap=True,
        )
