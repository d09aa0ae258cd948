"""Options that several commands share."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from predictd.domain.errors import InvalidInputError
from predictd.settings import Settings

if TYPE_CHECKING:
    from predictd.server.deployment import Deployment

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the deployment (env: PREDICTD_DATA_DIR; default ~/.predictd)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


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
        raise InvalidInputError(f"The setting PREDICTD_{name} can't be taken: {first['msg']}.") from error


@contextmanager
def opened(data_dir: Path | None) -> "Iterator[Deployment]":
    """The deployment in the data dir, beside a running server or without one."""
    from predictd.server.deployment import open_deployment  # noqa: PLC0415 (`predictd run` goes without the server)

    deployment = open_deployment(read_settings(data_dir=data_dir))
    try:
        yield deployment
    finally:
        deployment.database.close()
