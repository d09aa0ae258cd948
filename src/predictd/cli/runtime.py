"""`predictd runtime`: the runtimes that models run in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from predictd.cli.deployment_access import use_deployment
from predictd.cli.options import AsJson, DataDir, MakeDefault, OfferAgain
from predictd.cli.output import print_json, print_rows, say
from predictd.cli.upgrade_check import python_version, runtime_name, upgrade_check
from predictd.db.catalog import get_runtime, list_runtimes, set_default, set_deprecated
from predictd.db.models import Runtime
from predictd.domain.errors import InvalidInputError
from predictd.runtimes import PACKAGE_SETS, PYTHONS, BuiltRuntime, custom_spec, default_spec, load, spec_for
from predictd.server.deployment import Deployment
from predictd.server.setup import build_missing_runtimes, build_runtime, remove_runtime

app = typer.Typer(
    help="Runtimes: a Python version plus a locked package set.\n\nExample: predictd runtime build 3.11",
    no_args_is_help=True,
)
app.command("upgrade-check")(upgrade_check)

RuntimeName = Annotated[
    str,
    typer.Argument(
        metavar="RUNTIME",
        help="A Python version (3.12), or the image, name, tag or id of a runtime.",
        show_default=False,
    ),
]


@app.command("list")
def list_(
    include_deprecated: Annotated[
        bool, typer.Option("--all", help="Include deprecated and replaced runtimes.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the runtimes, including those that can be built.

    Example: predictd runtime list --json
    """
    with use_deployment(data_dir) as deployment, deployment.database.read() as session:
        runtimes = [*list_runtimes(session), *(list_runtimes(session, deprecated=True) if include_deprecated else ())]
        built = {runtime.folder.name: runtime for runtime in load(deployment.settings.runtimes_home)}
    rows = [
        {
            "name": runtime.name,
            "image": runtime.image,
            "tag": runtime.tag,
            "id": runtime.id,
            "default": runtime.is_default,
            "replaced": runtime.is_deprecated,
            "built": runtime.folder in built,
            "python": str(built[runtime.folder].executable) if runtime.folder in built else None,
        }
        for runtime in runtimes
    ]
    images = {runtime.image for runtime in runtimes}
    rows += [
        {
            "name": spec.display_name,
            "image": spec.image_name,
            "tag": spec.tag,
            "id": None,
            "default": False,
            "replaced": False,
            "built": False,
            "python": None,
        }
        for specs in PACKAGE_SETS.values()
        for spec in specs.values()
        if spec.image_name not in images
    ]
    print_rows(rows, as_json=as_json, empty="")


@app.command()
def build(
    python: Annotated[
        list[str] | None,
        typer.Argument(help=f"Python versions: {', '.join(PYTHONS)}.", show_default=default_spec().python),
    ] = None,
    python_options: Annotated[
        list[str] | None, typer.Option("--python", help="The same as the argument; repeat for several.")
    ] = None,
    packages: Annotated[str, typer.Option(help=f"Package set: {' or '.join(PACKAGE_SETS)} (8 GB each).")] = "core",
    missing: Annotated[
        bool, typer.Option("--missing", help="Build all runtimes of the deployment that this machine lacks.")
    ] = False,
    default: MakeDefault = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Build runtimes from their locks, unless they are built, and offer them to uploads.

    Example: predictd runtime build 3.11 3.12
    """
    if missing:
        with use_deployment(data_dir) as deployment:
            built = build_missing_runtimes(deployment, say)
        _print_built(built, as_json=as_json)
        return
    requested = [*(python or []), *(python_options or [])]
    versions = [python_version(text) for text in requested] or [default_spec().python]
    specs = [spec_for(version, packages) for version in versions]
    with use_deployment(data_dir) as deployment:
        built = [build_runtime(deployment, spec, say, default=default) for spec in specs]
    _print_built(built, as_json=as_json)


@app.command()
def add(
    python: Annotated[str, typer.Option(help=f"Python version: {', '.join(PYTHONS)}.")],
    requirements: Annotated[Path, typer.Option(help="A requirements file, or a lock with hashes.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the package set.", show_default="the name of the file")
    ] = None,
    default: MakeDefault = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Build a runtime with your own packages and offer it to uploads.

    A requirements file is locked first: the packages that every run needs (numpy, pandas, pyarrow, cloudpickle) are
    added, and only wheels are used. A lock is used unchanged. The lock is stored with the runtime; `runtime show`
    prints its path. If the name exists, the new packages replace the old ones for new uploads.

    Example: predictd runtime add --python 3.12 --requirements torch.txt
    """
    with use_deployment(data_dir) as deployment:
        spec = custom_spec(python_version(python), requirements, name=name, progress=say)
        with deployment.database.read() as session:
            replaced = [runtime.tag for runtime in list_runtimes(session) if runtime.image == spec.image_name]
        built = build_runtime(deployment, spec, say, default=default)
    if replaced and replaced != [built.tag]:
        say(f"It replaces {', '.join(replaced)} for new uploads. Existing pickles continue to use their runtime.")
    _print_built([built], as_json=as_json)


@app.command()
def show(
    name: RuntimeName,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a runtime: its packages and their versions, its size, its folder and its lock.

    Example: predictd runtime show 3.12 --json
    """
    with use_deployment(data_dir) as deployment:
        runtime, built = _find(deployment, name)
    if built is None:
        raise InvalidInputError(
            f"The runtime {runtime.name} ({runtime.tag}) is not built on this machine. "
            "List the runtimes with: predictd runtime list"
        )
    pins = [line.split()[0].partition("==") for line in built.lock.read_text().splitlines() if _is_pin(line)]
    row: dict[str, Any] = {
        "name": runtime.name,
        "image": runtime.image,
        "tag": runtime.tag,
        "id": runtime.id,
        "default": runtime.is_default,
        "replaced": runtime.is_deprecated,
        "folder": str(built.folder),
        "lock": str(built.lock),
        "python": str(built.executable),
        "size_bytes": sum(path.lstat().st_size for path in built.folder.rglob("*") if not path.is_symlink()),
    }
    packages = [{"package": package, "version": version} for package, _, version in pins]
    if as_json:
        print_json({**row, "packages": {package["package"]: package["version"] for package in packages}})
        return
    print_rows([{"": key, "value": value} for key, value in row.items()], as_json=False, empty="")
    print_rows(packages, as_json=False, empty="")


@app.command()
def default(name: RuntimeName, data_dir: DataDir = None) -> None:
    """Make a runtime the default for new uploads.

    Example: predictd runtime default 3.12
    """
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
        runtime = get_runtime(session, runtime_name(name))
        set_default(session, runtime)
    say(f"{runtime.name} ({runtime.tag}) is now the default.")


@app.command()
def deprecate(
    name: RuntimeName,
    off: OfferAgain = False,
    data_dir: DataDir = None,
) -> None:
    """Deprecate a runtime: new uploads can't choose it. Existing pickles continue to use it.

    Example: predictd runtime deprecate 3.10
    """
    with use_deployment(data_dir) as deployment, deployment.database.write() as session:
        runtime = get_runtime(session, runtime_name(name))
        set_deprecated(session, runtime, is_deprecated=not off)
    say(f"{runtime.name} ({runtime.tag}) is {'available to new uploads again' if off else 'deprecated'}.")


@app.command()
def remove(name: RuntimeName, data_dir: DataDir = None) -> None:
    """Remove a runtime that no pickle uses, and its files.

    Example: predictd runtime remove numerai_predict_py_3_12_torch
    """
    with use_deployment(data_dir) as deployment:
        removed = remove_runtime(deployment, runtime_name(name))
    say(f"Removed {removed}.")


def _find(deployment: Deployment, name: str) -> tuple[Runtime, BuiltRuntime | None]:
    with deployment.database.read() as session:
        runtime = get_runtime(session, runtime_name(name))
    built = load(deployment.settings.runtimes_home)
    return runtime, next((candidate for candidate in built if candidate.folder.name == runtime.folder), None)


def _is_pin(line: str) -> bool:
    return "==" in line and not line.startswith((" ", "#", "-"))


def _print_built(built: Sequence[BuiltRuntime], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {
                    "name": runtime.display_name,
                    "image": runtime.image_name,
                    "tag": runtime.tag,
                    "python": str(runtime.executable),
                }
                for runtime in built
            ]
        )
        return
    for runtime in built:
        say(f"Built {runtime.display_name}: {runtime.executable}")
