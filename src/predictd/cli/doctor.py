"""`predictd doctor`: what this machine enforces on a run, and how to get the rest."""

from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console

from predictd.cli.options import AsJson, read_settings
from predictd.cli.output import print_json
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import SandboxKind
from predictd.sandbox import Isolation, probe

_MARKS = {True: "[green]ok[/]", False: "[bold red]no[/]"}


def doctor(
    sandbox: Annotated[
        SandboxKind | None, typer.Option(help="What to try (env: PREDICTD_SANDBOX; default bubblewrap).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what this machine enforces on a run, found by making a sandbox and trying to get out of it.

    Ends with 1 where strangers' models would not be run.

    Example: predictd doctor --sandbox podman
    """
    settings = read_settings(sandbox=sandbox)
    if settings.sandbox is SandboxKind.NONE:
        raise typer.BadParameter("'none' isolates nothing; name bubblewrap, podman or docker", param_hint="--sandbox")
    isolation = probe(settings.sandbox)
    if as_json:
        print_json({"ok": isolation.is_available, **asdict(isolation)})
    else:
        _show(isolation, settings.limits)
    if not isolation.is_available:
        raise typer.Exit(1)


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
