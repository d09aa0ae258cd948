"""Writes the pickles of the tests: `python make_pickles.py FOLDER [NAME ...]`, with a Python that has cloudpickle.

Each function `model_*` is a model, pickled by value because this file runs as __main__.
"""

import sys
from pathlib import Path

import cloudpickle
import pandas as pd

FEATURES_USED = 5


def model_good(live_features, live_benchmark_models):
    print("predicting", len(live_features), "rows")
    features = [name for name in live_features.columns if name.startswith("feature_")][:FEATURES_USED]
    assert list(live_benchmark_models.index) == list(live_features.index)
    return live_features[features].sum(axis=1).rank(pct=True, method="first").to_frame("prediction")


def model_one_argument(live_features):
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")


def model_lists_descriptors(live_features):
    import os
    import stat

    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            kind = stat.filemode(os.fstat(number).st_mode)[0]
        except OSError:  # that of the listing
            continue
        print("descriptor", number, kind)
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")


def model_slow(live_features):
    import time

    for second in range(8):
        print("second", second, flush=True)
        time.sleep(1)
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")


def model_talks(live_features):
    import time

    for number in range(5):
        print("line", number, flush=True)
        time.sleep(0.4)
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")


def model_needs_a_missing_module(live_features):
    import a_module_of_my_own

    return a_module_of_my_own.predict(live_features)


def model_three_arguments(live_features, live_benchmark_models, something_else):
    return live_features


def model_returns_a_series(live_features):
    return live_features.iloc[:, 5].rank(pct=True)


def model_returns_nan(live_features):
    ranks = live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")
    ranks.iloc[3] = float("nan")
    return ranks


def model_returns_two(live_features):
    return (live_features.iloc[:, 5].rank(pct=True, method="first") * 2).to_frame("prediction")


def model_is_constant(live_features):
    return pd.DataFrame({"prediction": 0.5}, index=live_features.index)


def model_has_wrong_ids(live_features):
    ranks = live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")
    return ranks.reset_index(drop=True)


def model_drops_rows(live_features):
    return live_features.iloc[:-7, 5].rank(pct=True, method="first").to_frame("prediction")


def model_raises(live_features):
    print("about to raise")
    raise KeyError("feature_that_was_renamed")


def model_prints_markup(live_features):
    print("<script>document.title = 'taken over'</script>")
    print("<img src=x onerror=\"document.title='taken over'\">")
    print("\x1b[31mred\x1b[0m \x1b]0;a title\x07 bell\x07 turned\N{RIGHT-TO-LEFT OVERRIDE}around")
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")


def model_returns_eleven_million_rows(live_features):
    return pd.DataFrame({"prediction": 0.5}, index=[""] * 11_000_000)


def model_hands_out_large_tables(live_features):
    import os
    import sys

    import numpy as np

    frame = sys._getframe()
    while "channel" not in frame.f_locals:
        frame = frame.f_back
    channel = frame.f_locals["channel"]
    channel.stage("write")
    for _ in range(3):
        channel.tables(bytes(200 << 20))
    values = np.linspace(0.1, 0.9, len(live_features))
    channel.result([str(name) for name in live_features.index], values.tobytes())
    os._exit(0)


def model_loops_for_ever(live_features):
    while True:
        pass


def model_takes_8_gb(live_features):
    blocks = [bytearray(64 * 1024 * 1024) for _ in range(128)]
    for block in blocks:
        block[::4096] = b"x" * len(block[::4096])
    return live_features


def model_opens_a_socket(live_features):
    import socket

    socket.create_connection(("1.1.1.1", 53), timeout=5)
    return live_features


def main() -> None:
    folder, wanted = Path(sys.argv[1]), sys.argv[2:]
    for name, function in list(globals().items()):
        short = name.removeprefix("model_")
        if name.startswith("model_") and (not wanted or short in wanted):
            (folder / f"{short}.pkl").write_bytes(cloudpickle.dumps(function))


if __name__ == "__main__":
    main()
