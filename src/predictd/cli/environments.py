"""`predictd env`: environments on this machine that have what a runtime has."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from predictd.cli.options import RUNTIME_HELP, AsJson, Runtime, read_settings
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
    help="Environments: the Python and the packages of a runtime, to train and pickle in.\n\n"
    "Example: predictd env create --runtime 3.12 --kernel numerai",
    no_args_is_help=True,
)

_MOST_MENDED = 8

Packages = Annotated[str | None, typer.Option(help=f"Package set: {' or '.join(PACKAGE_SETS)}.", show_default="core")]


@app.command()
def create(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Where it is made.", show_default="venv-py3.12")
    ] = None,
    runtime: Runtime = None,
    packages: Packages = None,
    kernel: Annotated[str | None, typer.Option(help="Register a Jupyter kernel of this name too.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a virtual environment with exactly the Python and the packages of a runtime.

    A pickle that is made in it fits the runtime. It takes some seconds once the packages are downloaded. Called again,
    it finds the environment there, and adds the kernel if that is asked for.

    Example: predictd env create --runtime 3.12 --kernel numerai
    """
    spec = choose_spec(runtime, packages, read_settings().runtimes_home)
    if folder is None:
        folder = Path(f"venv-py{spec.python}" + ("" if spec.packages == "core" else f"-{spec.packages}"))
    made = create_environment(spec, folder, say, kernel=kernel)
    if as_json:
        print_json({**_named(spec), "folder": folder.absolute(), "python": made.python, "kernel": kernel})
        return
    say(f"{folder} has what {spec.display_name} has ({spec.image_name}:{spec.tag}).")
    say(f"  Activate it:          source {shlex.quote(str(folder / 'bin' / 'activate'))}")
    say(f"  See that it is so:    predictd env check --python {shlex.quote(str(folder))}")
    if kernel is not None:
        say(f"  In Jupyter, choose:   {spec.display_name} as on the server ({kernel})")


@app.command()
def check(
    runtime: Annotated[
        str | None,
        typer.Option(
            envvar="PREDICTD_RUNTIME",
            help=RUNTIME_HELP,
            show_default="that of the environment's own Python",
        ),
    ] = None,
    packages: Packages = None,
    python: Annotated[
        Path | None,
        typer.Option(help="The environment: its folder or its interpreter.", show_default="the active one"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what an environment has otherwise than a runtime: the Python, and each package that is missing or another.

    Packages that the environment has beside them are not looked at; a pickle that needs one fails there. The exit code
    is 1 when something differs.

    Example: predictd env check --runtime 3.12
    """
    found = inspect_environment(_interpreter(python))
    own = found.release.rpartition(".")[0]
    spec = choose_spec(runtime or (own if own in PYTHONS else None), packages, read_settings().runtimes_home)
    wrong = differences(found, spec)
    mend = _mend(found, spec, wrong)
    if as_json:
        rows = [{"package": one.package, "runtime": one.expected, "here": one.installed} for one in wrong]
        print_json({"ok": not wrong, **_named(spec), "python": found.python, "differences": rows, "fix": mend})
    elif not wrong:
        say(f"{found.python} has what {spec.display_name} has ({spec.image_name}:{spec.tag}).")
    else:
        rows = [{"package": one.package, "runtime": one.expected, "here": one.installed or "missing"} for one in wrong]
        print_rows(rows, as_json=False, empty="")
        many = "1 thing differs" if len(wrong) == 1 else f"{len(wrong)} things differ"
        say(f"{many} between {found.python} (Python {found.release}) and {spec.display_name}.")
        say(f"{'Mend it' if mend and '==' in mend else 'Make one that has it'}: {mend}")
    if wrong:
        raise typer.Exit(1)


def _interpreter(given: Path | None) -> Path:
    if given is not None:
        found = given / "bin" / "python" if given.is_dir() else given
        if not found.is_file():
            raise InvalidInputError(f"There is no interpreter {found}; give --python an environment's folder.")
        return found.absolute()
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        active = Path(os.environ.get(variable, "")) / "bin" / "python"
        if os.environ.get(variable) and active.is_file():
            return active
    return Path(sys.executable)


def _mend(found: Environment, spec: RuntimeSpec, wrong: list[Difference]) -> str | None:
    """The command that makes the environment, or another one, what the runtime is."""
    if not wrong:
        return None
    if wrong[0].package == "python" or len(wrong) > _MOST_MENDED:
        options = ["--runtime", spec.python]
        if spec.packages in PACKAGE_SETS:
            options += [] if spec.packages == "core" else ["--packages", spec.packages]
        else:
            options = ["--runtime", spec.image_name]
        return shlex.join(["predictd", "env", "create", *options])
    pinned = [f"{one.package}=={one.expected}" for one in wrong]
    python = str(found.python)
    way = [python, "-m", "pip", "install"] if "pip" in found.packages else ["uv", "pip", "install", "--python", python]
    return shlex.join([*way, *pinned])


def _named(spec: RuntimeSpec) -> dict[str, Any]:
    return {"runtime": {"name": spec.display_name, "image": spec.image_name, "tag": spec.tag}}
