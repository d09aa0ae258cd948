"""Models for `predictd test`: ways to break that only a run can show, and good ones that must not be complained of.

`python trial_models.py FOLDER FEATURE ...` pickles them, with the Python of a runtime; each function `model_*` is a
model, pickled by value because this file runs as __main__. `BROKEN` says what is found.
"""

import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd

BROKEN = {
    "cumulates_over_rows": ("row order", "depends_on_row_order"),
    "smooths_over_neighbours": ("row order", "depends_on_row_order"),
    "remembers_other_eras": ("one era", "depends_on_other_eras"),
    "random_without_a_seed": ("repeat", "not_deterministic"),
    "returns_a_series": ("submission", "not_a_dataframe"),
    "extra_columns_first": ("submission", "not_numeric"),
    "index_dropped": ("submission", "unknown_ids"),
    "rows_dropped": ("submission", "missing_ids"),
    "nan": ("submission", "nan_predictions"),
    "out_of_range": ("submission", "out_of_range"),
    "era_as_a_number": ("submission", "exception"),
    "trained_feature_absent": ("submission", "exception"),
    "benchmark_of_another_version": ("submission", "exception"),
    "missing_module": ("submission", "import_error"),
    "too_slow": ("submission", "timeout"),
    "too_much_memory": ("submission", "out_of_memory"),
    "knows_live_only": ("eras", "exception"),
    "nan_in_eras_of_few_rows": ("eras", "nan_predictions"),
}
"""Topic and code of the finding that fails, by model."""

DOUBTFUL = {
    "blend_of_broken_ties": ("row order", "depends_on_row_order"),
    "slightly_random": ("repeat", "not_deterministic"),
    "one_feature": ("diagnostics", "one_feature"),
}
"""Topic and code of the finding that warns, by model."""

GOOD = (
    "lightgbm",
    "rank_by_era",
    "blend_with_benchmark",
    "neutralised",
    "seeded_noise",
    "shuffles_its_answer",
    "ties_in_the_order_of_rows",
)

FEATURES = sys.argv[2:]
TRAINED = {}


def ranked(values):
    return values.rank(pct=True).to_frame("prediction")


def mixed(live_features):
    """Values of a model without ties: each row from its own features."""
    weights = 1.0 + np.sqrt(np.arange(len(FEATURES)))
    return live_features[FEATURES].astype("float64") @ weights


def model_cumulates_over_rows(live_features):
    return ranked(mixed(live_features).cumsum())


def model_smooths_over_neighbours(live_features):
    return ranked(mixed(live_features).rolling(5, min_periods=1).mean())


CACHE = []


def model_remembers_other_eras(live_features):
    if not CACHE:
        CACHE.append(live_features[FEATURES].mean())
    return ranked(mixed((live_features[FEATURES] - CACHE[0]) ** 2))


def model_random_without_a_seed(live_features):
    return ranked(mixed(live_features) + 50 * np.random.default_rng().random(len(live_features)))


def model_order_of_a_set(live_features):
    weights = 1.0 + np.sqrt(np.arange(len(FEATURES)))
    return ranked(live_features[list(set(FEATURES))].astype("float64") @ weights)


def model_slightly_random(live_features):
    noise = np.random.default_rng().random(len(live_features))
    return (mixed(live_features).rank(pct=True) * 0.99 + 0.001 * noise).to_frame("prediction")


def model_returns_a_series(live_features):
    return mixed(live_features).rank(pct=True)


def model_extra_columns_first(live_features):
    return live_features.assign(prediction=mixed(live_features).rank(pct=True))


def model_index_dropped(live_features):
    return ranked(mixed(live_features)).reset_index(drop=True)


def model_rows_dropped(live_features):
    return ranked(mixed(live_features)).iloc[10:]


def model_nan(live_features):
    return ranked(mixed(live_features).where(live_features[FEATURES[0]] > 0))


def model_out_of_range(live_features):
    return mixed(live_features).to_frame("prediction")


def model_era_as_a_number(live_features):
    late = live_features["era"].astype(int) > 500
    return ranked(mixed(live_features) + late)


def model_second_default(live_features, proportion=0.5):
    return ranked(mixed(live_features) * proportion)


def model_trained_feature_absent(live_features):
    return ranked(live_features[[*FEATURES, "feature_of_version_four"]].sum(axis=1))


def model_benchmark_of_another_version(live_features, live_benchmark_models):
    return ranked(mixed(live_features) + live_benchmark_models["v4_lgbm_cyrus20"])


def model_missing_module(live_features):
    from my_features import engineered

    return ranked(engineered(live_features))


def model_too_slow(live_features):
    import time

    time.sleep(100)
    return ranked(mixed(live_features))


def model_too_much_memory(live_features):
    copies = [np.ones(2**24) for _ in range(64)]
    return ranked(mixed(live_features) * copies[0][0])


def model_knows_live_only(live_features):
    assert set(live_features["era"]) == {"X"}
    return ranked(mixed(live_features))


def model_nan_in_eras_of_few_rows(live_features):
    frame = ranked(mixed(live_features))
    return frame if len(live_features) >= 200 else frame.replace(frame.iloc[3, 0], np.nan)


def model_ties_in_the_order_of_rows(live_features):
    return live_features[FEATURES[:3]].sum(axis=1).rank(pct=True, method="first").to_frame("prediction")


def model_blend_of_broken_ties(live_features, live_benchmark_models):
    first = live_features[FEATURES[0]].rank(pct=True, method="first")
    benchmark = live_benchmark_models.iloc[:, -1].rank(pct=True)
    return (0.3 * first + 0.7 * benchmark).to_frame("prediction")


def model_looks_at_targets(live_features):
    assert live_features["target"].isna().all()
    return ranked(mixed(live_features))


def model_one_feature(live_features):
    return ranked(live_features[FEATURES[0]])


def model_lightgbm(live_features):
    return ranked(pd.Series(TRAINED["trees"].predict(live_features[FEATURES]), index=live_features.index))


def model_rank_by_era(live_features):
    values = mixed(live_features)
    return values.groupby(live_features["era"]).rank(pct=True).to_frame("prediction")


def model_blend_with_benchmark(live_features, live_benchmark_models):
    benchmark = live_benchmark_models.iloc[:, -1].rank(pct=True)
    return (0.7 * mixed(live_features).rank(pct=True) + 0.3 * benchmark).to_frame("prediction")


def model_neutralised(live_features):
    exposures = live_features[FEATURES[:5]].astype("float64").assign(constant=1.0).to_numpy()
    values = mixed(live_features).to_numpy()
    left = values - exposures @ np.linalg.lstsq(exposures, values, rcond=None)[0]
    return ranked(pd.Series(left, index=live_features.index))


def model_seeded_noise(live_features):
    noise = pd.Series(np.random.default_rng(7).random(len(live_features)), index=sorted(live_features.index))
    return ranked(mixed(live_features) + 3 * noise.reindex(live_features.index))


def model_shuffles_its_answer(live_features):
    return ranked(mixed(live_features)).sample(frac=1.0, random_state=3)


def main() -> None:
    import lightgbm  # the runtime has it, and not who reads the table

    values = np.random.default_rng(5).integers(0, 5, (2000, len(FEATURES)))
    columns = pd.DataFrame(values, columns=FEATURES).astype("int8")
    trees = lightgbm.LGBMRegressor(n_estimators=30, num_leaves=7, verbose=-1)
    TRAINED["trees"] = trees.fit(columns, values.sum(axis=1))
    for name, function in list(globals().items()):
        if name.startswith("model_"):
            path = Path(sys.argv[1]) / f"{name.removeprefix('model_')}.pkl"
            path.write_bytes(cloudpickle.dumps(function))


if __name__ == "__main__":
    main()
