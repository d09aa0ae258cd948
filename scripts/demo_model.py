"""Train the demo's model and pickle it: `python demo_model.py FOLDER PICKLE`, in the default runtime's Python.

The shape of the pickle is that of Numerai's public notebook: predict with the model and the feature list as globals.
"""

import json
import sys
from pathlib import Path

import cloudpickle
import lightgbm as lgb
import pandas as pd
from numerai_tools.scoring import numerai_corr

folder, target = Path(sys.argv[1]) / "v5.3", Path(sys.argv[2])
features = json.loads((folder / "features.json").read_text())["feature_sets"]["small"]
train = pd.read_parquet(folder / "train.parquet", columns=["era", "target", *features])
model = lgb.LGBMRegressor(
    n_estimators=500, learning_rate=0.02, max_depth=5, num_leaves=31, colsample_bytree=0.1, verbosity=-1
)
model.fit(train[features], train["target"])

validation = pd.read_parquet(folder / "validation.parquet", columns=["era", "target", *features])
validation["prediction"] = model.predict(validation[features])
scores = validation.groupby("era").apply(lambda era: numerai_corr(era[["prediction"]], era["target"])["prediction"])
print(f"{len(train)} training rows, {len(features)} features; mean validation correlation {scores.mean():.4f}")


def predict(live_features: pd.DataFrame, live_benchmark_models: pd.DataFrame) -> pd.DataFrame:
    """The live predictions: ranks within 0 to 1."""
    live_predictions = model.predict(live_features[features])
    submission = pd.Series(live_predictions, index=live_features.index)
    return submission.rank(pct=True, method="first").to_frame("prediction")


target.write_bytes(cloudpickle.dumps(predict))
print(f"wrote {target} ({target.stat().st_size} bytes)")
