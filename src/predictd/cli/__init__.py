"""The command line, one module per command or group of commands: it parses options and prints; no business rules."""

import sys


def main() -> None:
    """Run `predictd`."""
    try:
        from predictd.cli.app import run  # noqa: PLC0415 (its imports need the extra)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("predictd"):
            raise
        sys.stderr.write(f"predictd needs {error.name}. In the clone of predictd: pip install '.[server]'\n")
        sys.exit(1)
    run()


__all__ = ["main"]
