"""One run of a model: import, unpickle, read, predict, write.

Started by `predictd.sandbox` with one argument, JSON: `packages` (folder), `answer` (descriptor of the pipe), `pickle`,
`live`, `benchmarks` and `tables` (each a descriptor or a path; the latter two may be null), `processes` (or null),
`trees` (whether compiled tables answer for the tree libraries), `keep_tables` (null, or the most bytes of them to hand
out), `proven` (whether an earlier run of this pickle in this runtime succeeded), `seed` (of random numbers, or null).
"""

import contextlib
import faulthandler
import importlib
import io
import json
import mmap
import os
import pickle
import random
import resource
import site
import sys
from typing import IO, Any, NoReturn

from . import mapped
from .answer import arguments_of, by_era, ids_and_values, joined
from .channel import USUAL_MODULES, Channel
from .exceptions import ModelFault, classify, packages_behind, print_traceback, summary
from .version_scan import Scan, opcode_tables, scan

_SCAN_SECONDS = 3.0
_prepared: list[str] = []


def main() -> NoReturn:
    """Run the model that the first argument describes, answer on the pipe and end the process."""
    task = json.loads(sys.argv[1])
    sys.argv[1:] = []
    run_task(task)


def run_task(task: dict[str, Any]) -> NoReturn:
    """The same, with the argument as an object; what is imported already is not imported again."""
    channel = Channel(task["answer"])
    channel.stage("import")
    try:
        if task["processes"] is not None:
            resource.setrlimit(resource.RLIMIT_NPROC, (task["processes"], task["processes"]))
        prepare(task["packages"])
        _choose_trees(task)
        _seed(task["seed"])
    except Exception as error:  # noqa: BLE001 (nothing of the user's has run yet)
        channel.platform(summary(error))
        os._exit(1)
    try:
        answer = _run(task, channel)
    except BaseException as raised:  # noqa: BLE001 (a model may raise anything)
        cause = _understood(raised)
        fault = classify(cause, "unpickle_error" if isinstance(raised, _Unpickling) else "exception")
        packages = packages_behind(cause)
        if not isinstance(cause, (ModelFault, SystemExit)):
            print_traceback(cause)
        _flush()
        channel.failure(fault.code, fault.detail, packages, fault.cause, fault.facts)
    else:
        _flush()
        _tell_what_to_keep(task, channel)
        channel.result(*answer)
    os._exit(0)


def prepare(packages: str) -> None:
    """Import what every model needs from that folder; the same again, in a process that was forked, costs nothing."""
    if _prepared:
        return
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    site.setquit()
    if packages not in sys.path:
        site.addsitedir(packages)
    for name in ("numpy", "pandas", "pyarrow.parquet", "cloudpickle"):
        importlib.import_module(name)
    mapped.warm()
    opcode_tables()
    with contextlib.suppress(ImportError):  # without it, the libraries answer by themselves
        importlib.import_module("predictd_trees").install()
    faulthandler.enable()
    _prepared.append(packages)


def _choose_trees(task: dict[str, Any]) -> None:
    trees = sys.modules.get("predictd_trees")
    if trees is None:
        return
    if not task["trees"]:
        trees.uninstall()
    elif task["tables"] is not None:
        with open(task["tables"], "rb") as file:
            trees.install(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _seed(seed: int | None) -> None:
    """Let the random numbers of Python and NumPy start from there; left alone they are new for each run."""
    if seed is not None:
        random.seed(seed)
        sys.modules["numpy"].random.seed(seed)


def _tell_what_to_keep(task: dict[str, Any], channel: Channel) -> None:
    """What makes the next run of this pickle faster; nothing that goes wrong here is worth a word."""
    try:
        channel.modules([name for name in USUAL_MODULES if name in sys.modules])
        trees = sys.modules.get("predictd_trees")
        if task["keep_tables"] is not None and trees is not None:
            tables = trees.export_tables()
            if 0 < len(tables) <= task["keep_tables"]:
                channel.tables(tables)
    except BaseException:  # noqa: BLE001 (a model may have changed anything)
        return


class _Unpickling(Exception):
    """Wraps what unpickling raised, with what the file's bytes say."""

    def __init__(self, error: BaseException, seen: Scan) -> None:
        super().__init__(error)
        self.error = error
        self.seen = seen


def _run(task: dict[str, Any], channel: Channel) -> tuple[list[str], bytes]:
    channel.stage("unpickle")
    model = _unpickle(task["pickle"], channel, proven=task["proven"])
    arguments = arguments_of(model)
    if arguments == 2 and task["benchmarks"] is None:
        raise ModelFault("bad_signature", "two, and this data version has no benchmark models", "no_benchmarks")
    channel.stage("read")
    inputs = [mapped.open_table(task[name]) for name in ("live", "benchmarks")[:arguments]]
    channel.stage("predict")
    if isinstance(inputs[0], mapped.MappedTable):
        # One era is in memory at a time, and an answer may be a view of it.
        parts = [ids_and_values(model(*one_era)) for one_era in by_era(inputs)]
        channel.stage("write")
        return joined(parts)
    answers = [model(*one_era) for one_era in by_era(inputs)]
    channel.stage("write")
    return joined([ids_and_values(answer) for answer in answers])


def _unpickle(source: int | str, channel: Channel, *, proven: bool) -> Any:
    with open(source, "rb") as file:
        seen = Scan() if proven else scan(file, _SCAN_SECONDS)
        if seen.functions or seen.packages:
            channel.versions(seen.pythons, seen.packages)
        file.seek(0)
        try:
            return pickle.load(file)  # noqa: S301 (this is what the sandbox is for)
        except BaseException as error:  # noqa: BLE001
            if isinstance(error, (AttributeError, ImportError)) and "pandas" in str(error):
                return _unpickle_old_pandas(file, error, seen)
            raise _Unpickling(error, seen) from None


def _unpickle_old_pandas(file: IO[bytes], error: BaseException, seen: Scan) -> Any:
    """pandas knows where its own classes used to live."""
    import pandas  # noqa: PLC0415

    try:
        file.seek(0)
        return pandas.read_pickle(file, compression=None)  # noqa: S301
    except BaseException:  # noqa: BLE001
        raise _Unpickling(error, seen) from None


def _understood(raised: BaseException) -> BaseException:
    """What the user's code raised, or what its file lacks if that is why it could not be unpickled."""
    if not isinstance(raised, _Unpickling):
        return raised
    if raised.seen.flaw is not None and not isinstance(raised.error, ModuleNotFoundError):
        return ModelFault(*raised.seen.flaw)
    return raised.error


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # the model replaced or closed it
            continue
