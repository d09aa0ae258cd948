"""Reading a pickle with a sign of life: a large one takes a while."""

from pathlib import Path

from predictd.cli.output import console
from predictd.pickles.inspection import Inspection, inspect_pickle


def inspected(file: Path) -> Inspection:
    """The inspection of a file; says that it is being read."""
    with console.status(f"Reading {file.name} ({file.stat().st_size / 1e6:,.1f} MB)"):
        return inspect_pickle(file)
