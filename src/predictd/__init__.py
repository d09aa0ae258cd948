"""predictd: an open, self-hosted Model Uploads platform."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from predictd.client import Client
    from predictd.pickles.wrapping import wrap

__all__ = ["Client", "__version__", "wrap"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Imported where they are used, so that `import predictd` stays quick.
    if name == "Client":
        from predictd.client import Client  # noqa: PLC0415

        return Client
    if name == "wrap":
        from predictd.pickles.wrapping import wrap  # noqa: PLC0415

        return wrap
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
