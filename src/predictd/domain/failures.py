"""How a run of a user's model can fail: a stable code, a sentence and a remedy each, and the causes within a code.

The sentence and the remedies are templates; `describe` fills them with the facts of one run. Every code is in
`FAILURES`, so that documentation, wire, log and checks use the same words. A code identifies what happened, and a cause
why, if there is evidence; then the remedy is that of the cause.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter

from predictd.domain.errors import normalize_ending
from predictd.domain.text import single_line


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One way for a model to fail.

    Attributes:
        sentence: what happened.
        remedy: what to do about it, where its cause is unknown.
        causes: cause -> what to do about it.
    """

    sentence: str
    remedy: str
    causes: Mapping[str, str] = field(default_factory=dict)

    def remedy_of(self, cause: str | None) -> str:
        """Return the template of the remedy of one of `causes`, or of no known cause."""
        return self.remedy if cause is None else self.causes[cause]


FAILURES: dict[str, Failure] = {
    "not_a_pickle": Failure(
        sentence="The file is not a pickle: {detail}.",
        remedy=(
            "Write it with cloudpickle.dump(predict, file) in binary mode, without compression, and upload that file."
        ),
    ),
    "truncated_pickle": Failure(
        sentence="The pickle ends in the middle: {detail}.",
        remedy="Write the file again, close it, and upload the whole of it.",
    ),
    "python_mismatch": Failure(
        sentence="The pickle was made by Python {pickle_python}, but the runtime is Python {runtime_python}: {detail}.",
        remedy="Choose the runtime of Python {pickle_python}, or make the pickle with Python {runtime_python}.",
    ),
    "package_mismatch": Failure(
        sentence="The pickle was made with {made_with}, but the runtime has {package} {runtime_version}: {detail}.",
        remedy="Train and pickle the model with {package} {runtime_version}, or choose a runtime of its own version.",
    ),
    "import_error": Failure(
        sentence="The model needs a module that the runtime does not have: {detail}.",
        remedy=(
            "If it is your own module, store it in the pickle: predictd.wrap does that, and so does "
            "cloudpickle.register_pickle_by_value(module). If it is a package, use one that the runtime has."
        ),
        causes={
            "in_runtime": "Choose the runtime {runtime}, which has {package}.",
            "in_no_runtime": "Do without {package} in predict: no runtime has it.",
            "not_in_python": (
                "Do without {module}, which Python {python} does not have, or use a Python that has it, to pickle "
                "and to run."
            ),
        },
    ),
    "unpickle_error": Failure(
        sentence="Unpickling raised {detail}.",
        remedy="Make the pickle with the package versions of the runtime, and load it in a fresh process to try it.",
        causes={
            "name_in_main": (
                "Write the file with cloudpickle.dump, not pickle.dump: it holds only the name of {name}, and "
                "cloudpickle stores what your script or notebook defines."
            ),
            "gpu_tensor": (
                "Move the model to the CPU before you pickle it: model.cpu(), or predictd.wrap(model, "
                "export='numpy'). A run has no GPU."
            ),
            "stored_outside": (
                "Write the model with cloudpickle.dump: other formats, such as that of torch.save, store a part "
                "of it outside of the pickle."
            ),
        },
    ),
    "not_callable": Failure(
        sentence="The pickle holds {detail}, which can't be called.",
        remedy="Pickle the function predict(live_features, live_benchmark_models) itself.",
    ),
    "bad_signature": Failure(
        sentence="The model must take one or two arguments (live_features, live_benchmark_models) but takes {detail}.",
        remedy="Define predict(live_features) or predict(live_features, live_benchmark_models), without further "
        "parameters; set those in a wrapper: lambda live_features: predict(live_features, 0.5).",
        causes={
            "no_benchmarks": "Choose a data version that has benchmark models, or take live_features alone.",
        },
    ),
    "exception": Failure(
        sentence="The model raised {detail}.",
        remedy="The log has the traceback; run the same pickle on the same data to see it yourself.",
        causes={
            "missing_feature": (
                "The data has no {feature}: choose the data version that the model was trained on, or train it on "
                "the features of this one."
            ),
            "target": "Do without {column} in predict, which gets no targets: compute in training what needs them.",
            "id_is_the_index": "Take the ids from live_features.index: they are the index, not a column.",
            "missing_column": (
                "Use columns that the data has: print(live_features.columns) shows them in the log, and {column} is "
                "not among them."
            ),
            "feature_mismatch": (
                "Pass the features of the training, in their order: store their list beside the model and select "
                "live_features[features]."
            ),
            "read_only_array": (
                "Copy the array before you change it: live_features.to_numpy(copy=True), or array.copy()."
            ),
            "removed_api": "Use {new} in place of {old}, which {package} {version} does not have.",
            "missing_api": (
                "Use what {package} {version} has in place of {old}, or choose a runtime with the version of "
                "{package} that you use."
            ),
            "missing_file": (
                "Read the file when you create the pickle, and let predict use a variable that holds what you "
                "read: a run has none of your files."
            ),
            "missing_program": "Do without the program: a run has Python and its packages, and no other programs.",
            "read_only_file": (
                "Write files to the folder that tempfile.gettempdir() returns: a run can write to no other."
            ),
            "full_disk": "Write less to the disk: a run has little space for temporary files.",
            "open_files": (
                "Close each file once you have read it, for example by a with statement: a run may have only so many "
                "files open."
            ),
            "too_many_processes": "Use fewer threads and processes, for example n_jobs=1: a run may have only so many.",
            "undefined_name": "Define or import {name} before you pickle predict, or import it inside of predict.",
            "duplicate_labels": (
                "Make the labels unique before you align tables: drop repeated ids with "
                "frame[~frame.index.duplicated()]."
            ),
            "missing_to_integer": (
                "Fill missing values before you convert to integers, for example with fillna(2), or convert to floats."
            ),
            "missing_input": (
                "Fill missing values before you call the model, for example with live_features[features].fillna(2)."
            ),
            "gpu": "Use the CPU in predict, for example with device='cpu': a run has no GPU.",
            "recursion": "Let the function that the traceback repeats end its calls of itself, or use a loop.",
        },
    ),
    "network_access": Failure(
        sentence="The model tried to use the network, which it does not have: {detail}.",
        remedy="Put everything that the model needs (weights, lists, keys) into the pickle.",
    ),
    "exited": Failure(
        sentence="The model ended the process ({detail}) before it answered.",
        remedy="Return a DataFrame from predict; do not call exit, quit or os._exit.",
    ),
    "segfault": Failure(
        sentence="Segmentation fault! Ensure python and library versions match our environment.",
        remedy="Make the pickle with the Python and the package versions of the runtime.",
    ),
    "killed": Failure(
        sentence="The model's process died of signal {detail}.",
        remedy="Look into the log for what came before, and run the pickle locally under the same limits.",
    ),
    "out_of_memory": Failure(
        sentence="Out of memory: the model needed more than {limit}; its peak was {peak}{detail}.",
        remedy="Use smaller types, fewer copies of live_features or a smaller model.",
    ),
    "timeout": Failure(
        sentence="Timeout: the model had not ended after {limit}; it was at the stage '{stage}' ({taken}).",
        remedy="Make the model faster or smaller; compute in training whatever does not depend on live_features.",
    ),
    "output_too_large": Failure(
        sentence="The output is larger than {limit}.",
        remedy="Return one prediction for each row of live_features and print less.",
    ),
    "bad_output": Failure(
        sentence="The model's process answered nothing that can be read: {detail}.",
        remedy="Return a DataFrame from predict and leave the process's other open files alone.",
    ),
    "not_a_dataframe": Failure(
        sentence="predict must return a pandas DataFrame, but it returned {detail}.",
        remedy="Return pd.DataFrame(predictions, index=live_features.index, columns=['prediction']).",
        causes={
            "series": 'Return predictions.to_frame("prediction").',
            "nothing": "End predict with a return statement that returns the DataFrame.",
            "generator": "Replace yield with return in predict: a function with yield returns a generator.",
            "coroutine": "Define predict with def, not with async def.",
            "polars": (
                'Return pd.DataFrame({{"prediction": predictions["prediction"].to_numpy()}}, '
                "index=live_features.index)."
            ),
            "tensor": (
                "Return pd.DataFrame(predictions.detach().cpu().numpy(), index=live_features.index, "
                "columns=['prediction'])."
            ),
        },
    ),
    "not_numeric": Failure(
        sentence="The first column must hold numbers, but it holds {detail}.",
        remedy="Return floats in the first column of the DataFrame.",
        causes={
            "id_column": 'Set the index to id: return predictions.set_index("id")[["prediction"]].',
            "era_column": (
                'Set the index to id and leave out the column era: return predictions[["prediction"]] with the '
                "index of live_features."
            ),
        },
    ),
    "empty_predictions": Failure(
        sentence="There are no predictions: the DataFrame is empty{detail}.",
        remedy="Return one row for each row of live_features, with the predictions in the first column.",
    ),
    "nan_predictions": Failure(
        sentence="{count} of {total} predictions are NaN or infinite, first for id {example}.",
        remedy="Fill missing values before or after predicting, for example with 0.5.",
        causes={
            "all_missing": (
                "Check the index first, because all are missing: values whose index is not that of live_features "
                'become NaN in a new DataFrame. Pass predictions.to_numpy(), or use .to_frame("prediction") for a '
                "Series."
            ),
        },
    ),
    "out_of_range": Failure(
        sentence="{count} of {total} predictions are not within 0 to 1, first {value} for id {example}.",
        remedy="Rank or scale them into 0 to 1, for example with predictions.rank(pct=True).",
    ),
    "constant_predictions": Failure(
        sentence="All predictions are the same ({value}), which does not distinguish the ids.",
        remedy="Return predictions that differ from id to id; check that the features reach the model.",
    ),
    "duplicate_ids": Failure(
        sentence="{count} ids occur more than once, first {example}.",
        remedy="Return exactly one row for each id of live_features.",
        causes={
            "row_numbers": (
                "Return the ids as the index, not the numbers of the rows: create the DataFrame with "
                'index=live_features.index, or call set_index("id") after reset_index or merge.'
            ),
        },
    ),
    "unknown_ids": Failure(
        sentence="{count} ids are not among the {total} {kind} ids, first {example}.",
        remedy="Keep the index of live_features as the index of the predictions.",
        causes={
            "row_numbers": (
                "Return the ids as the index, not the numbers of the rows: create the DataFrame with "
                'index=live_features.index, or call set_index("id") after reset_index or merge.'
            ),
        },
    ),
    "missing_ids": Failure(
        sentence="{count} of {total} {kind} ids have no prediction, first {example}.",
        remedy="Return one row for each row of live_features; do not drop rows.",
    ),
    "cancelled": Failure(
        sentence="Cancelled by {by}.",
        remedy="It is not run again by itself; run it again when it is wanted.",
    ),
}


@dataclass(frozen=True, kw_only=True)
class ModelFailure:
    """One failure of one run.

    Attributes:
        code: one of `FAILURES`.
        facts: fill the sentence and the remedy.
        cause: one of the code's causes; None where it is unknown.
    """

    code: str
    facts: dict[str, str] = field(default_factory=dict)
    cause: str | None = None

    def describe(self) -> str:
        """The sentence and the remedy with this run's facts, in one line for a person."""
        return f"{self.sentence} {self.remedy}"

    @property
    def sentence(self) -> str:
        """What happened, with this run's facts."""
        return self._filled(FAILURES[self.code].sentence)

    @property
    def remedy(self) -> str:
        """What to do about it, with this run's facts."""
        return self._filled(FAILURES[self.code].remedy_of(self.cause))

    def _filled(self, template: str) -> str:
        facts = {"kind": "live"} | {key: _one_line(value) for key, value in self.facts.items()}
        return normalize_ending(template.format_map(facts))


def fields_of(template: str) -> set[str]:
    """Return the names of the facts that a sentence or a remedy is filled with."""
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def _one_line(text: str, max_length: int = 300) -> str:
    """Facts may quote what a model wrote: bounded, printable, on one line, without a full stop of its own."""
    line = single_line(text)
    line = line if len(line) <= max_length else line[: max_length - 1] + "…"
    line = line.rstrip(".") or line
    # A fact that goes on in a sentence begins with the space before it.
    return f" {line}" if text.startswith(" ") else line
