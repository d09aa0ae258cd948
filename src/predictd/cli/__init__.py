"""The command line: one module per command group. It asks and shows; the rules live below."""

from predictd.cli.app import main

__all__ = ["main"]
