"""Each way in which users break their pickles: how it is made, what `predictd check` says of it, and what a run does.

`BROKEN` is the table. `python broken.py FOLDER` makes the files, with the Python of a runtime; what it defines goes by
value, because it runs as __main__.
"""

import gzip
import io
import os
import pickle
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle

MAKERS: dict[str, Callable[[], Any]] = {}
LARGE = 3_000_000


@dataclass(frozen=True)
class Broken:
    """A broken pickle: the code that `check` gives it without running it, and the code that its run ends with.

    None where there is none: only a run can show it, or it runs all the same.
    """

    name: str
    check: str | None
    run: str | None


def _making(function: Callable[[], Any]) -> Callable[[], Any]:
    MAKERS[function.__name__.removeprefix("make_")] = function
    return function


BROKEN = [
    # CallResult by a Python that the runtime is not; the tests have the interpreters make it.
    Broken("another_python", "python_mismatch", "python_mismatch"),
    Broken("class_of_an_own_module", "local_module", "import_error"),
    Broken("own_module_in_a_helper", "import_error", "import_error"),
    Broken("pickled_by_name", "local_module", "unpickle_error"),
    Broken("module_of_a_notebook", "import_error", "import_error"),
    Broken("torch_in_core", "import_error", "import_error"),
    Broken("returns_a_series", "not_a_dataframe", "not_a_dataframe"),
    Broken("returns_an_array", "not_a_dataframe", "not_a_dataframe"),
    Broken("returns_a_column", "not_a_dataframe", "not_a_dataframe"),
    Broken("returns_what_a_model_predicts", "not_a_dataframe", "not_a_dataframe"),
    Broken("returns_arrays_on_both_ways", "not_a_dataframe", "not_a_dataframe"),
    Broken("returns_nothing", "not_a_dataframe", "not_a_dataframe"),
    Broken("generator", "not_a_dataframe", "not_a_dataframe"),
    Broken("coroutine", "not_a_dataframe", "not_a_dataframe"),
    Broken("never_returns", "exception", "exception"),
    Broken("import_that_is_handled_by_the_same", "import_error", "import_error"),
    Broken("path_object", "absolute_path", "exception"),
    Broken("extra_columns", None, "not_numeric"),
    Broken("dropped_index", None, "unknown_ids"),
    Broken("benchmark_misaligned", None, "missing_ids"),
    Broken("joined_with_benchmarks_twice", None, "duplicate_ids"),
    Broken("column_that_live_lacks", "missing_columns", "exception"),
    Broken("era_of_the_benchmarks", "missing_columns", "exception"),
    Broken("feature_that_is_gone", "unknown_features", "exception"),
    Broken("gpu_tensor", "gpu_tensor", "import_error"),
    Broken("open_file", "open_file", "exception"),
    Broken("training_frame", "large_capture", None),
    Broken("keyword_only", "bad_signature", "bad_signature"),
    Broken("three_arguments", "bad_signature", "bad_signature"),
    Broken("second_default", "unexpected_default", None),
    Broken("no_arguments", "bad_signature", "bad_signature"),
    Broken("absolute_path", "absolute_path", "exception"),
    Broken("relative_path", "reads_files", "exception"),
    Broken("network", "network_access", "network_access"),
    Broken("process", "starts_processes", "exception"),
    Broken("joblib_file", "not_a_pickle", "not_a_pickle"),
    Broken("compressed_joblib_file", "not_a_pickle", "not_a_pickle"),
    Broken("gzip_file", "not_a_pickle", "not_a_pickle"),
    Broken("torch_file", "not_a_pickle", "not_a_pickle"),
    Broken("csv_file", "not_a_pickle", "not_a_pickle"),
    Broken("git_lfs_pointer", "not_a_pickle", "not_a_pickle"),
    Broken("empty_file", "not_a_pickle", "not_a_pickle"),
    Broken("truncated", "truncated_pickle", "truncated_pickle"),
    Broken("older_scikit_learn", "package_mismatch", None),
    Broken("instance_without_call", "not_callable", "not_callable"),
    Broken("dict_of_models", "not_callable", "not_callable"),
    Broken("model_itself", "not_callable", "not_callable"),
    Broken("nan_predictions", None, "nan_predictions"),
    Broken("out_of_range", None, "out_of_range"),
    Broken("all_the_same", None, "constant_predictions"),
]


@_making
def make_class_of_an_own_module() -> Any:
    import my_models

    model = my_models.Model()

    def predict(live_features):
        return model.predict(live_features)

    return predict


@_making
def make_own_module_in_a_helper() -> Any:
    def helper(live_features):
        from my_features import engineered

        return engineered(live_features)

    def predict(live_features):
        return helper(live_features)

    return predict


def predict_by_name(live_features):
    return live_features.iloc[:, 5].rank(pct=True).to_frame("prediction")


@_making
def make_pickled_by_name() -> Any:
    return pickle.dumps(predict_by_name)


@_making
def make_module_of_a_notebook() -> Any:
    def predict(live_features):
        from IPython.display import display

        display(live_features)
        return live_features

    return predict


@_making
def make_torch_in_core() -> Any:
    # A tensor as torch pickles it, on the CPU.
    return _with_tensor("cpu")


@_making
def make_gpu_tensor() -> Any:
    return _with_tensor("cuda:0")


def _with_tensor(device: str) -> bytes:
    """A predict with a tensor among its globals, pickled without torch: stand-ins get torch's names in the bytes."""
    load, rebuild = _stand_in("torch_storag_", "_load_from_bytes"), _stand_in("torch__util_", "_rebuild_tensor_v2")

    class Storage:
        def __reduce__(self):
            return load, (_storage_file(device),)

    class Tensor:
        def __reduce__(self):
            return rebuild, (Storage(), 0, (2,), (1,), False, {})

    tensor = Tensor()

    def predict(live_features):
        return live_features.iloc[:, [5]] * tensor

    content = cloudpickle.dumps(predict).replace(b"torch_storag_", b"torch.storage")
    return content.replace(b"torch__util_", b"torch._utils")


def _stand_in(module: str, name: str) -> Any:
    sys.modules[module] = types.ModuleType(module)
    exec(f"def {name}(*arguments): pass", sys.modules[module].__dict__)
    return getattr(sys.modules[module], name)


def _storage_file(device: str) -> bytes:
    """What torch.save writes of a storage, in its older format: some pickles in a row, then the numbers."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            return obj.content if isinstance(obj, Stored) else None

    class Stored:
        content = ("storage", "FloatStorage", "94267", device, 2, None)

    file = io.BytesIO()
    for one in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, Stored(), ["94267"]):
        Pickler(file, 2).dump(one)
    return file.getvalue() + bytes(16)


@_making
def make_returns_a_series() -> Any:
    import pandas as pd

    def predict(live_features):
        ranks = live_features.iloc[:, 5].rank(pct=True)
        return pd.Series(ranks, index=live_features.index)

    return predict


@_making
def make_returns_an_array() -> Any:
    import numpy as np

    def predict(live_features, live_benchmark_models):
        return np.asarray(live_features.iloc[:, 5], dtype=float)

    return predict


@_making
def make_returns_a_column() -> Any:
    def predict(live_features, live_benchmark_models):
        values = live_features.iloc[:, 5:9].mean(axis=1)
        return values.rank(pct=True) * 0.5 + 0.25

    return predict


@_making
def make_returns_what_a_model_predicts() -> Any:
    import numpy as np
    from sklearn.linear_model import Ridge

    model = Ridge().fit(np.eye(3), np.arange(3) / 2)

    class Predictor:
        def __call__(self, live_features):
            columns = live_features.iloc[:, 5:8]
            return model.predict(columns.to_numpy())

    return Predictor()


@_making
def make_returns_arrays_on_both_ways() -> Any:
    import numpy as np

    def predict(live_features):
        for _ in range(3):
            if len(live_features) > 5:
                return np.asarray(live_features.iloc[:, 5])
        return live_features.iloc[:, 5].to_numpy()

    return predict


@_making
def make_returns_nothing() -> Any:
    def predict(live_features, live_benchmark_models):
        ranks = live_features.iloc[:, 5].rank(pct=True).to_frame("prediction")
        print(len(ranks))

    return predict


@_making
def make_generator() -> Any:
    def predict(live_features):
        yield live_features.iloc[:, [5]]

    return predict


@_making
def make_coroutine() -> Any:
    class Model:
        async def predict(self, live_features):
            return live_features.iloc[:, [5]]

    return Model().predict


@_making
def make_never_returns() -> Any:
    def predict(live_features):
        raise NotImplementedError("the model of the next week")

    return predict


@_making
def make_import_that_is_handled_by_the_same() -> Any:
    def predict(live_features):
        try:
            from my_features import engineered
        except ImportError:
            from my_features import fallback as engineered
        return engineered(live_features)

    return predict


@_making
def make_path_object() -> Any:
    from pathlib import Path

    import pandas as pd

    def load():
        return float(Path("/home/alice/numerai/weight.txt").read_text())

    def predict(live_features):
        return pd.DataFrame(live_features.iloc[:, [5]] * load())

    return predict


@_making
def make_extra_columns() -> Any:
    def predict(live_features):
        live_features = live_features.copy()
        live_features["prediction"] = live_features.iloc[:, 5].rank(pct=True)
        return live_features[["era", "prediction"]]

    return predict


@_making
def make_dropped_index() -> Any:
    def predict(live_features):
        return live_features.iloc[:, 5].rank(pct=True).to_frame("prediction").reset_index(drop=True)

    return predict


@_making
def make_benchmark_misaligned() -> Any:
    def predict(live_features, live_benchmark_models):
        both = live_features.iloc[::2].join(live_benchmark_models, how="inner", rsuffix="_benchmark")
        return both.iloc[:, 5].rank(pct=True).to_frame("prediction")

    return predict


@_making
def make_joined_with_benchmarks_twice() -> Any:
    import pandas as pd

    def predict(live_features, live_benchmark_models):
        ranks = live_features.iloc[:, 5].rank(pct=True).to_frame("prediction")
        return pd.concat([ranks, ranks.iloc[:7]])

    return predict


@_making
def make_column_that_live_lacks() -> Any:
    def predict(live_features):
        by_era = live_features.groupby(live_features["era_number"])
        return by_era.rank(pct=True).iloc[:, [5]]

    return predict


@_making
def make_era_of_the_benchmarks() -> Any:
    def predict(live_features, live_benchmark_models):
        return live_benchmark_models.groupby(live_benchmark_models["era_of_old"]).rank(pct=True).iloc[:, [1]]

    return predict


@_making
def make_feature_that_is_gone() -> Any:
    features = ["feature_long_gone_garnet", "feature_never_was_known"]

    def predict(live_features):
        return live_features[features].mean(axis=1).rank(pct=True).to_frame("prediction")

    return predict


@_making
def make_open_file() -> Any:
    import pandas as pd

    Path("weights.csv").write_text("weight\n1\n2\n")
    file = open("weights.csv")  # noqa: SIM115 (this is the mistake)
    file.read()
    return lambda live_features: live_features.iloc[:, [5]] * pd.read_csv(file)["weight"].sum()


@_making
def make_training_frame() -> Any:
    import numpy as np
    import pandas as pd

    train = pd.DataFrame({"target": np.linspace(0, 1, LARGE)})

    def predict(live_features):
        return live_features.iloc[:, 5].rank(pct=True).to_frame("prediction") * train["target"].max()

    return predict


@_making
def make_keyword_only() -> Any:
    def predict(live_features, *, live_benchmark_models):
        return live_features.iloc[:, [5]]

    return predict


@_making
def make_three_arguments() -> Any:
    def predict(live_features, live_benchmark_models, model):
        return model.predict(live_features)

    return predict


@_making
def make_second_default() -> Any:
    def predict(live_features, proportion=0.5):
        return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")

    return predict


@_making
def make_no_arguments() -> Any:
    def predict():
        return None

    return predict


@_making
def make_absolute_path() -> Any:
    import pandas as pd

    def predict(live_features):
        weights = pd.read_parquet("/home/alice/numerai/weights.parquet")
        return live_features.iloc[:, [5]] * weights.iloc[0, 0]

    return predict


@_making
def make_relative_path() -> Any:
    import json

    def predict(live_features):
        with open("features.json") as file:
            names = json.load(file)
        return live_features[names].mean(axis=1).to_frame("prediction")

    return predict


@_making
def make_network() -> Any:
    def predict(live_features):
        import urllib.request

        urllib.request.urlopen("https://example.com/weights.csv", timeout=5).read()
        return live_features.iloc[:, [5]]

    return predict


@_making
def make_process() -> Any:
    import subprocess

    def predict(live_features):
        subprocess.run(["/usr/bin/pip-of-mine", "install", "torch"], check=True)
        return live_features.iloc[:, [5]]

    return predict


@_making
def make_joblib_file() -> Any:
    import joblib
    import numpy as np

    file = io.BytesIO()
    joblib.dump({"weights": np.arange(1000.0)}, file)
    return file.getvalue()


@_making
def make_compressed_joblib_file() -> Any:
    import joblib

    file = io.BytesIO()
    joblib.dump({"weights": 1}, file, compress=3)
    return file.getvalue()


@_making
def make_gzip_file() -> Any:
    return gzip.compress(cloudpickle.dumps(predict_by_name))


@_making
def make_torch_file() -> Any:
    import zipfile

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"weight": 1}, protocol=2))
    return file.getvalue()


@_making
def make_csv_file() -> Any:
    return b"id,prediction\nn0001,0.5\nn0002,0.25\n"


@_making
def make_git_lfs_pointer() -> Any:
    return b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"


@_making
def make_empty_file() -> Any:
    return b""


@_making
def make_truncated() -> Any:
    content = cloudpickle.dumps(predict_by_name)
    return content[: len(content) // 2]


@_making
def make_older_scikit_learn() -> Any:
    import numpy as np
    import sklearn
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(np.eye(3), np.arange(3) / 2)

    def predict(live_features):
        ranks = live_features.iloc[:, 5:8].mean(axis=1).rank(pct=True).to_frame("prediction")
        return ranks * (1 if model.n_features_in_ else 0)

    older = "0" + sklearn.__version__[1:]
    return cloudpickle.dumps(predict).replace(sklearn.__version__.encode(), older.encode())


@_making
def make_instance_without_call() -> Any:
    class Predictor:
        def predict(self, live_features):
            return live_features.iloc[:, [5]]

    return Predictor()


@_making
def make_dict_of_models() -> Any:
    return {"model": [1.0, 2.0], "features": ["feature_a_b_c"]}


@_making
def make_model_itself() -> Any:
    import numpy as np
    from lightgbm import LGBMRegressor

    return LGBMRegressor(n_estimators=2, verbose=-1).fit(np.random.rand(50, 3), np.random.rand(50))


@_making
def make_nan_predictions() -> Any:
    def predict(live_features):
        ranks = live_features.iloc[:, 5].rank(pct=True).to_frame("prediction")
        ranks.iloc[:3] = float("nan")
        return ranks

    return predict


@_making
def make_out_of_range() -> Any:
    def predict(live_features):
        return live_features.iloc[:, 5].rank().to_frame("prediction")

    return predict


@_making
def make_all_the_same() -> Any:
    import pandas as pd

    def predict(live_features):
        return pd.DataFrame({"prediction": 0.5}, index=live_features.index)

    return predict


def write(folder: Path, names: "list[str] | None" = None) -> None:
    """Make the files NAME.pkl, in a folder where the modules of the user's own lie too."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    source = "class Model:\n    def predict(self, live_features):\n        return live_features.iloc[:, [5]]\n"
    Path("my_models.py").write_text(source)
    sys.path.insert(0, str(folder))
    for name, make in MAKERS.items():
        if names is None or name in names:
            made = make()
            content = made if isinstance(made, bytes) else cloudpickle.dumps(made)
            Path(f"{name}.pkl").write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]).absolute(), sys.argv[2:] or None)
