"""Progress of transfers: a bar each, or on a pipe a line each."""

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from predictd.cli.output import console, say


class Transfers:
    """Shows transfers as they go on; `doing` is what is done, such as 'Downloading'."""

    def __init__(self, doing: str = "Downloading") -> None:
        self._doing = doing
        name = TextColumn(f"{doing} {{task.description}}", markup=False)
        self._bars = Progress(name, BarColumn(), DownloadColumn(), TransferSpeedColumn(), console=console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "Transfers":
        return self

    def __exit__(self, *_: object) -> None:
        # Bars that never started would end with an empty line.
        if self._bars.live.is_started:
            self._bars.stop()

    def show(self, name: str, done: int, total: int | None) -> None:
        """Show that so many bytes of the file have come or gone."""
        if name not in self._tasks:
            if console.is_terminal:
                self._bars.start()
            else:
                size = "" if total is None else f" ({total / 1e6:.1f} MB)"
                say(f"{self._doing} {name}{size}")
            self._tasks[name] = self._bars.add_task(name, total=total)
        self._bars.update(self._tasks[name], completed=done, total=total)
        if console.is_terminal and done == total and all(one.finished for one in self._bars.tasks):
            # What is said from now on stands below the bars.
            self._bars.stop()
