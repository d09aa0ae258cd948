"""Progress of a long operation in steps."""

from rich.progress import Progress

from predictd.cli.output import console, say


class Steps:
    """Shows the progress of the set-up, or of what `doing` says: a bar, or on a pipe a line per step."""

    def __init__(self, bars: Progress, doing: str = "Preparing") -> None:
        self._bars = bars
        self._doing = doing
        self._task = None if not console.is_terminal else bars.add_task(doing, total=1.0)
        self._last = ""

    def show(self, step: str, done: float) -> None:
        """Show that the step has come so far, 0 to 1."""
        if self._task is not None:
            self._bars.update(self._task, description=f"{self._doing}: {step}", completed=done)
        elif step != self._last:
            say(f"{self._doing}: {step}")
        self._last = step
