"""Options that several commands share."""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from predictd.domain.errors import InvalidInputError
from predictd.domain.runs import SandboxKind
from predictd.settings import Settings

if TYPE_CHECKING:
    from predictd.server.deployment import Deployment

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the deployment (env: PREDICTD_DATA_DIR; default ~/.predictd)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RUNTIME_HELP = "A Python (3.12), an image's name or tag, or the folder of a built runtime."
Runtime = Annotated[str | None, typer.Option(envvar="PREDICTD_RUNTIME", help=RUNTIME_HELP, show_default="3.12")]
Server = Annotated[str, typer.Option(envvar="PREDICTD_SERVER", help="Where data is fetched from by name.")]
Sandbox = Annotated[
    SandboxKind | None, typer.Option(help="What isolates a pickle (env: PREDICTD_SANDBOX; default bubblewrap).")
]
TrustUsers = Annotated[
    bool | None, typer.Option("--trust-users", help="Run pickles although this machine can't isolate them.")
]


def read_settings(**given: Any) -> Settings:
    """The settings: options that were given win over the environment.

    Raises:
        InvalidInputError: a setting has a value that can't be taken.
    """
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise InvalidInputError(f"The setting PREDICTD_{name} can't be taken: {reason}.") from error


@contextmanager
def opened(data_dir: Path | None) -> "Iterator[Deployment]":
    """The deployment in the data dir, beside a running server or without one."""
    # `predictd run` goes without the server.
    from predictd.db.audit import Actor, acting  # noqa: PLC0415
    from predictd.server.deployment import open_deployment  # noqa: PLC0415

    deployment = open_deployment(read_settings(data_dir=data_dir))
    try:
        with acting(Actor(way="command line", at=datetime.now(UTC), user=_user())):
            yield deployment
    finally:
        deployment.database.close()


def _user() -> str:
    """The user of this machine who runs the command; by number where it has no name."""
    number = os.getuid()
    try:
        name = pwd.getpwuid(number).pw_name
    except KeyError:
        name = str(number)
    by = os.environ.get("SUDO_USER")
    return f"{name} (sudo: {by})" if by else name
