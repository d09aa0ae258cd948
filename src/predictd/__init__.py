"""predictd: an open, self-hosted Model Uploads platform."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from predictd.pickles.wrapping import wrap as wrap

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import `wrap` when it is asked for, so that importing predictd stays light."""
    if name == "wrap":
        from predictd.pickles.wrapping import wrap  # noqa: PLC0415

        return wrap
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
