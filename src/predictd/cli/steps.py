"""Progress of a long operation in steps."""

from rich.progress import Progress

from predictd.cli.output import console, say


class Steps:
    """Shows the progress of the set-up: a bar per step, or on a pipe a line per step."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task = None if not console.is_terminal else bars.add_task("Preparing", total=1.0)
        self._last = ""

    def show(self, step: str, done: float) -> None:
        """Show that the step has come so far, 0 to 1."""
        if self._task is not None:
            self._bars.update(self._task, description=f"Preparing: {step}", completed=done)
        elif step != self._last:
            say(f"Preparing: {step}")
        self._last = step
