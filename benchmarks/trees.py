"""Predictions by compiled trees against LightGBM's own predict, on one core: `trees.py [PART OF A NAME ...]`.

Models are trained once and cached in .cache/benchmarks. Each figure alternates between predictd and LightGBM (one
thread) in one process of the Python 3.12 runtime, and compares medians; results must be equal bit for bit. If all rows
would take LightGBM minutes, it predicts a part and the time is scaled: it processes rows one at a time.
"""

import json
import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "benchmarks"
ROWS = 6500
VALIDATION_ROWS = 550_000
SMALL, ALL = 42, 2748

# name: (features, rows trained on, parameters). The public notebook's trees have 31 leaves and a depth of 5; deeper
# trees are slower here, so the 20,000 trees have no limit.
MODELS = {
    "20000": (SMALL, 20_000, {"n_estimators": 20_000, "num_leaves": 31, "colsample_bytree": 0.1}),
    "2000": (SMALL, 20_000, {"n_estimators": 2_000, "num_leaves": 31, "max_depth": 5, "colsample_bytree": 0.1}),
    "90000": (ALL, 4_000, {"n_estimators": 90_000, "num_leaves": 31, "max_depth": 5, "colsample_bytree": 0.01}),
    "deep": (
        SMALL,
        200_000,
        {"n_estimators": 2_000, "num_leaves": 1024, "max_depth": 10, "colsample_bytree": 0.1, "min_child_samples": 50},
    ),
}


def figure(name: str, model: str, path: str, at_least: float, *, rows: int = ROWS, peer_rows: int = ROWS) -> dict:
    """Return one figure as {name, ratio, at_least, ours, peer, unit}."""
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    from predictd import trees  # noqa: PLC0415

    features = MODELS[model][0]
    values = np.random.default_rng(7).integers(0, 5, size=(features, rows), dtype=np.int8)
    data = pd.DataFrame(values.T, columns=[f"feature_{i}" for i in range(features)])
    part = data.iloc[:peer_rows]
    content = trained(model).read_bytes()
    own = pickle.loads(content).booster_
    os.environ["PREDICTD_TREES_PATH"] = path
    assert trees.install(), trees.available()
    ours = pickle.loads(content).booster_
    ours.predict(part.iloc[:10])
    assert not trees.problems(), trees.problems()
    fast, slow = [], []
    for _ in range(3):
        trees.uninstall()
        began = time.perf_counter()
        expected = own.predict(part, num_threads=1)
        slow.append(time.perf_counter() - began)
        trees.install()
        ours = pickle.loads(content).booster_
        ours.predict(part.iloc[:10])
        for _ in range(5):
            began = time.perf_counter()
            predictions = ours.predict(data)
            fast.append(time.perf_counter() - began)
        assert predictions[:peer_rows].tobytes() == expected.tobytes(), "the predictions differ"
    mine, theirs = statistics.median(fast), statistics.median(slow) * rows / peer_rows
    return {
        "name": name,
        "ratio": round(theirs / mine, 1),
        "at_least": at_least,
        "ours": round(mine, 5),
        "peer": round(theirs, 3),
        "unit": "s",
    }


def trees_20000_avx512() -> dict:
    """20,000 trees of 31 leaves, the predict call alone."""
    return figure("trees_20000_avx512", "20000", "avx512", 300)


def trees_20000_avx2() -> dict:
    """The same with AVX2."""
    return figure("trees_20000_avx2", "20000", "avx2", 100)


def trees_20000_portable() -> dict:
    """The same with the code path of any machine."""
    return figure("trees_20000_portable", "20000", "portable", 20)


def trees_2000_avx512() -> dict:
    """The public notebook's 2,000 trees."""
    return figure("trees_2000_avx512", "2000", "avx512", 100)


def trees_90000_wide_avx512() -> dict:
    """90,000 trees over all features."""
    return figure("trees_90000_wide_avx512", "90000", "avx512", 300, peer_rows=500)


def trees_deep() -> dict:
    """2,000 trees of up to 1,024 leaves."""
    return figure("trees_deep", "deep", "avx512", 5)


def trees_validation_550000() -> dict:
    """550,000 rows with 20,000 trees; the ratio is 5 seconds to our time."""
    result = figure("trees_validation_550000", "20000", "avx512", 1, rows=VALIDATION_ROWS, peer_rows=1000)
    return {**result, "ratio": round(5 / result["ours"], 2), "peer": 5.0}


FIGURES: dict[str, Callable[[], dict]] = {
    function.__name__: function
    for function in (
        trees_20000_avx512,
        trees_20000_avx2,
        trees_20000_portable,
        trees_2000_avx512,
        trees_90000_wide_avx512,
        trees_deep,
        trees_validation_550000,
    )
}


def trained(model: str) -> Path:
    """Return the pickle of a model, trained if it does not exist."""
    path = CACHE / f"lightgbm-{model}.pkl"
    if not path.exists():
        import lightgbm  # noqa: PLC0415
        import numpy as np  # noqa: PLC0415

        features, rows, parameters = MODELS[model]
        random = np.random.default_rng(0)
        values = random.integers(0, 5, size=(rows, features)).astype(np.float32)
        target = values @ random.normal(size=features) * 0.02 + random.normal(size=rows)
        fixed = {"learning_rate": 0.01, "max_bin": 5, "verbose": -1, "n_jobs": 1, "random_state": 0}
        fitted = lightgbm.LGBMRegressor(**fixed, **parameters).fit(values, target)
        CACHE.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".part").write_bytes(pickle.dumps(fitted))
        path.with_suffix(".part").replace(path)
    return path


def runtime() -> Path:
    """Return the Python of the 3.12 runtime."""
    executables = sorted((ROOT / ".cache" / "runtimes").glob("numerai_predict_py_3_12-*/bin/python"))
    if not executables:
        sys.exit(
            "The runtime of Python 3.12 is not built. Run `make test` or `.venv/bin/python scripts/prepare_tests.py`."
        )
    return executables[0]


def run(name: str) -> dict:
    """Measure one figure in the runtime's Python, pinned to the last core."""
    core = max(os.sched_getaffinity(0))
    command = ["taskset", "-c", str(core), str(runtime()), __file__, "--measure", name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main(patterns: list[str]) -> None:
    """Print a line for each figure."""
    for name in FIGURES:
        if not patterns or any(part in name for part in patterns):
            result = run(name)
            print(
                f"{name:26} {result['ratio']:8} times (at least {result['at_least']})"
                f"   ours {result['ours'] * 1000:.2f} ms, peer {result['peer']:.2f} s",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(FIGURES[sys.argv[2]]()))
    else:
        main(sys.argv[1:])
