"""`predictd runtime`: the Pythons that models run in."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import print_json, print_rows, say
from predictd.cli.rehearsal import python_version, runtime_name, upgrade_rehearsal
from predictd.db.catalogue import known_runtime, list_runtimes, make_default, set_deprecated
from predictd.db.models import Runtime
from predictd.domain.errors import InvalidInputError
from predictd.runtimes import PACKAGE_SETS, PYTHONS, BuiltRuntime, custom_spec, default_spec, load, spec_for
from predictd.server.deployment import Deployment
from predictd.server.setup import build_missing_runtimes, build_runtime, remove_runtime

app = typer.Typer(
    help="Runtimes: a Python version plus a locked package set.\n\nExample: predictd runtime build 3.11",
    no_args_is_help=True,
)
app.command("upgrade-rehearsal")(upgrade_rehearsal)

KnownName = Annotated[str, typer.Argument(help="A runtime: 3.12, an image, a name, a tag or an id.")]
Default = Annotated[bool, typer.Option("--default", help="Make it the default of new uploads.")]


@app.command("list")
def list_(
    everything: Annotated[
        bool, typer.Option("--all", help="Those too that no new upload gets, because others took their place.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the runtimes, those that could be built too.

    Example: predictd runtime list --json
    """
    with opened(data_dir) as deployment, deployment.database.read() as session:
        known = [*list_runtimes(session), *(list_runtimes(session, deprecated=True) if everything else ())]
        built = {one.folder.name: one for one in load(deployment.settings.runtimes_home)}
    rows = [
        {
            "name": one.name,
            "image": one.image,
            "tag": one.tag,
            "id": one.id,
            "default": one.is_default,
            "replaced": one.is_deprecated,
            "built": one.folder in built,
            "python": str(built[one.folder].executable) if one.folder in built else None,
        }
        for one in known
    ]
    images = {one.image for one in known}
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
    python: Annotated[list[str] | None, typer.Argument(help=f"Python versions: {', '.join(PYTHONS)}.")] = None,
    also: Annotated[list[str] | None, typer.Option("--python", help="The same as an option.")] = None,
    packages: Annotated[str, typer.Option(help=f"Package set: {' or '.join(PACKAGE_SETS)} (8 GB each).")] = "core",
    missing: Annotated[
        bool, typer.Option("--missing", help="All that the deployment has and this machine lacks, custom ones too.")
    ] = False,
    default: Default = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Build runtimes (the usual one, if none is named) from their locks, unless they are built, for uploads to choose.

    Example: predictd runtime build 3.11 3.12
    """
    if missing:
        with opened(data_dir) as deployment:
            restored = build_missing_runtimes(deployment, say)
        _print_built(restored, as_json=as_json)
        return
    versions = [python_version(one) for one in [*(python or []), *(also or [])]] or [default_spec().python]
    specs = [spec_for(version, packages) for version in versions]
    with opened(data_dir) as deployment:
        built = [build_runtime(deployment, spec, say, default=default) for spec in specs]
    _print_built(built, as_json=as_json)


@app.command()
def add(
    python: Annotated[str, typer.Option(help=f"Python version: {', '.join(PYTHONS)}.")],
    requirements: Annotated[Path, typer.Option(help="A requirements file, or a lock with hashes.")],
    name: Annotated[str | None, typer.Option(help="Name of the package set; by default that of the file.")] = None,
    default: Default = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Build a runtime of your own packages, for uploads to choose.

    A plain requirements file is locked first: what a run needs (numpy, pandas, pyarrow, cloudpickle) is added, and only
    wheels are taken. A lock is taken as it is. The lock is kept with the runtime; `runtime show` says where. Under a
    name that is taken, the new packages take the place of the old ones for new uploads.

    Example: predictd runtime add --python 3.12 --requirements torch.txt
    """
    with opened(data_dir) as deployment:
        spec = custom_spec(python_version(python), requirements, name=name, progress=say)
        with deployment.database.read() as session:
            earlier = [one.tag for one in list_runtimes(session) if one.image == spec.image_name]
        built = build_runtime(deployment, spec, say, default=default)
    if earlier and earlier != [built.tag]:
        say(f"It takes the place of {', '.join(earlier)} for new uploads; pickles that were uploaded for that keep it.")
    _print_built([built], as_json=as_json)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A runtime: 3.12, an image, a name, a tag or an id.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Show one runtime: its packages and their versions, its size, where it and its lock lie.

    Example: predictd runtime show 3.12 --json
    """
    with opened(data_dir) as deployment:
        runtime, built = _find(deployment, name)
    if built is None:
        raise InvalidInputError(
            f"The runtime {runtime.name} ({runtime.tag}) is not built on this machine; see: predictd runtime list"
        )
    pins = [line.split()[0].partition("==") for line in built.lock.read_text().splitlines() if _is_pin(line)]
    facts: dict[str, Any] = {
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
        print_json({**facts, "packages": {one["package"]: one["version"] for one in packages}})
        return
    print_rows([{"": key, "is": value} for key, value in facts.items()], as_json=False, empty="")
    print_rows(packages, as_json=False, empty="")


@app.command()
def default(name: KnownName, data_dir: DataDir = None) -> None:
    """Make a runtime the default of new uploads.

    Example: predictd runtime default 3.12
    """
    with opened(data_dir) as deployment, deployment.database.write() as session:
        runtime = known_runtime(session, runtime_name(name))
        make_default(session, runtime)
    say(f"{runtime.name} ({runtime.tag}) is the default.")


@app.command()
def deprecate(
    name: KnownName,
    off: Annotated[bool, typer.Option("--off", help="Offer it again.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Offer a runtime to new uploads no more; pickles that were uploaded for it keep it.

    Example: predictd runtime deprecate 3.10
    """
    with opened(data_dir) as deployment, deployment.database.write() as session:
        runtime = known_runtime(session, runtime_name(name))
        set_deprecated(session, runtime, is_deprecated=not off)
    say(f"{runtime.name} ({runtime.tag}) is {'offered again' if off else 'deprecated'}.")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="A runtime: an image, a name, a tag or an id.")],
    data_dir: DataDir = None,
) -> None:
    """Remove a runtime that no pickle was uploaded for, and what it alone has on the disk.

    Example: predictd runtime remove numerai_predict_py_3_12_torch
    """
    with opened(data_dir) as deployment:
        removed = remove_runtime(deployment, runtime_name(name))
    say(f"{removed} is removed.")


def _find(deployment: Deployment, name: str) -> tuple[Runtime, BuiltRuntime | None]:
    with deployment.database.read() as session:
        runtime = known_runtime(session, runtime_name(name))
    built = load(deployment.settings.runtimes_home)
    return runtime, next((one for one in built if one.folder.name == runtime.folder), None)


def _is_pin(line: str) -> bool:
    return "==" in line and not line.startswith((" ", "#", "-"))


def _print_built(built: Sequence[BuiltRuntime], *, as_json: bool) -> None:
    if as_json:
        print_json(
            [
                {"name": one.display_name, "image": one.image_name, "tag": one.tag, "python": str(one.executable)}
                for one in built
            ]
        )
        return
    for one in built:
        say(f"{one.display_name} is built: {one.executable}")
