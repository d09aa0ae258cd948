"""Progress of transfers, of setup steps and of long computations: a bar on a terminal, lines on a pipe."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from predictd.cli.output import console, say


class Transfers:
    """Shows the progress of each file; `action` is the label, such as 'Downloading'."""

    def __init__(self, action: str = "Downloading") -> None:
        self._action = action
        name = TextColumn(f"{action} {{task.description}}", markup=False)
        self._bars = Progress(name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Transfers":
        return self

    def __exit__(self, *_: object) -> None:
        # Bars that never started would end with an empty line.
        if self._bars.live.is_started:
            self._bars.stop()

    def show(self, name: str, done: int, total: int | None) -> None:
        """Show how many bytes of the file have been transferred."""
        if name not in self._tasks:
            if console.is_terminal:
                self._bars.start()
            else:
                size = "" if total is None else f" ({total / 1e6:.1f} MB)"
                say(f"{self._action} {name}{size}")
            self._tasks[name] = self._bars.add_task(name, total=total)
        self._bars.update(self._tasks[name], completed=done, total=total)
        if console.is_terminal and done == total and all(task.finished for task in self._bars.tasks):
            # Later messages go below the bars.
            self._bars.stop()


class Steps:
    """Shows the progress of an operation in steps; `action` is the label, such as 'Exporting'."""

    def __init__(self, bars: Progress, action: str = "Preparing") -> None:
        self._bars = bars
        self._action = action
        self._task = None if not console.is_terminal else bars.add_task(action, total=1.0)
        self._last = ""

    def show(self, step: str, done: float) -> None:
        """Show the current step and the share that is done, 0 to 1."""
        if self._task is not None:
            self._bars.update(self._task, description=f"{self._action}: {step}", completed=done)
        elif step != self._last:
            say(f"{self._action}: {step}")
        self._last = step


@contextmanager
def show_progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback for done and total: it moves a bar, or prints a line for each quarter on a pipe."""
    if not console.is_terminal:
        yield _Quarters(title).show
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(title, visible=False)
        yield lambda done, total: bars.update(task, completed=done, total=total, visible=done < total)


class _Quarters:
    """Progress on a pipe."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown = 0

    def show(self, done: int, total: int) -> None:
        quarter = 4 * done // total if total else 0
        if self._shown < quarter < 4:
            self._shown = quarter
            say(f"{self._title}: {25 * quarter} %")
