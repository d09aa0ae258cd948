"""Writes pickles of models that fail for a cause: `python causes.py FOLDER`, with the Python of a core runtime."""

import pickle
import sys
from pathlib import Path

import catboost
import cloudpickle
import lightgbm
import numpy as np
import pandas as pd
import polars
import xgboost
from sklearn.linear_model import LinearRegression

TRAINED_ON = ["feature_a", "feature_b"]


class Recipe:
    def __call__(self, live):
        return live


def predict_main(live):
    return live


def _some_table(rows=40):
    features = pd.DataFrame(np.random.default_rng(0).integers(0, 5, (rows, 2)), columns=TRAINED_ON)
    return features, features.sum(axis=1)


FEATURES, TARGET = _some_table()
LINEAR = LinearRegression().fit(FEATURES, TARGET)
LIGHTGBM = lightgbm.LGBMRegressor(n_estimators=2, verbose=-1).fit(FEATURES, TARGET)
CATBOOST = catboost.CatBoostRegressor(iterations=2, verbose=0, allow_writing_files=False).fit(FEATURES, TARGET)
XGBOOST = xgboost.XGBRegressor(n_estimators=2).fit(FEATURES, TARGET)


# Values that are no DataFrame of predictions


def named_series(live):
    return live["feature_a"] / 4


def named_series_in_a_dataframe(live):
    return pd.DataFrame(live["feature_a"] / 4, index=live.index, columns=["prediction"])


def array(live):
    return live["feature_a"].to_numpy() / 4


def nothing(live):
    live["prediction"] = 0.5


def generator(live):
    yield live


async def coroutine(live):
    return live


def polars_frame(live):
    return polars.DataFrame({"prediction": live["feature_a"].to_numpy() / 4})


def id_second(live):
    return pd.DataFrame({"prediction": live["feature_a"].to_numpy() / 4, "id": live.index})


def id_second_twice(live):
    return pd.concat([id_second(live[:20]), id_second(live[20:])])


def id_first(live):
    return pd.DataFrame({"id": live.index, "prediction": live["feature_a"].to_numpy() / 4})


def era_first(live):
    return live[["era", "feature_a"]]


def era_and_id_first(live):
    return live[["era", "feature_a"]].reset_index()[["era", "id", "feature_a"]]


# Names and arguments that are gone


def appends(live):
    return live.append(live)


def fills(live):
    return live.fillna(method="ffill")


def applies(live):
    return live.applymap(str)


def old_numpy(live):
    return live.astype(np.float)


def old_nan(live):
    return live.fillna(np.NaN)


def old_index(live):
    return pd.Int64Index([1])


def old_scikit_learn(live):
    from sklearn.metrics import plot_confusion_matrix

    return plot_confusion_matrix


def unknown_scipy(live):
    import scipy.stats

    return scipy.stats.no_such_test(live)


# Columns


def one_feature(live):
    return live["feature_of_another_version"]


def features(live):
    return live[["feature_a", "feature_zz"]]


def feature_as_attribute(live):
    return live.feature_zz


def takes_the_target(live):
    return live["target_ender_20"]


def takes_the_id(live):
    return live["id"]


def unknown_column(live):
    return live["rank"]


def key_of_its_own(live):
    return {"feature_a": 1}["feature_zz"]


def polars_column(live):
    return polars.from_pandas(live[["feature_a"]]).select("feature_zz")


def linear(live):
    return LINEAR.predict(live[["feature_a"]])


def boosted_by_lightgbm(live):
    return LIGHTGBM.predict(live[["feature_a"]])


def boosted_by_xgboost(live):
    return XGBOOST.predict(live[["feature_a"]])


def boosted_by_catboost(live):
    return CATBOOST.predict(live[["feature_a"]])


def missing_values(live):
    table = live[["feature_a"]].astype("float64").assign(feature_b=np.nan)
    return LINEAR.predict(table)


# Values


def read_only(live):
    values = live["feature_a"].to_numpy()
    values[0] = 3
    return values


def read_only_frame(live):
    values = live[["feature_a"]].to_numpy()
    values -= 2
    return values


def to_integers(live):
    return live["feature_a"].where(live["feature_a"] > 2).astype("int8")


def repeated_labels(live):
    repeated = pd.concat([live, live])["feature_a"]
    return repeated.reindex(live.index)


# What is not there


def file_of_home(live):
    return pd.read_csv("/home/me/numerai/features.csv")


def booster_of_home(live):
    return lightgbm.Booster(model_file="model.txt")


def xgboost_of_home(live):
    booster = xgboost.Booster()
    booster.load_model("/home/me/model.json")
    return booster


def catboost_of_home(live):
    return catboost.CatBoostRegressor().load_model("/home/me/model.cbm")


def program(live):
    import subprocess

    subprocess.run(["program-of-home"], check=True)


def writes_beside(live):
    Path("/usr/cache.txt").write_text("")


def writes_much(live):
    with open("/tmp/cache", "wb") as file:
        for _ in range(80):
            file.write(bytes(1 << 20))


def undefined(live):
    return scale_of_another_cell * live  # noqa: F821


def endless(live):
    return endless(live)


def threads(live):
    import threading

    ends = threading.Event()
    try:
        for _ in range(4096):
            threading.Thread(target=ends.wait, daemon=True).start()
    finally:
        ends.set()


def bar(live):
    import tqdm

    return tqdm.tqdm(live)


def needs_torch(live):
    import torch

    return torch.tensor(live)


def needs_keras(live):
    import keras

    return keras


def needs_requests(live):
    import requests

    return requests


def old_python(live):
    import distutils.util

    return distutils.util


def of_the_index(live):
    import numerapi

    return numerapi


def takes_benchmarks(live, benchmarks):
    return live


class Liar(AttributeError):
    """An exception that raises in whatever is asked of it."""

    @property
    def name(self):
        raise SystemExit(3)

    obj = args = name


def raises_what_lies(live):
    raise Liar("module 'numpy' has no attribute 'float'")


def own_module(live):
    import my_features

    return my_features


MODELS = {
    name: thing
    for name, thing in list(globals().items())
    if getattr(thing, "__module__", None) == "__main__"
    and callable(thing)
    and name not in ("Liar", "Recipe", "SavedOnCuda", "predict_main")
    and name[0] != "_"
}


_TORCH_SAYS = (
    "Attempting to deserialize object on a CUDA device but torch.cuda.is_available() is False. If you are running on a "
    "CPU-only machine, please use torch.load with map_location=torch.device('cpu') to map your storages to the CPU."
)


class SavedOnCuda:
    """Calls a function in the place of torch.serialization, which no core runtime has, that raises what torch does."""

    def __reduce__(self):
        scope = {"__name__": "torch.serialization", "SAYS": _TORCH_SAYS}
        exec("def _validate_device(location):\n    raise RuntimeError(SAYS)", scope)
        return scope["_validate_device"], ("cuda:0",)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name, model in MODELS.items():
        (folder / f"{name}.pkl").write_bytes(cloudpickle.dumps(model))
    (folder / "saved_on_cuda.pkl").write_bytes(cloudpickle.dumps(SavedOnCuda()))
    # The mistake of `pickle.dump` in a script: its functions and classes are stored by their names.
    (folder / "plain_function.pkl").write_bytes(pickle.dumps(predict_main))
    (folder / "plain_object.pkl").write_bytes(pickle.dumps(Recipe()))
    (folder / "stored_outside.pkl").write_bytes(b"\x80\x02X\x01\x00\x00\x00aQ.")
    print(pd.__version__, np.__version__)
