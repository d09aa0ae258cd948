"""A model that fails is told the remedy of the cause: real pickles in the sandbox, and what the user reads of each."""

import json
import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import RUNTIMES
from predictd.domain.errors import PredictdError
from predictd.domain.failures import FAILURES, ModelFailure, fields_of
from predictd.domain.limits import MIB, Limits
from predictd.domain.reasons import Reason
from predictd.domain.runs import RunReport, RunRequest
from predictd.local_run.test_findings import failure_finding
from predictd.pickles import check_pickle, target_of_built
from predictd.runner.removed_apis import MODULE_NAMES, PANDAS_METHODS
from predictd.runtimes import BuiltRuntime, load
from predictd.sandbox import run
from predictd.sandbox.protocol import FrameError, FrameReader, ReportedFailure, ResultLimits
from predictd.scoring import check_submission

MODELS = Path(__file__).parent / "models_for_sandbox" / "causes.py"
LIMITS = Limits(seconds=60, memory_bytes=1024 * MIB, scratch_bytes=64 * MIB, processes=64, log_stop_bytes=4 * MIB)


@pytest.fixture(scope="module")
def built() -> BuiltRuntime:
    return next(one for one in load(RUNTIMES) if one.paths.version == "3.12")


@pytest.fixture(scope="module")
def folder(built: BuiltRuntime, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("causes")
    os.chmod(folder, 0o700)
    subprocess.run([built.executable, MODELS, folder], check=True)
    ids = pd.Index([f"n{number:015x}" for number in range(50)], name="id")
    live = pd.DataFrame({"era": "X", "feature_a": (np.arange(50) % 5).astype("int8")}, index=ids)
    live.to_parquet(folder / "live.parquet")
    return folder


def run_model(built: BuiltRuntime, folder: Path, name: str) -> RunReport:
    request = RunRequest(
        pickle=folder / f"{name}.pkl",
        live=folder / "live.parquet",
        benchmarks=None,
        runtime=built.paths,
        limits=LIMITS,
    )
    return run(request, on_log=lambda _: None)


FULL = "Python 3.12 (full)"
MISSING_FEATURE = (
    "The data has no {}: choose the data version that the model was trained on, or train it on the features of this "
    "one."
)
PASS_THE_FEATURES = (
    "Pass the features of the training, in their order: store their list beside the model and select "
    "live_features[features]."
)
READ_IT_BEFORE = (
    "Read the file when you create the pickle, and let predict use a variable that holds what you read: a run has none "
    "of your files."
)
COPY_IT = "Copy the array before you change it: live_features.to_numpy(copy=True), or array.copy()."
ROW_NUMBERS = (
    "Return the ids as the index, not the numbers of the rows: create the DataFrame with index=live_features.index, or "
    'call set_index("id") after reset_index or merge.'
)
CLOUDPICKLE = (
    "Write the file with cloudpickle.dump, not pickle.dump: it holds only the name of {}, and cloudpickle stores what "
    "your script or notebook defines."
)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            "plain_function",
            "Unpickling raised AttributeError: Can't get attribute 'predict_main' on <module '__main__' (<class "
            "'_frozen_importlib.BuiltinImporter'>)>. " + CLOUDPICKLE.format("predict_main"),
        ),
        (
            "saved_on_cuda",
            "Unpickling raised RuntimeError: Attempting to deserialize object on a CUDA device but "
            "torch.cuda.is_available() is False. If you are running on a CPU-only machine, please use torch.load with "
            "map_location=torch.device('cpu') to map your storages to the CPU. Move the model to the CPU before you "
            "pickle it: model.cpu(), or predictd.wrap(model, export='numpy'). A run has no GPU.",
        ),
        (
            "named_series",
            "predict must return a pandas DataFrame, but it returned an object of type pandas.Series. "
            'Return predictions.to_frame("prediction").',
        ),
        (
            "id_first",
            "The first column must hold numbers, but it holds str values such as 'n000000000000000'. "
            'Set the index to id: return predictions.set_index("id")[["prediction"]].',
        ),
        (
            "read_only",
            f"The model raised ValueError: assignment destination is read-only. {COPY_IT}",
        ),
        (
            "appends",
            "The model raised AttributeError: 'DataFrame' object has no attribute 'append'. "
            "Use pd.concat in place of DataFrame.append, which pandas 3.1.1 does not have.",
        ),
        (
            "features",
            f"The model raised KeyError: \"['feature_zz'] not in index\". {MISSING_FEATURE.format('feature_zz')}",
        ),
        (
            "file_of_home",
            "The model raised FileNotFoundError: [Errno 2] No such file or directory: '/home/me/numerai/features.csv'. "
            + READ_IT_BEFORE,
        ),
        (
            "bar",
            "The model needs a module that the runtime does not have: tqdm. "
            f"Choose the runtime {FULL}, which has tqdm.",
        ),
    ],
)
def test_a_user_reads_what_happened_and_what_to_do(built: BuiltRuntime, folder: Path, model: str, message: str) -> None:
    failure = run_model(built, folder, model).failure
    assert failure is not None
    assert failure.describe() == message


@pytest.mark.parametrize(
    ("model", "cause", "remedy"),
    [
        ("plain_object", "name_in_main", CLOUDPICKLE.format("Recipe")),
        (
            "stored_outside",
            "stored_outside",
            "Write the model with cloudpickle.dump: other formats, such as that of torch.save, store a part of it "
            "outside of the pickle.",
        ),
        ("needs_torch", "in_runtime", f"Choose the runtime {FULL}, which has torch."),
        ("needs_keras", "in_runtime", f"Choose the runtime {FULL}, which has keras."),
        ("needs_requests", "in_runtime", f"Choose the runtime {FULL}, which has requests."),
        ("of_the_index", "in_no_runtime", "Do without numerapi in predict: no runtime has it."),
        (
            "old_python",
            "not_in_python",
            "Do without distutils, which Python 3.12 does not have, or use a Python that has it, to pickle and to run.",
        ),
        (
            "own_module",
            None,
            "If it is your own module, store it in the pickle: predictd.wrap does that, and so does "
            "cloudpickle.register_pickle_by_value(module). If it is a package, use one that the runtime has.",
        ),
        ("array", None, "Return pd.DataFrame(predictions, index=live_features.index, columns=['prediction'])."),
        ("nothing", "nothing", "End predict with a return statement that returns the DataFrame."),
        (
            "generator",
            "generator",
            "Replace yield with return in predict: a function with yield returns a generator.",
        ),
        ("coroutine", "coroutine", "Define predict with def, not with async def."),
        (
            "polars_frame",
            "polars",
            'Return pd.DataFrame({"prediction": predictions["prediction"].to_numpy()}, index=live_features.index).',
        ),
        (
            "era_first",
            "era_column",
            'Set the index to id and leave out the column era: return predictions[["prediction"]] with the index of '
            "live_features.",
        ),
        (
            "era_and_id_first",
            "id_column",
            'Set the index to id: return predictions.set_index("id")[["prediction"]].',
        ),
        (
            "fills",
            "removed_api",
            "Use ffill() or bfill() in place of the argument method of NDFrame.fillna, which pandas 3.1.1 does not "
            "have.",
        ),
        (
            "applies",
            "removed_api",
            "Use map in place of DataFrame.applymap, which pandas 3.1.1 does not have.",
        ),
        ("old_numpy", "removed_api", "Use float in place of numpy.float, which numpy 2.5.5 does not have."),
        ("old_nan", "removed_api", "Use np.nan in place of numpy.NaN, which numpy 2.5.5 does not have."),
        (
            "old_index",
            "removed_api",
            "Use pd.Index in place of pandas.Int64Index, which pandas 3.1.1 does not have.",
        ),
        (
            "old_scikit_learn",
            "missing_api",
            "Use what scikit-learn 1.9.1 has in place of sklearn.metrics.plot_confusion_matrix, or choose a runtime "
            "with the version of scikit-learn that you use.",
        ),
        ("one_feature", "missing_feature", MISSING_FEATURE.format("feature_of_another_version")),
        ("feature_as_attribute", "missing_feature", MISSING_FEATURE.format("feature_zz")),
        ("polars_column", "missing_feature", MISSING_FEATURE.format("feature_zz")),
        (
            "takes_the_target",
            "target",
            "Do without target_ender_20 in predict, which gets no targets: compute in training what needs them.",
        ),
        (
            "takes_the_id",
            "id_is_the_index",
            "Take the ids from live_features.index: they are the index, not a column.",
        ),
        (
            "unknown_column",
            "missing_column",
            "Use columns that the data has: print(live_features.columns) shows them in the log, and rank is not among "
            "them.",
        ),
        ("linear", "feature_mismatch", PASS_THE_FEATURES),
        ("boosted_by_lightgbm", "feature_mismatch", PASS_THE_FEATURES),
        ("boosted_by_xgboost", "feature_mismatch", PASS_THE_FEATURES),
        ("boosted_by_catboost", "feature_mismatch", PASS_THE_FEATURES),
        (
            "missing_values",
            "missing_input",
            "Fill missing values before you call the model, for example with live_features[features].fillna(2).",
        ),
        ("read_only_frame", "read_only_array", COPY_IT),
        (
            "to_integers",
            "missing_to_integer",
            "Fill missing values before you convert to integers, for example with fillna(2), or convert to floats.",
        ),
        (
            "repeated_labels",
            "duplicate_labels",
            "Make the labels unique before you align tables: drop repeated ids with frame[~frame.index.duplicated()].",
        ),
        ("booster_of_home", "missing_file", READ_IT_BEFORE),
        ("xgboost_of_home", "missing_file", READ_IT_BEFORE),
        ("catboost_of_home", "missing_file", READ_IT_BEFORE),
        (
            "program",
            "missing_program",
            "Do without the program: a run has Python and its packages, and no other programs.",
        ),
        (
            "writes_beside",
            "read_only_file",
            "Write files to the folder that tempfile.gettempdir() returns: a run can write to no other.",
        ),
        (
            "writes_much",
            "full_disk",
            "Write less to the disk: a run has little space for temporary files.",
        ),
        (
            "threads",
            "too_many_processes",
            "Use fewer threads and processes, for example n_jobs=1: a run may have only so many.",
        ),
        (
            "undefined",
            "undefined_name",
            "Define or import scale_of_another_cell before you pickle predict, or import it inside of predict.",
        ),
        (
            "endless",
            "recursion",
            "Let the function that the traceback repeats end its calls of itself, or use a loop.",
        ),
        (
            "takes_benchmarks",
            "no_benchmarks",
            "Choose a data version that has benchmark models, or take live_features alone.",
        ),
        (
            "key_of_its_own",
            None,
            "The log has the traceback; run the same pickle on the same data to see it yourself.",
        ),
        (
            "raises_what_lies",
            None,
            "The log has the traceback; run the same pickle on the same data to see it yourself.",
        ),
    ],
)
def test_the_remedy_is_that_of_the_cause(
    built: BuiltRuntime, folder: Path, model: str, cause: str | None, remedy: str
) -> None:
    failure = run_model(built, folder, model).failure
    assert failure is not None
    assert (failure.cause, failure.remedy) == (cause, remedy)


@pytest.mark.parametrize(
    ("model", "code", "remedy"),
    [
        (
            "named_series_in_a_dataframe",
            "nan_predictions",
            "Check the index first, because all are missing: values whose index is not that of live_features become "
            'NaN in a new DataFrame. Pass predictions.to_numpy(), or use .to_frame("prediction") for a Series.',
        ),
        ("id_second", "unknown_ids", ROW_NUMBERS),
        ("id_second_twice", "duplicate_ids", ROW_NUMBERS),
    ],
)
def test_predictions_that_lost_their_ids(built: BuiltRuntime, folder: Path, model: str, code: str, remedy: str) -> None:
    predictions = run_model(built, folder, model).predictions
    assert predictions is not None
    failure = check_submission(predictions, list(pd.read_parquet(folder / "live.parquet").index))
    assert failure is not None
    assert (failure.code, failure.remedy) == (code, remedy)


def test_torch_says_where_its_tensors_are(folder: Path) -> None:
    """What the message of torch rests on, where a runtime with torch is built."""
    with_torch = next((one for one in load(RUNTIMES) if any(one.paths.packages.glob("torch-*.dist-info"))), None)
    if with_torch is None:
        pytest.skip("no runtime with torch is built")
    make = (
        "import sys, pickle, torch; from torch import serialization\n"
        "serialization.location_tag = lambda storage: 'cuda:0'\n"
        "pickle.dump(torch.ones(3), open(sys.argv[1], 'wb'))"
    )
    subprocess.run([with_torch.executable, "-c", make, folder / "tensor.pkl"], check=True)
    failure = run_model(with_torch, folder, "tensor").failure
    assert failure is not None
    assert (failure.code, failure.cause) == ("unpickle_error", "gpu_tensor")


@pytest.mark.parametrize("model", ["plain_function", "needs_torch", "needs_requests", "of_the_index", "own_module"])
def test_the_check_of_a_pickle_has_the_remedy_of_its_run(built: BuiltRuntime, folder: Path, model: str) -> None:
    failure = run_model(built, folder, model).failure
    assert failure is not None
    findings = check_pickle(folder / f"{model}.pkl", [target_of_built(built)])
    assert failure.remedy in [one.fix for one in findings]


def test_a_cause_or_fact_that_a_model_makes_up_is_no_frame() -> None:
    def sent(**content: object) -> bytes:
        payload = json.dumps({"code": "exception", "detail": "x", "packages": {}, **content}).encode()
        return b"F" + struct.pack(">I", len(payload)) + payload

    stages = [b'{"stage": "import"}', b'{"stage": "unpickle"}']
    begun = b"".join(b"S" + struct.pack(">I", len(stage)) + stage for stage in stages)
    good = sent(cause="target", facts={"column": "target"})
    *_, reported = FrameReader(ResultLimits(expected=1, output_bytes=1 << 20)).feed(begun + good)
    assert isinstance(reported, ReportedFailure)
    assert (reported.cause, reported.facts) == ("target", {"column": "target"})
    for wrong in (
        sent(cause="name_in_main", facts={"name": "x"}),
        sent(cause=["target"], facts={"column": "target"}),
        sent(cause="target", facts={}),
        sent(cause="target", facts={"column": "target", "detail": "y"}),
        sent(cause="target", facts={"column": 3}),
        sent(cause="target", facts={"column": "x" * 101}),
        sent(cause=None, facts={"detail": "y"}),
        sent(cause="target", facts=["column"]),
    ):
        with pytest.raises(FrameError):
            list(FrameReader(ResultLimits(expected=1, output_bytes=1 << 20)).feed(begun + wrong))


# The table of all


CAUSES = [(code, cause) for code, failure in FAILURES.items() for cause in (None, *failure.causes)]


@pytest.mark.parametrize(("code", "cause"), CAUSES)
def test_each_message_is_whole_and_survives_its_row(code: str, cause: str | None) -> None:
    templates = FAILURES[code].sentence, FAILURES[code].remedy_of(cause)
    facts = {name: f"<{name}> ends." for template in templates for name in fields_of(template)}
    failure = ModelFailure(code=code, cause=cause, facts=facts)
    message = failure.describe()
    assert ".." not in message
    assert message.endswith((".", "!"))
    assert all(f"<{name}> ends" in message for name in facts)
    assert not set("{}") & set(message.replace('{"prediction"', "").replace("to_numpy()}", ""))
    reason = Reason.of_failure(failure)
    assert Reason.of_row(reason.code, reason.row_facts).failure == failure
    assert len(failure.remedy) < 250


@pytest.mark.parametrize(("code", "cause"), CAUSES)
def test_no_advice_about_live_data_where_the_data_is_that_of_validation(code: str, cause: str | None) -> None:
    templates = FAILURES[code].sentence, FAILURES[code].remedy_of(cause)
    facts = {name: name for template in templates for name in fields_of(template) - {"kind"}}
    finding = failure_finding("eras", ModelFailure(code=code, cause=cause, facts=facts), is_validation=True)
    assert "live data" not in f"{finding.sentence} {finding.fix}"
    assert "live ids" not in f"{finding.sentence} {finding.fix}"


@pytest.mark.parametrize(
    ("detail", "sentence"),
    [
        ("ValueError: it ended.", "The model raised ValueError: it ended."),
        ("ValueError: it ended...", "The model raised ValueError: it ended."),
        ("ValueError: did it end?", "The model raised ValueError: did it end?"),
        ("ValueError: it ended", "The model raised ValueError: it ended."),
        ("ValueError: " + "x" * 400, "The model raised ValueError: " + "x" * 287 + "…."),
    ],
)
def test_a_sentence_ends_once(detail: str, sentence: str) -> None:
    assert ModelFailure(code="exception", facts={"detail": detail}).sentence == sentence


def test_an_error_that_quotes_a_sentence_ends_once() -> None:
    assert PredictdError(f"It can't be read: {OSError('No such file.')}.").message == "It can't be read: No such file."
    assert PredictdError("It waits for the end...").message == "It waits for the end..."


def test_what_is_said_to_be_gone_is_gone(built: BuiltRuntime) -> None:
    """A name is only looked up once the library has none of it; here each is one that some version lacks."""
    program = (
        "import json, sys, importlib, warnings, pandas as pd; warnings.simplefilter('ignore')\n"
        "methods, modules = json.load(sys.stdin)\n"
        "frame = pd.DataFrame({'a': [1]})\n"
        "print(json.dumps([name for name in methods if hasattr(frame, name) or hasattr(frame['a'], name)]\n"
        "    + [f'{module}.{name}' for module, names in modules.items() for name in names\n"
        "       if hasattr(importlib.import_module(module), name)]))"
    )
    names = json.dumps([list(PANDAS_METHODS), {module: list(names) for module, names in MODULE_NAMES.items()}])
    done = subprocess.run([built.executable, "-c", program], input=names, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
