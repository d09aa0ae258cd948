"""Run a model once: import, unpickle, read, predict, write.

Started by `predictd.sandbox` with one argument, JSON: `packages` (folder), `channel` (descriptor), `pickle`,
`live`, `benchmarks` and `tables` (each a descriptor or a path; the latter two may be null), `processes` (or null),
`trees` (whether to use compiled tables instead of the tree libraries), `keep_tables` (null, or the maximum bytes of
tables to send), `proven` (whether this pickle has run in this runtime before), `seed` (of random numbers, or null).
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
from .channel import USUAL_MODULES, Channel
from .exceptions import ModelError, classify, packages_behind, print_traceback, summary
from .predictions import concatenate, count_model_arguments, extract_predictions, iterate_eras
from .version_scan import Scan, opcode_tables, scan

_SCAN_SECONDS = 3.0
_prepared_packages: list[str] = []


def main() -> NoReturn:
    """Run the model that the first argument describes, send the result and end the process."""
    task = json.loads(sys.argv[1])
    sys.argv[1:] = []
    run_task(task)


def run_task(task: dict[str, Any]) -> NoReturn:
    """Run the model of a parsed task, send the result and end the process."""
    channel = Channel(task["channel"])
    channel.stage("import")
    try:
        if task["processes"] is not None:
            resource.setrlimit(resource.RLIMIT_NPROC, (task["processes"], task["processes"]))
        prepare(task["packages"])
        _install_trees(task)
        _seed(task["seed"])
    except Exception as error:  # noqa: BLE001 (nothing of the user's has run)
        channel.platform(summary(error))
        os._exit(1)
    try:
        result = _run(task, channel)
    except BaseException as raised:  # noqa: BLE001 (a model may raise anything)
        cause = _unwrap(raised)
        failure = classify(cause, "unpickle_error" if isinstance(raised, _UnpicklingError) else "exception")
        packages = packages_behind(cause)
        if not isinstance(cause, (ModelError, SystemExit)):
            print_traceback(cause)
        _flush()
        channel.failure(failure.code, failure.detail, packages, failure.cause, failure.facts)
    else:
        _flush()
        _send_reusable(task, channel)
        channel.result(*result)
    os._exit(0)


def prepare(packages: str) -> None:
    """Import what every model needs from that folder; does nothing in a process that was forked after a first call."""
    if _prepared_packages:
        return
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    site.setquit()
    if packages not in sys.path:
        site.addsitedir(packages)
    for name in ("numpy", "pandas", "pyarrow.parquet", "cloudpickle"):
        importlib.import_module(name)
    mapped.warm_up()
    opcode_tables()
    with contextlib.suppress(ImportError):  # without it, the libraries predict by themselves
        importlib.import_module("predictd_trees").install()
    faulthandler.enable()
    _prepared_packages.append(packages)


def _install_trees(task: dict[str, Any]) -> None:
    trees = sys.modules.get("predictd_trees")
    if trees is None:
        return
    if not task["trees"]:
        trees.uninstall()
    elif task["tables"] is not None:
        with open(task["tables"], "rb") as file:
            trees.install(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _seed(seed: int | None) -> None:
    """Seed the random numbers of Python and NumPy; without a seed they differ in each run."""
    if seed is not None:
        random.seed(seed)
        sys.modules["numpy"].random.seed(seed)


def _send_reusable(task: dict[str, Any], channel: Channel) -> None:
    """Send what makes the next run of this pickle faster; ignore all errors."""
    try:
        channel.modules([name for name in USUAL_MODULES if name in sys.modules])
        trees = sys.modules.get("predictd_trees")
        if task["keep_tables"] is not None and trees is not None:
            tables = trees.export_tables()
            if 0 < len(tables) <= task["keep_tables"]:
                channel.tables(tables)
    except BaseException:  # noqa: BLE001 (a model may have changed anything)
        return


class _UnpicklingError(Exception):
    """An error of unpickling, with the scan of the file."""

    def __init__(self, error: BaseException, scan_result: Scan) -> None:
        super().__init__(error)
        self.error = error
        self.scan_result = scan_result


def _run(task: dict[str, Any], channel: Channel) -> tuple[list[str], bytes]:
    channel.stage("unpickle")
    model = _unpickle(task["pickle"], channel, proven=task["proven"])
    arguments = count_model_arguments(model)
    if arguments == 2 and task["benchmarks"] is None:
        raise ModelError("bad_signature", "two, and this data version has no benchmark models", "no_benchmarks")
    channel.stage("read")
    inputs = [mapped.open_table(task[name]) for name in ("live", "benchmarks")[:arguments]]
    channel.stage("predict")
    if isinstance(inputs[0], mapped.MappedTable):
        # One era is in memory at a time, and a result may be a view of it.
        parts = [extract_predictions(model(*era_inputs)) for era_inputs in iterate_eras(inputs)]
        channel.stage("write")
        return concatenate(parts)
    results = [model(*era_inputs) for era_inputs in iterate_eras(inputs)]
    channel.stage("write")
    return concatenate([extract_predictions(result) for result in results])


def _unpickle(source: int | str, channel: Channel, *, proven: bool) -> Any:
    with open(source, "rb") as file:
        scan_result = Scan() if proven else scan(file, _SCAN_SECONDS)
        if scan_result.functions or scan_result.packages:
            channel.versions(scan_result.pythons, scan_result.packages)
        file.seek(0)
        try:
            return pickle.load(file)  # noqa: S301 (this is what the sandbox is for)
        except BaseException as error:  # noqa: BLE001
            if isinstance(error, (AttributeError, ImportError)) and "pandas" in str(error):
                return _unpickle_old_pandas(file, error, scan_result)
            raise _UnpicklingError(error, scan_result) from None


def _unpickle_old_pandas(file: IO[bytes], error: BaseException, scan_result: Scan) -> Any:
    """Unpickle with pandas, which maps the former locations of its classes."""
    import pandas  # noqa: PLC0415

    try:
        file.seek(0)
        return pandas.read_pickle(file, compression=None)  # noqa: S301
    except BaseException:  # noqa: BLE001
        raise _UnpicklingError(error, scan_result) from None


def _unwrap(raised: BaseException) -> BaseException:
    """Return the error of the user's code, or the flaw of its file if it could not be unpickled for that."""
    if not isinstance(raised, _UnpicklingError):
        return raised
    if raised.scan_result.flaw is not None and not isinstance(raised.error, ModuleNotFoundError):
        return ModelError(*raised.scan_result.flaw)
    return raised.error


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # the model replaced or closed it
            continue
