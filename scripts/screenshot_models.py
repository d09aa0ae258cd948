"""Train some small models and pickle them: `python screenshot_models.py DATA FOLDER`, in the default runtime's Python.

They differ in what they learn from and how much, so that there is something to compare. One of them prints as it goes,
one is broken.
"""

import json
import sys
from pathlib import Path

import cloudpickle
import lightgbm
import pandas as pd

DATA, FOLDER = Path(sys.argv[1]), Path(sys.argv[2])
NAMES = ("ridgeline", "quartz", "monsoon", "larkspur", "basalt", "ember", "tundra", "saffron", "osprey")
features = json.loads((DATA / "features.json").read_text())["feature_sets"]["small"]
train = pd.read_parquet(DATA / "train.parquet", columns=["target", *features])


def make_predict(model, used, talks):
    def predict(live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame) -> pd.DataFrame:
        if talks:
            print(f"{len(live_features)} rows of {live_features.shape[1]} columns, of which {len(used)} are used")
            for number, name in enumerate(used, start=1):
                print(f"{number:3} {name:60} mean {live_features[name].mean():.3f}")
        values = pd.Series(model.predict(live_features[used]), index=live_features.index)
        return values.rank(pct=True, method="first").to_frame("prediction")

    return predict


def broken(live_features: pd.DataFrame) -> pd.DataFrame:
    ranks = live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")
    ranks.iloc[3:8] = float("nan")
    return ranks


for number, name in enumerate(NAMES):
    used = features[number::4] if number % 3 else features
    rows = train.sample(frac=0.4 + 0.06 * number, random_state=number)
    fitted = lightgbm.LGBMRegressor(n_estimators=20 + 25 * number, num_leaves=7 + 2 * number, verbosity=-1, n_jobs=1)
    fitted.fit(rows[used], rows["target"])
    (FOLDER / f"{name}.pkl").write_bytes(cloudpickle.dumps(make_predict(fitted, used, name == "quartz")))
(FOLDER / "broken.pkl").write_bytes(cloudpickle.dumps(broken))
