"""The live file and the pickles of the whole runs, created once and cached in .cache/benchmarks.

Files that need the runtime's packages are created by its Python, which calls this file: `models.py KIND`.
"""

import os
import subprocess
import sys
from pathlib import Path

import trees

CACHE = trees.CACHE
LIVE = CACHE / "live.parquet"
FOREST = CACHE / "forest.pkl"
TRIVIAL = CACHE / "trivial"
WATCHING = CACHE / "watching.pkl"
ROWS, FEATURES, TARGETS = 6_500, 2_748, 20
TRIVIAL_COUNT = 1_010
_PARTIAL = ".part"


def live() -> Path:
    """Return a live file of full width: 6,500 rows of 2,748 features (int8, 0 to 4), the era and empty targets."""
    return _create(LIVE, "live")


def trivial(number: int) -> Path:
    """Return one of the trivial models, each a separate pickle: the rank of one feature."""
    return _create(TRIVIAL, "trivial") / f"{number}.pkl"


def watching() -> Path:
    """Return a trivial model that prints the private memory of its process, from /proc/self/smaps_rollup."""
    return _create(WATCHING, "watching")


def forest() -> Path:
    """Return the 20,000 trees of `trees.py` in a `predict` as in the public notebooks, over the 42 small features."""
    return _create(FOREST, "forest")


def _create(path: Path, kind: str) -> Path:
    if not path.exists():
        print(f"creating {path.relative_to(trees.ROOT)}", flush=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run([str(trees.runtime()), __file__, kind], check=True)
    return path


def _make_live(path: Path) -> None:
    import numpy as np  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415

    values = np.random.default_rng(0).integers(0, 5, size=(FEATURES, ROWS), dtype=np.int8)
    features = pd.DataFrame(
        values.T,
        columns=[f"feature_{i}" for i in range(FEATURES)],
        index=pd.Index([f"n{i * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFF:015x}" for i in range(ROWS)], name="id"),
    )
    missing = np.full(ROWS, np.nan, np.float32)
    targets = pd.DataFrame({f"target_{i}": missing for i in range(TARGETS)}, index=features.index)
    era = pd.DataFrame({"era": ["1200"] * ROWS}, index=features.index)
    pd.concat([era, features, targets], axis=1).to_parquet(path)


def _make_trivial(folder: Path) -> None:
    import cloudpickle  # noqa: PLC0415

    def model(number: int):
        def predict(live_features):
            column = live_features[f"feature_{number}"]
            return column.rank(pct=True, method="first").to_frame("prediction")

        return predict

    folder.mkdir(exist_ok=True)
    for number in range(TRIVIAL_COUNT):
        (folder / f"{number}.pkl").write_bytes(cloudpickle.dumps(model(number)))


def _make_watching(path: Path) -> None:
    import cloudpickle  # noqa: PLC0415

    def predict(live_features):
        answer = live_features["feature_0"].rank(pct=True, method="first").to_frame("prediction")
        with open("/proc/self/smaps_rollup") as file:
            print("".join(line for line in file if line.startswith("Private_")))
        return answer

    path.write_bytes(cloudpickle.dumps(predict))


def _make_forest(path: Path) -> None:
    import pickle  # noqa: PLC0415

    import cloudpickle  # noqa: PLC0415

    fitted = pickle.loads(trees.trained("20000").read_bytes())
    fitted.set_params(n_jobs=1)
    features = [f"feature_{i}" for i in range(trees.SMALL)]

    def predict(live_features):
        import pandas as pd  # noqa: PLC0415

        answer = fitted.predict(live_features[features])
        return pd.Series(answer, index=live_features.index).rank(pct=True).to_frame("prediction")

    path.write_bytes(cloudpickle.dumps(predict))


def main() -> None:
    """Create the file that the argument names, atomically."""
    make, path = {
        "live": (_make_live, LIVE),
        "trivial": (_make_trivial, TRIVIAL),
        "watching": (_make_watching, WATCHING),
        "forest": (_make_forest, FOREST),
    }[sys.argv[1]]
    partial = path.with_name(f"{path.name}{_PARTIAL}")
    make(partial)
    os.replace(partial, path)


if __name__ == "__main__":
    main()
