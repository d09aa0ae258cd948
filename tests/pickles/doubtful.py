"""Pickles that run, though something in them looks as if it could not: `python doubtful.py FOLDER` makes them."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle

MAKERS: dict[str, Callable[[], Any]] = {}
LEVELS: dict[str, dict[str, str]] = {}
"""Name -> the findings that are not passed, as code -> level."""


def _making(**levels: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    def register(function: Callable[[], Any]) -> Callable[[], Any]:
        name = function.__name__.removeprefix("make_")
        MAKERS[name], LEVELS[name] = function, levels
        return function

    return register


def _ranks(live_features):
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")


@_making()
def make_log_file() -> Any:
    def predict(live_features):
        with open("log.txt", "w") as file:
            file.write("started")
        Path("more.txt").write_text("done")
        return _ranks(live_features)

    return predict


@_making(reads_files="warn")
def make_file_of_its_own() -> Any:
    import json

    def predict(live_features):
        with open("kept.json", mode="w") as file:
            json.dump([5], file)
        with open("kept.json") as file:
            json.load(file)
        return _ranks(live_features)

    return predict


@_making(reads_files="warn")
def make_file_that_may_be_missing() -> Any:
    import pandas as pd

    def predict(live_features):
        try:
            weight = pd.read_csv("weights.csv").iloc[0, 0]
        except FileNotFoundError:
            weight = 1
        return _ranks(live_features) * weight

    return predict


@_making(absolute_path="warn")
def make_file_at_home_only() -> Any:
    import pandas as pd

    def predict(live_features):
        if os.path.exists("/home/alice/notes.csv"):
            pd.read_csv("/home/alice/notes.csv")
        return _ranks(live_features)

    return predict


@_making(import_error="warn")
def make_import_in_a_function_that_is_not_called() -> Any:
    def predict(live_features):
        def shown():
            import a_module_of_mine

            return a_module_of_mine.show(live_features)

        return _ranks(live_features) if len(live_features) else shown()

    return predict


@_making(import_error="warn")
def make_import_behind_a_return() -> Any:
    def predict(live_features):
        if len(live_features):
            return _ranks(live_features)
        import a_module_of_mine

        return a_module_of_mine.predict(live_features)

    return predict


@_making(import_error="warn")
def make_import_that_is_suppressed() -> Any:
    import contextlib

    def predict(live_features):
        with contextlib.suppress(ImportError):
            import a_module_of_mine

            return a_module_of_mine.predict(live_features)
        return _ranks(live_features)

    return predict


@_making(import_error="warn")
def make_module_that_is_made_first() -> Any:
    import types

    def predict(live_features):
        sys.modules["a_module_of_mine"] = types.ModuleType("a_module_of_mine")
        import a_module_of_mine

        return _ranks(live_features) if a_module_of_mine.__name__ else None

    return predict


@_making()
def make_series_that_a_decorator_converts() -> Any:
    def framed(function):
        @functools.wraps(function)
        def inner(live_features, live_benchmark_models):
            return function(live_features, live_benchmark_models).to_frame("prediction")

        return inner

    @framed
    def predict(live_features, live_benchmark_models):
        return live_features.iloc[:, 5].rank(pct=True, method="first")

    return predict


@_making(not_a_dataframe="warn")
def make_series_on_a_way_that_is_not_taken() -> Any:
    def predict(live_features):
        if not len(live_features):
            return live_features.iloc[:, 5]
        return _ranks(live_features)

    return predict


@_making()
def make_generator_and_nothing_in_helpers() -> Any:
    def columns(frame):
        yield from frame.columns[5:7]

    def say(text):
        print(text)

    def predict(live_features):
        say("ranks")
        means = live_features[list(columns(live_features))].mean(axis=1)
        return means.rank(pct=True, method="first").to_frame("prediction")

    return predict


@_making()
def make_variable_that_changes() -> Any:
    def predict(live_features):
        result = live_features.iloc[:, 5]
        result = result.rank(pct=True, method="first")
        if len(result):
            result = result.to_frame("prediction")
        return result

    return predict


@_making(missing_columns="warn")
def make_column_that_is_added() -> Any:
    def add(frame):
        frame["mine"] = frame.iloc[:, 5].rank(pct=True, method="first")

    def predict(live_features):
        add(live_features)
        live_features.loc[:, "more"] = live_features["mine"]
        return live_features[["more"]]

    return predict


@_making(network_access="warn")
def make_network_that_may_be_missing() -> Any:
    def predict(live_features):
        import urllib.request

        try:
            urllib.request.urlopen("https://example.com/", timeout=1)
        except OSError:
            print("no network")
        return _ranks(live_features)

    return predict


@_making(network_access="warn")
def make_address_that_is_no_network() -> Any:
    import urllib.request

    def predict(live_features):
        assert urllib.request.urlopen("data:text/plain,1").read() == b"1"
        return _ranks(live_features)

    return predict


def write(folder: Path) -> None:
    """Make the files NAME.pkl."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, make in MAKERS.items():
        (folder / f"{name}.pkl").write_bytes(cloudpickle.dumps(make()))


if __name__ == "__main__":
    write(Path(sys.argv[1]).absolute())
