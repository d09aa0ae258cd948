"""Pickles as users make them that are all right: `python good.py FOLDER` makes them, with the Python of a runtime."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle

MAKERS: dict[str, Callable[[], Any]] = {}


def _making(function: Callable[[], Any]) -> Callable[[], Any]:
    MAKERS[function.__name__.removeprefix("make_")] = function
    return function


def _data() -> tuple[Any, Any, list[str]]:
    """Some rows to train on, with the features that the data of the tests has."""
    import numpy as np
    import pandas as pd

    features = os.environ["FEATURES"].split(",")
    random = np.random.default_rng(1)
    rows = pd.DataFrame(random.integers(0, 5, (300, len(features))).astype("int8"), columns=features)
    return rows, rows.iloc[:, 0] / 8 + random.random(300) / 2, features


@_making
def make_function() -> Any:
    import pandas as pd

    features = _data()[2]

    def predict(live_features: "pd.DataFrame", live_benchmark_models: "pd.DataFrame") -> "pd.DataFrame":
        """Rank the mean; see /home/alice/notes.txt for why."""
        ranks = live_features[features].mean(axis=1).rank(pct=True, method="first")
        return pd.DataFrame({"prediction": ranks}, index=live_features.index)

    return predict


@_making
def make_one_lambda() -> Any:
    return lambda live_features: live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")


@_making
def make_instance_with_call() -> Any:
    class Base:
        def __call__(self, live_features, live_benchmark_models=None):
            return self.ranked(live_features).to_frame("prediction")

    class Model(Base):
        def ranked(self, live_features):
            return live_features[live_features.columns[5]].rank(pct=True, method="first")

        def fit(self):
            import pandas as pd

            return pd.read_parquet("/home/alice/train.parquet")

    return Model()


@_making
def make_bound_method() -> Any:
    class Model:
        def predict(self, live_features):
            return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")

    return Model().predict


@_making
def make_partial() -> Any:
    def predict(column, power, live_features, live_benchmark_models):
        return (live_features.iloc[:, column].rank(pct=True, method="first") ** power).to_frame("prediction")

    return functools.partial(predict, 5, 2)


@_making
def make_lightgbm() -> Any:
    from lightgbm import LGBMRegressor

    rows, target, features = _data()
    return _usual(LGBMRegressor(n_estimators=5, verbose=-1).fit(rows, target), features)


@_making
def make_lightgbm_booster() -> Any:
    import lightgbm

    rows, target, features = _data()
    return _usual(lightgbm.train({"verbose": -1}, lightgbm.Dataset(rows, target), 5), features)


@_making
def make_xgboost() -> Any:
    from xgboost import XGBRegressor

    rows, target, features = _data()
    return _usual(XGBRegressor(n_estimators=5).fit(rows, target), features)


@_making
def make_catboost() -> Any:
    from catboost import CatBoostRegressor

    rows, target, features = _data()
    model = CatBoostRegressor(iterations=5, silent=True, allow_writing_files=False)
    return _usual(model.fit(rows, target), features)


@_making
def make_sklearn_pipeline() -> Any:
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    rows, target, features = _data()
    both = make_union(StandardScaler(), FunctionTransformer(lambda values: values**2))
    first = make_pipeline(SimpleImputer(), both, Ridge()).fit(rows, target)
    second = ExtraTreesRegressor(n_estimators=5).fit(rows, target)

    def predict(live_features):
        values = first.predict(live_features[features]) + second.predict(live_features[features])
        return live_features.assign(prediction=values)[["prediction"]].rank(pct=True, method="first")

    return predict


def _usual(model: Any, features: list[str]) -> Any:
    def predict(live_features, live_benchmark_models):
        values = model.predict(live_features[features])
        return live_features.assign(prediction=values)[["prediction"]].rank(pct=True, method="first")

    return predict


@_making
def make_module_by_value() -> Any:
    import my_features

    cloudpickle.register_pickle_by_value(my_features)

    def predict(live_features):
        return my_features.ranked(live_features.iloc[:, 5]).to_frame("prediction")

    return predict


@_making
def make_numpy_only() -> Any:
    import numpy as np
    import pandas as pd

    weights = np.random.default_rng(1).normal(size=20)

    def predict(live_features, live_benchmark_models):
        features = [name for name in live_features.columns if name.startswith("feature_")][: len(weights)]
        values = np.tanh(live_features[features].to_numpy(dtype="float64") @ weights)
        order = np.argsort(np.argsort(values))
        return pd.DataFrame((order + 0.5) / len(order), index=live_features.index, columns=["prediction"])

    return predict


@_making
def make_per_era_with_benchmark() -> Any:
    def predict(live_features, live_benchmark_models):
        own = live_features.iloc[:, 5].groupby(live_features["era"], observed=True).rank(pct=True, method="first")
        benchmark = live_benchmark_models.drop(columns="era", errors="ignore").iloc[:, 0]
        return (0.7 * own + 0.3 * benchmark.reindex(own.index).rank(pct=True)).to_frame("prediction")

    return predict


@_making
def make_guarded_import() -> Any:
    def predict(live_features):
        try:
            import a_faster_rank
        except ImportError:
            a_faster_rank = None
        column = live_features.iloc[:, 5]
        ranks = column.rank(pct=True, method="first") if a_faster_rank is None else a_faster_rank.rank(column)
        return ranks.to_frame("prediction")

    return predict


@_making
def make_decorated() -> Any:
    import logging
    import time

    log = logging.getLogger("my.model")

    def timed(function):
        @functools.wraps(function)
        def inner(*args, **kwargs):
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                log.info("took %.3f s", time.perf_counter() - started)

        return inner

    @timed
    def predict(live_features, live_benchmark_models):
        return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")

    return predict


@_making
def make_defaults() -> Any:
    def predict(live_features, live_benchmark_models=None):
        return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")

    return predict


@_making
def make_nested_functions_with_closures() -> Any:
    import scipy.stats as stats

    def ranker(method):
        def ranked(column):
            return stats.rankdata(column, method=method) / len(column)

        return ranked

    ranked = ranker("ordinal")

    def chosen(columns):
        return {name: ranked(columns[name]) for name in columns if name.startswith("feature_")}

    def predict(live_features):
        import pandas as pd

        ranks = chosen(live_features[live_features.columns[5:8]])
        return pd.DataFrame(ranks, index=live_features.index).iloc[:, :1]

    return predict


@_making
def make_columns_of_its_own() -> Any:
    def predict(live_features, live_benchmark_models):
        requests = [live_features.shape]
        requests.append(live_benchmark_models.shape)
        live_features["my_mean"] = live_features.iloc[:, 5:8].mean(axis=1)
        joined = live_features.join(live_benchmark_models.iloc[:, -1].rename("theirs"))
        live_benchmark_models = joined.assign(both=joined["my_mean"] + joined["theirs"])
        values = live_benchmark_models["both"] + live_features["my_mean"]
        return values.rank(pct=True, method="first").to_frame("prediction")

    return predict


def write(folder: Path, names: "list[str] | None" = None) -> None:
    """Make the files NAME.pkl."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    Path("my_features.py").write_text("def ranked(column):\n    return column.rank(pct=True, method='first')\n")
    sys.path.insert(0, str(folder))
    for name, make in MAKERS.items():
        if names is None or name in names:
            Path(f"{name}.pkl").write_bytes(cloudpickle.dumps(make()))


if __name__ == "__main__":
    write(Path(sys.argv[1]).absolute(), sys.argv[2:] or None)
