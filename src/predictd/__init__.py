"""predictd: an open, self-hosted Model Uploads platform."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from predictd.client import Client

__all__ = ["Client", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Imported where it is used, so that `import predictd` stays quick.
    if name == "Client":
        from predictd.client import Client  # noqa: PLC0415

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
