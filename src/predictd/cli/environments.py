"""`predictd env`: environments on this machine with the packages of a runtime."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from predictd.cli.options import AsJson, Runtime, read_settings, runtime_option
from predictd.cli.output import print_json, print_rows, say
from predictd.domain.errors import InvalidInputError
from predictd.local_run.runtime_lookup import choose_spec
from predictd.runtimes import PACKAGE_SETS, PYTHONS, RuntimeSpec
from predictd.runtimes.virtualenv import (
    Difference,
    Environment,
    create_environment,
    differences,
    inspect_environment,
)

app = typer.Typer(
    help="Virtual environments with the Python and the packages of a runtime, to train in.\n\n"
    "Example: predictd env create --runtime 3.12 --kernel numerai",
    no_args_is_help=True,
)

MAX_FIXED_PACKAGES = 8

Packages = Annotated[str | None, typer.Option(help=f"Package set: {' or '.join(PACKAGE_SETS)}.", show_default="core")]


@app.command()
def create(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder of the environment.", show_default="venv-py3.12")
    ] = None,
    runtime: Runtime = None,
    packages: Packages = None,
    kernel: Annotated[str | None, typer.Option(help="Also register a Jupyter kernel with this name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a virtual environment with exactly the Python and the packages of a runtime.

    Pickles created in it are compatible with the runtime. If the environment exists, the command only adds the kernel.

    Example: predictd env create --runtime 3.12 --kernel numerai
    """
    spec = choose_spec(runtime, packages, read_settings().runtimes_home)
    if folder is None:
        folder = Path(f"venv-py{spec.python}" + ("" if spec.packages == "core" else f"-{spec.packages}"))
    environment = create_environment(spec, folder, say, kernel=kernel)
    if as_json:
        print_json({**_runtime_row(spec), "folder": folder.absolute(), "python": environment.python, "kernel": kernel})
        return
    say(f"{folder} matches {spec.display_name} ({spec.image_name}:{spec.tag}).")
    say(f"  Activate it:          source {shlex.quote(str(folder / 'bin' / 'activate'))}")
    say(f"  Check it:             predictd env check --python {shlex.quote(str(folder))}")
    if kernel is not None:
        say(f"  In Jupyter, choose:   {spec.display_name} as on the server ({kernel})")


@app.command()
def check(
    runtime: Annotated[str | None, runtime_option("the one with the environment's Python")] = None,
    packages: Packages = None,
    python: Annotated[
        Path | None,
        typer.Option(help="Folder or interpreter of the environment.", show_default="the active one"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare an environment with a runtime: the Python version, and packages that are missing or differ.

    Additional packages of the environment are ignored; a pickle that needs one fails in the runtime. The exit code is 1
    if anything differs.

    Example: predictd env check --runtime 3.12
    """
    environment = inspect_environment(_interpreter(python))
    version = environment.release.rpartition(".")[0]
    spec = choose_spec(runtime or (version if version in PYTHONS else None), packages, read_settings().runtimes_home)
    diff = differences(environment, spec)
    fix = _fix(environment, spec, diff)
    if as_json:
        rows = [{"package": item.package, "runtime": item.expected, "here": item.installed} for item in diff]
        print_json(
            {"ok": not diff, **_runtime_row(spec), "python": environment.python, "differences": rows, "fix": fix}
        )
    elif not diff:
        say(f"{environment.python} matches {spec.display_name} ({spec.image_name}:{spec.tag}).")
    else:
        rows = [
            {"package": item.package, "runtime": item.expected, "here": item.installed or "missing"} for item in diff
        ]
        print_rows(rows, as_json=False, empty="")
        count = "1 difference" if len(diff) == 1 else f"{len(diff)} differences"
        say(f"{count} between {environment.python} (Python {environment.release}) and {spec.display_name}.")
        say(f"{'Fix it' if fix and '==' in fix else 'Create a matching environment'}: {fix}")
    if diff:
        raise typer.Exit(1)


def _interpreter(path: Path | None) -> Path:
    """Return the interpreter of a folder or file; without one that of the active environment."""
    if path is not None:
        interpreter = path / "bin" / "python" if path.is_dir() else path
        if not interpreter.is_file():
            raise InvalidInputError(f"{interpreter} does not exist. Give --python the folder of an environment.")
        return interpreter.absolute()
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        active = Path(os.environ.get(variable, "")) / "bin" / "python"
        if os.environ.get(variable) and active.is_file():
            return active
    return Path(sys.executable)


def _fix(environment: Environment, spec: RuntimeSpec, diff: list[Difference]) -> str | None:
    """Return the command that installs the packages of the runtime, or that creates a new environment."""
    if not diff:
        return None
    if diff[0].package == "python" or len(diff) > MAX_FIXED_PACKAGES:
        options = ["--runtime", spec.python]
        if spec.packages in PACKAGE_SETS:
            options += [] if spec.packages == "core" else ["--packages", spec.packages]
        else:
            options = ["--runtime", spec.image_name]
        return shlex.join(["predictd", "env", "create", *options])
    pins = [f"{item.package}=={item.expected}" for item in diff]
    python = str(environment.python)
    has_pip = "pip" in environment.packages
    command = [python, "-m", "pip", "install"] if has_pip else ["uv", "pip", "install", "--python", python]
    return shlex.join([*command, *pins])


def _runtime_row(spec: RuntimeSpec) -> dict[str, Any]:
    return {"runtime": {"name": spec.display_name, "image": spec.image_name, "tag": spec.tag}}
