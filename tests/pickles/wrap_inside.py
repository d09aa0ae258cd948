"""Runs inside a runtime: `python wrap_inside.py wrap FOLDER` wraps models and prints which cases failed, as JSON.

`python wrap_inside.py load FOLDER`, without predictd in reach, loads what was saved and compares its answers.
"""

import functools
import importlib
import importlib.util
import json
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

warnings.filterwarnings("ignore")
ROWS = 240
random = np.random.default_rng(5)
features = [f"feature_{kind}_garnet_{number}" for number in range(6) for kind in ("ashen", "lucid")]
index = pd.Index([f"n{number:07x}" for number in range(ROWS)], name="id")
live = pd.DataFrame(random.integers(0, 5, (ROWS, 12)).astype("int8"), columns=features, index=index)
live = live.assign(era=np.where(np.arange(ROWS) % 3, "1200", "1201"), data_type="live")
X = live[features].reset_index(drop=True)
y = X.iloc[:, 0] / 16 + X.iloc[:, 1] * X.iloc[:, 2] / 64 + random.random(ROWS) / 2
five = (y * 4).round().clip(0, 4).astype(int)
benchmarks = pd.DataFrame({"era": live["era"], "v53_lgbm": random.random(ROWS)}, index=index)[::-1]
folder = Path(sys.argv[2])


def ranks(values: Any, ties: str = "average") -> pd.Series:
    return pd.Series(np.asarray(values, dtype=float), index=index).groupby(live["era"]).rank(pct=True, method=ties)


def same(found: pd.DataFrame, expected: pd.Series) -> None:
    assert list(found.columns) == ["prediction"]
    assert found.index.equals(index)
    assert found["prediction"].dtype == np.float64
    assert found["prediction"].between(0, 1).all()
    np.testing.assert_allclose(found["prediction"], expected, rtol=0, atol=1e-12)


def keep(wrapped: Any, name: str) -> None:
    """The file, and what it is to answer in another process."""
    wrapped.save(folder / f"{name}.pkl")
    np.save(folder / f"{name}.npy", wrapped(live, benchmarks)["prediction"].to_numpy())


def refused(call: Callable[[], Any], *words: str) -> None:
    from predictd.domain.errors import InvalidInputError

    message = "it was taken"
    try:
        call()
    except InvalidInputError as error:
        message = error.message
    assert all(word in message for word in words), message


@functools.cache
def trees() -> dict[str, Any]:
    import catboost
    import lightgbm
    import xgboost

    return {
        "lightgbm": lightgbm.LGBMRegressor(n_estimators=8, n_jobs=1, verbose=-1).fit(X, y),
        "lightgbm_booster": lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(X, y), 8),
        "xgboost": xgboost.XGBRegressor(n_estimators=8, n_jobs=1).fit(X, y),
        "catboost": catboost.CatBoostRegressor(
            iterations=8, thread_count=1, silent=True, allow_writing_files=False
        ).fit(X, y),
    }


def case_models_of_every_library() -> None:
    import predictd

    for name, model in trees().items():
        wrapped = predictd.wrap(model)
        same(wrapped(live[["data_type", *features[::-1], "era"]]), ranks(model.predict(X)))
        keep(wrapped, f"{name}")


def case_boosters_of_xgboost() -> None:
    import xgboost

    import predictd

    booster = xgboost.train({"max_depth": 3}, xgboost.DMatrix(X, y), 8)
    wrapped = predictd.wrap(booster, features=features)
    same(wrapped(live), ranks(booster.predict(xgboost.DMatrix(X))))
    keep(wrapped, "xgboost_booster")


def case_classifiers_give_the_expected_class() -> None:
    from lightgbm import LGBMClassifier

    import predictd

    model = LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(X, five)
    same(predictd.wrap(model)(live), ranks(model.predict_proba(X) @ model.classes_))
    words = LGBMClassifier(n_estimators=5, n_jobs=1, verbose=-1).fit(X, np.where(y > 0.5, "high", "low"))
    refused(lambda: predictd.wrap(words), "are not numbers", "(high, low)")


def case_ensembles_weigh_the_ranks() -> None:
    import predictd

    first, second, third = list(trees().values())[:3]
    expected = (2 * ranks(first.predict(X)) + ranks(second.predict(X)) + ranks(third.predict(X))) / 4
    wrapped = predictd.wrap({"best": (first, 2), "second": second, "third": third}, ties="first")
    same(wrapped(live), ranks(expected, "first"))
    mean = predictd.wrap([(first, 3), second], rank=False)
    same(mean(live), pd.Series((3 * first.predict(X) + second.predict(X)) / 4, index=index).clip(0, 1))
    keep(wrapped, "ensemble")


def case_neutralised_as_the_public_tools_do() -> None:
    from numerai_tools.scoring import neutralize

    import predictd

    model = trees()["lightgbm"]
    wrapped = predictd.wrap(model, neutralize=features[:4], proportion=0.6, rank=True)
    own = ranks(model.predict(X)).to_frame("p")
    parts = [
        neutralize(own[live["era"] == era], live.loc[live["era"] == era, features[:4]].astype(float), proportion=0.6)
        for era in ("1200", "1201")
    ]
    same(wrapped(live), ranks(pd.concat(parts)["p"].loc[index]))
    keep(wrapped, "neutralised")


def case_blended_with_a_benchmark_by_its_index() -> None:
    import predictd

    model = trees()["lightgbm"]
    wrapped = predictd.wrap(model, benchmark="v53_lgbm", benchmark_weight=0.25, clip=(0.02, 0.98), data_version="v5.3")
    expected = 0.75 * ranks(model.predict(X)) + 0.25 * ranks(benchmarks["v53_lgbm"].loc[index])
    same(wrapped(live, benchmarks), ranks(expected).clip(0.02, 0.98))
    assert wrapped.manifest["needs"]["benchmarks"] == ["v53_lgbm"]
    assert wrapped.manifest["data_version"] == "v5.3"
    keep(wrapped, "blended")


def case_imputation_and_scaling_are_kept() -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    import predictd

    gaps = X.astype(float).mask(random.random(X.shape) < 0.1)
    pipeline = make_pipeline(SimpleImputer(), StandardScaler(), Ridge()).fit(gaps, y)
    imputer, scaler, ridge = (step for _, step in pipeline.steps)
    holes = live.assign(**{name: np.where(gaps[name].isna(), np.nan, live[name]) for name in features})
    expected = ranks(pipeline.predict(gaps))
    by_parts = predictd.wrap(ridge, features=features, impute=imputer, scale=scaler)
    same(by_parts(holes), expected)
    fill = dict(zip(features, imputer.statistics_, strict=True))
    by_numbers = predictd.wrap(ridge, features=features, impute=fill, scale=(scaler.mean_, scaler.scale_))
    same(by_numbers(holes), expected)
    same(predictd.wrap(pipeline)(holes), expected)
    same(predictd.wrap(pipeline, export="numpy")(holes), expected)
    keep(by_numbers, "scaled")


def case_linear_models_and_mlps_become_arrays() -> None:
    from sklearn.linear_model import ElasticNet, LinearRegression, LogisticRegression
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    import predictd

    few = {"hidden_layer_sizes": (8, 4), "max_iter": 30}
    models = [
        LinearRegression().fit(X, y),
        make_pipeline(MinMaxScaler(), ElasticNet(alpha=0.01)).fit(X, y),
        *(make_pipeline(StandardScaler(), MLPRegressor(activation=one, **few)).fit(X, y) for one in ("relu", "tanh")),
        MLPRegressor(activation="logistic", **few).fit(X, y),
        MLPClassifier(**few).fit(X, five),
        MLPClassifier(**few).fit(X, (y > 0.5).astype(int)),
        LogisticRegression(max_iter=300).fit(X, five),
        LogisticRegression(max_iter=300).fit(X, (y > 0.5).astype(int)),
    ]
    for number, model in enumerate(models):
        exact = predictd.wrap(model, rank=False)(live)["prediction"]
        wrapped = predictd.wrap(model, export="numpy", rank=False)
        same(wrapped(live), exact)
        assert "scikit-learn" not in wrapped.manifest["packages"]
        keep(wrapped, f"arrays_{number}")


def case_what_has_no_arrays_is_refused() -> None:
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import QuantileTransformer

    import predictd

    refused(lambda: predictd.wrap(trees()["lightgbm"], export="numpy"), "lightgbm.LGBMRegressor", "Leave export out")
    refused(lambda: predictd.wrap(KernelRidge().fit(X, y), export="numpy"), "sklearn.KernelRidge", "not a linear model")
    odd = make_pipeline(QuantileTransformer(n_quantiles=9), KernelRidge()).fit(X, y)
    refused(lambda: predictd.wrap(odd, export="numpy"), "The step sklearn.QuantileTransformer")


def case_own_modules_are_carried() -> None:
    import predictd

    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").write_text("from my_package.inner import Model\n")
    (folder / "my_package" / "inner.py").write_text(
        "import numpy as np\nPOWER = 2\nclass Model:\n    def predict(self, frame):\n"
        "        return np.asarray(frame).sum(axis=1) ** POWER\n"
    )
    (folder / "late.py").write_text(
        "def late(frame):\n    import my_package\n    return my_package.Model().predict(frame)\n"
    )
    sys.path.insert(0, str(folder))
    mine = importlib.import_module("my_package")
    wrapped = predictd.wrap(mine.Model(), features=features)
    assert wrapped.modules_by_value == ("my_package.inner",)
    assert "containing my_package.inner" in repr(wrapped)
    same(wrapped(live), ranks(X.sum(axis=1)))
    keep(wrapped, "own")
    late = importlib.import_module("late").late
    refused(lambda: predictd.wrap(late, features=features), "late imports your module my_package", "at the top")


def two_targets() -> Any:
    return np.column_stack([y, 1 - y * y])


def case_early_stopping_predicts_the_best_round() -> None:
    import catboost
    import lightgbm
    import xgboost
    from sklearn.ensemble import HistGradientBoostingRegressor

    import predictd

    train, test, noise = slice(0, 120), slice(120, None), random.random(ROWS)
    matrices = [xgboost.DMatrix(X[part], noise[part]) for part in (train, test)]
    options = {"eta": 0.5, "nthread": 1, "num_parallel_tree": 2}
    booster = xgboost.train(options, matrices[0], 60, [(matrices[1], "e")], early_stopping_rounds=9, verbose_eval=False)
    assert booster.best_iteration + 1 < booster.num_boosted_rounds()
    everything = xgboost.DMatrix(X)
    best = booster.predict(everything, iteration_range=(0, booster.best_iteration + 1))
    assert not np.allclose(best, booster.predict(everything))
    wrapped = predictd.wrap(booster, rank=False, clip=(0, 1))
    same(wrapped(live), pd.Series(best.astype(float), index=index).clip(0, 1))
    keep(wrapped, "xgboost_stopped")
    linear = xgboost.train({"booster": "gblinear"}, matrices[0], 30, [(matrices[1], "e")], early_stopping_rounds=2)
    same(predictd.wrap(linear)(live), ranks(linear.predict(everything)))

    sets = [lightgbm.Dataset(X[part], noise[part]) for part in (train, test)]
    stop = [lightgbm.early_stopping(5, verbose=False)]
    gbm = lightgbm.train({"verbose": -1, "learning_rate": 0.5}, sets[0], 60, valid_sets=[sets[1]], callbacks=stop)
    assert 0 < gbm.best_iteration < 60
    whole = lightgbm.train(
        {"verbose": -1}, sets[0], 60, valid_sets=[sets[1]], callbacks=stop, keep_training_booster=True
    )
    assert 0 < whole.best_iteration < whole.current_iteration()
    many = {"n_estimators": 60, "learning_rate": 0.5, "n_jobs": 1}
    models = {
        "lightgbm_stopped": gbm,
        "lightgbm_whole": whole,
        "lgbm_stopped": lightgbm.LGBMRegressor(**many, verbose=-1).fit(
            X[train], noise[train], eval_set=[(X[test], noise[test])], callbacks=stop
        ),
        "xgb_stopped": xgboost.XGBRegressor(**many, early_stopping_rounds=5).fit(
            X[train], noise[train], eval_set=[(X[test], noise[test])], verbose=False
        ),
        "catboost_stopped": catboost.CatBoostRegressor(
            iterations=60, learning_rate=0.5, thread_count=1, silent=True, allow_writing_files=False
        ).fit(X[train], noise[train], eval_set=(X[test], noise[test]), early_stopping_rounds=5),
        "sklearn_stopped": HistGradientBoostingRegressor(early_stopping=True).fit(X, noise),
    }
    for name, model in models.items():
        wrapped = predictd.wrap(model)
        same(wrapped(live), ranks(model.predict(X)))
        keep(wrapped, name)


def case_one_of_several_outputs_is_chosen() -> None:
    import catboost
    import lightgbm
    import xgboost
    from sklearn.ensemble import ExtraTreesClassifier, RandomForestRegressor
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    import predictd

    both, classes = two_targets(), np.column_stack([five, 4 - five])
    small = {"n_estimators": 4, "n_jobs": 1}
    models = {
        "forest": RandomForestRegressor(**small).fit(X, both),
        "ridge": Ridge().fit(X, both),
        "network": MLPRegressor(hidden_layer_sizes=(4,), max_iter=20).fit(X, both),
        "pipeline": make_pipeline(StandardScaler(), Ridge()).fit(X, both),
        "search": GridSearchCV(Ridge(), {"alpha": [1, 2]}, cv=2).fit(X, both),
        "multi": MultiOutputRegressor(lightgbm.LGBMRegressor(**small, verbose=-1)).fit(X, both),
        "xgboost": xgboost.XGBRegressor(**small).fit(X, both),
        "catboost": catboost.CatBoostRegressor(
            iterations=4, loss_function="MultiRMSE", thread_count=1, silent=True, allow_writing_files=False
        ).fit(X, both),
    }
    for name, model in models.items():
        refused(lambda one=model: predictd.wrap(one), "predicts 2 outputs for each row", "output=0 to output=1")
        refused(lambda one=model: predictd.wrap(one, output=2), "2 is not one of them")
        wrapped = predictd.wrap(model, output=1, rank=False)
        same(wrapped(live), pd.Series(model.predict(X)[:, 1].astype(float), index=index).clip(0, 1))
        if name in ("forest", "catboost"):
            keep(wrapped, f"second_of_{name}")
        if name in ("ridge", "network", "pipeline"):
            refused(lambda one=model: predictd.wrap(one, export="numpy"), "predicts 2 outputs for each row")
            np.testing.assert_allclose(
                predictd.wrap(model, export="numpy", output=1, rank=False)(live), wrapped(live), atol=1e-12
            )
    soft = {"objective": "multiclass", "num_class": 5, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(soft, lightgbm.Dataset(X, five), 3)
    refused(lambda: predictd.wrap(booster), "predicts 5 outputs", "output=0 to output=4")
    same(predictd.wrap(booster, output=4)(live), ranks(booster.predict(X)[:, 4]))
    softprob = xgboost.train({"objective": "multi:softprob", "num_class": 5}, xgboost.DMatrix(X, five), 3)
    refused(lambda: predictd.wrap(softprob), "predicts 5 outputs")
    forest = ExtraTreesClassifier(**small).fit(X, classes)
    refused(lambda: predictd.wrap(forest), "predicts 2 outputs")
    expected = forest.predict_proba(X)[1] @ forest.classes_[1]
    same(predictd.wrap(forest, output=1)(live), ranks(expected))
    several = MultiOutputClassifier(ExtraTreesClassifier(**small)).fit(X, classes)
    refused(lambda: predictd.wrap(several), "predicts 2 outputs")
    labels = MLPClassifier(hidden_layer_sizes=(4,), max_iter=20).fit(X, (both > 0.6).astype(int))
    refused(lambda: predictd.wrap(labels), "2 labels that do not exclude each other")
    refused(lambda: predictd.wrap(labels, export="numpy"), "2 labels that do not exclude each other")
    refused(lambda: predictd.wrap([models["forest"], trees()["lightgbm"]]), "'model 1' predicts 2 outputs")
    refused(lambda: predictd.wrap(trees()["lightgbm"], output=1), "one value for each row")
    mixed = predictd.wrap([models["forest"], trees()["lightgbm"]], output=0, rank=False)
    mean = (models["forest"].predict(X)[:, 0] + trees()["lightgbm"].predict(X)) / 2
    same(mixed(live), pd.Series(mean, index=index).clip(0, 1))
    two = predictd.wrap(lambda frame: frame[features[:2]], features=features)
    message = ""
    try:
        two(live)
    except ValueError as error:
        message = str(error)
    assert "predicts 2 outputs for each row ('feature_ashen_garnet_0', 'feature_lucid_garnet_0')" in message
    named = predictd.wrap(lambda frame: frame[features[:2]], features=features, output=features[1])
    same(named(live), ranks(X[features[1]]))


def case_functions_get_what_they_ask_for() -> None:
    import predictd

    same(predictd.wrap(lambda frame: frame[features[0]], features=features)(live), ranks(X[features[0]]))
    both = predictd.wrap(lambda frame, benchmark_models: benchmark_models["v53_lgbm"])
    same(both(live, benchmarks), ranks(benchmarks["v53_lgbm"].loc[index]))
    refused(lambda: predictd.wrap(lambda a, b, c: a), "must take the features", "(a, b, c)")


def case_mistakes_are_told() -> None:
    from sklearn.linear_model import Ridge

    import predictd

    model = trees()["lightgbm"]
    refused(lambda: predictd.wrap(model, features=features[::-1]), "in another order")
    refused(lambda: predictd.wrap(model, features=features[:5]), "5 names", "a different set of 12")
    refused(lambda: predictd.wrap(Ridge(), features=features), "sklearn.Ridge is not fitted")
    refused(
        lambda: predictd.wrap(Ridge().fit(X.to_numpy(), y), features=features[:5]), "fails on 40 rows", "5 features"
    )
    refused(lambda: predictd.wrap(Ridge().fit(X.to_numpy(), y)), "does not store the names of its features")
    refused(lambda: predictd.wrap([]), "empty")
    refused(lambda: predictd.wrap({"model": 3}), "neither a fitted model nor a function")
    refused(lambda: predictd.wrap(model, clip=(0.5, 2)), "within 0 to 1")
    refused(lambda: predictd.wrap(model, proportion=3), "proportion is 3")
    refused(lambda: predictd.wrap(model, impute={features[0]: 1}), "no value for 11 features")
    file = open(__file__, "rb")  # noqa: SIM115
    refused(lambda: predictd.wrap(lambda frame: file), "can't be pickled")
    message = ""
    try:
        predictd.wrap(model)(live[features[1:]])
    except KeyError as error:
        message = str(error)
    assert "1 of 12 features are not in the live features" in message


def load() -> dict[str, str]:
    """Each file that was saved answers here as it did there."""
    assert importlib.util.find_spec("predictd") is None
    assert importlib.util.find_spec("my_package") is None
    failures = {}
    for path in sorted(folder.glob("*.pkl")):
        try:
            model = pickle.loads(path.read_bytes())
            arguments = [live, benchmarks][: 2 if path.stem == "blended" else 1]
            np.testing.assert_array_equal(model(*arguments)["prediction"], np.load(path.with_suffix(".npy")))
        except Exception:  # noqa: BLE001
            failures[path.stem] = traceback.format_exc()
    return failures


def wrap() -> dict[str, str]:
    failures = {}
    for name, case in list(globals().items()):
        if name.startswith("case_"):
            try:
                case()
            except Exception:  # noqa: BLE001
                failures[name] = traceback.format_exc()
    return failures


if __name__ == "__main__":
    print(json.dumps(wrap() if sys.argv[1] == "wrap" else load()))
