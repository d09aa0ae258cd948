"""The models of a campaign: `python models.py FOLDER` writes their pickles, with a Python that has cloudpickle.

Each function is a model, pickled by value because this file runs as __main__. A good one answers the same on the same
data whenever it runs; of a bad one `BAD` tells the code of its failure.
"""

import sys
from pathlib import Path

# What each prints in full, so that a line lost or told twice shows.
LINES = {"talks": [f"line {number}" for number in range(300)], "slow": [f"step {number}" for number in range(10)]}
GOOD = ("quick", "both", "talks", "slow", "busy")
BAD = {
    "raises": "exception",
    "answers_nan": "nan_predictions",
    "has_other_ids": "missing_ids",
    "lacks_a_module": "import_error",
    "takes_memory": "out_of_memory",
    "exits": "exited",
    "crashes": "segfault",
    "kills_itself": "killed",
    "takes_three": "bad_signature",
}


def quick(live_features):
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")


def both(live_features, live_benchmark_models):
    assert list(live_benchmark_models.index) == list(live_features.index)
    return live_features.iloc[:, 5:9].sum(axis=1).rank(pct=True, method="first").to_frame("prediction")


def talks(live_features):
    import time

    for number in range(300):
        print("line", number, flush=True)
        if number % 50 == 0:
            time.sleep(0.05)
    return live_features.iloc[:, 6].rank(pct=True, method="first").to_frame("prediction")


def slow(live_features):
    import time

    for number in range(10):
        print("step", number, flush=True)
        time.sleep(0.2)
    return live_features.iloc[:, 7].rank(pct=True, method="first").to_frame("prediction")


def busy(live_features):
    import time

    until = time.process_time() + 0.4
    while time.process_time() < until:
        pass
    return live_features.iloc[:, 8].rank(pct=True, method="first").to_frame("prediction")


def raises(live_features):
    raise KeyError("a_feature_that_was_renamed")


def answers_nan(live_features):
    ranks = live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")
    ranks.iloc[3] = float("nan")
    return ranks


def has_other_ids(live_features):
    return live_features.iloc[:-7, 5].rank(pct=True, method="first").to_frame("prediction")


def lacks_a_module(live_features):
    import a_module_of_my_own

    return a_module_of_my_own.predict(live_features)


def takes_memory(live_features):
    blocks = [bytearray(64 << 20) for _ in range(64)]
    for block in blocks:
        block[::4096] = b"x" * len(block[::4096])
    return live_features


def exits(live_features):
    import os

    os._exit(3)


def crashes(live_features):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGSEGV)
    return live_features


def kills_itself(live_features):
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return live_features


def takes_three(live_features, live_benchmark_models, something_else):
    return live_features


def main() -> None:
    import cloudpickle

    for name in (*GOOD, *BAD):
        (Path(sys.argv[1]) / f"{name}.pkl").write_bytes(cloudpickle.dumps(globals()[name]))


if __name__ == "__main__":
    main()
