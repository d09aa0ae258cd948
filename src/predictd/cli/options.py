"""Arguments and options that several commands share, each defined once."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from predictd.domain.errors import InvalidInputError
from predictd.domain.runs import SandboxKind
from predictd.settings import Settings

RUNTIME_HELP = "A Python version (3.12), the name or tag of an image, or the folder of a built runtime."


def setting_help(name: str) -> str:
    """Return the help of an option that overrides a setting."""
    return f"{Settings.model_fields[name].description} (env: PREDICTD_{name.upper()})"


def runtime_option(default: str, text: str = RUNTIME_HELP) -> Any:
    """Return the option --runtime; `default` describes what is used without it."""
    return typer.Option(envvar="PREDICTD_RUNTIME", help=text, show_default=default)


# Every command

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# Commands that run models on this machine

PickleFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="The pickle.", exists=True, dir_okay=False, show_default=False)
]
Runtime = Annotated[str | None, runtime_option("3.12")]
ValidationData = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="Folder of a data version with validation.parquet, or the version's name on the server, such as v5.3.",
        show_default="the server's newest, downloaded once",
    ),
]
DataServer = Annotated[
    str, typer.Option("--server", envvar="PREDICTD_SERVER", help="Server to download data from by name.")
]
Sandbox = Annotated[SandboxKind | None, typer.Option(help=setting_help("sandbox"))]
TrustUsers = Annotated[bool | None, typer.Option("--trust-users", help=setting_help("trust_users"))]

# Commands of the admin

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Folder of the deployment (env: PREDICTD_DATA_DIR; default ~/.predictd)."),
]
AccountName = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Name of the account.", show_default=False)]
MakeDefault = Annotated[bool, typer.Option("--default", help="Make it the default for new uploads.")]
OfferAgain = Annotated[bool, typer.Option("--off", help="Offer it to new uploads again.")]

# Commands on a run

RunId = Annotated[
    str, typer.Argument(metavar="RUN", help="Id of the run; `predictd status MODEL` lists them.", show_default=False)
]
Attempt = Annotated[int | None, typer.Option(help="Number of the attempt.", show_default="the newest that has ended")]
Wait = Annotated[bool, typer.Option("--wait", help="Follow the run and print the model's output.")]
Timeout = Annotated[float | None, typer.Option(help="Stop waiting after this many seconds.")]


def read_settings(**options: Any) -> Settings:
    """Read the settings; options that are not None override the environment.

    Raises:
        InvalidInputError: The value of a setting is invalid.
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        reason = first["msg"].removeprefix("Value error, ")
        raise InvalidInputError(f"The setting PREDICTD_{name} is invalid: {reason}.") from error
