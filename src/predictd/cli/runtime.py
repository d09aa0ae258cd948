"""`predictd runtime`: the Pythons that models run in."""

from typing import Annotated

import typer

from predictd.cli.options import AsJson, DataDir, opened
from predictd.cli.output import print_json, print_rows, say
from predictd.db.catalogue import list_runtimes
from predictd.runtimes import SPECS, default_spec, load, spec_for
from predictd.server.preparation import build_runtime

app = typer.Typer(
    help="Runtimes: a Python version plus a locked package set.\n\nExample: predictd runtime build 3.11",
    no_args_is_help=True,
)


@app.command("list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the runtimes, those that could be built too.

    Example: predictd runtime list --json
    """
    with opened(data_dir) as deployment, deployment.database.read() as session:
        known = list_runtimes(session)
        built = {one.folder.name: one for one in load(deployment.settings.runtimes_home)}
    rows = [
        {
            "name": one.name,
            "image": one.image,
            "tag": one.tag,
            "id": one.id,
            "default": one.is_default,
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
            "built": False,
            "python": None,
        }
        for spec in SPECS.values()
        if spec.image_name not in images
    ]
    print_rows(rows, as_json=as_json, empty="")


@app.command()
def build(
    python: Annotated[list[str] | None, typer.Argument(help=f"Python versions: {', '.join(SPECS)}.")] = None,
    also: Annotated[list[str] | None, typer.Option("--python", help="The same as an option.")] = None,
    default: Annotated[bool, typer.Option("--default", help="Make it the default of new uploads.")] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Build runtimes (the usual one, if none is named) from their locks, unless they are built, for uploads to choose.

    Example: predictd runtime build 3.11 3.12
    """
    specs = [spec_for(_version(one)) for one in [*(python or []), *(also or [])]] or [default_spec()]
    with opened(data_dir) as deployment:
        built = [build_runtime(deployment, spec, say, default=default) for spec in specs]
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


def _version(text: str) -> str:
    """'3.11', 'py3.11', 'Python 3.11' and 'numerai_predict_py_3_11' mean the same."""
    return (
        text.lower()
        .removeprefix("numerai_predict_")
        .removeprefix("python")
        .removeprefix("py")
        .strip(" _")
        .replace("_", ".")
    )
