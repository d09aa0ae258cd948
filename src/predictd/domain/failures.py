"""How a run of a user's model can fail: a stable code, a sentence and a remedy each.

The sentence and the remedy are templates; `describe` fills them with the facts of one run. Every code stands in
`FAILURES`, so that documentation, wire and log say the same words.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One way for a model to fail: `sentence` says what happened, `remedy` what to do about it."""

    sentence: str
    remedy: str


FAILURES: dict[str, Failure] = {
    "not_a_pickle": Failure(
        sentence="The file is not a pickle: {detail}.",
        remedy="Write it with cloudpickle.dump(predict, file) in binary mode and upload that file.",
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
        remedy="Carry your own modules by value (cloudpickle.register_pickle_by_value); import only what it has.",
    ),
    "unpickle_error": Failure(
        sentence="Unpickling raised {detail}.",
        remedy="Make the pickle with the package versions of the runtime, and load it in a fresh process to try it.",
    ),
    "not_callable": Failure(
        sentence="The pickle holds {detail}, which can't be called.",
        remedy="Pickle the function predict(live_features, live_benchmark_models) itself.",
    ),
    "bad_signature": Failure(
        sentence="The model must take one or two arguments (live_features, live_benchmark_models) but takes {detail}.",
        remedy="Define predict(live_features) or predict(live_features, live_benchmark_models), without further "
        "parameters; set those in a wrapper: lambda live_features: predict(live_features, 0.5).",
    ),
    "exception": Failure(
        sentence="The model raised {detail}.",
        remedy="The log has the traceback; run the same pickle on this data version's live data to see it yourself.",
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
        remedy="Make the model faster or smaller; compute in training whatever does not depend on live data.",
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
    ),
    "not_numeric": Failure(
        sentence="The first column must hold numbers, but it holds {detail}.",
        remedy="Return floats in the first column of the DataFrame.",
    ),
    "empty_predictions": Failure(
        sentence="There are no predictions: the DataFrame is empty{detail}.",
        remedy="Return one row for each row of live_features, with the predictions in the first column.",
    ),
    "nan_predictions": Failure(
        sentence="{count} of {total} predictions are NaN or infinite, first for id {example}.",
        remedy="Fill missing values before or after predicting, for example with 0.5.",
    ),
    "out_of_range": Failure(
        sentence="{count} of {total} predictions are not within 0 to 1, first {value} for id {example}.",
        remedy="Rank or scale them into 0 to 1, for example with predictions.rank(pct=True).",
    ),
    "constant_predictions": Failure(
        sentence="All predictions are the same ({value}), which says nothing about the ids.",
        remedy="Return predictions that differ from id to id; check that the features reach the model.",
    ),
    "duplicate_ids": Failure(
        sentence="{count} ids occur more than once, first {example}.",
        remedy="Return exactly one row for each id of live_features.",
    ),
    "unknown_ids": Failure(
        sentence="{count} ids are not among the {total} {kind} ids, first {example}.",
        remedy="Keep the index of live_features as the index of the predictions.",
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
    """One failure of one run: a code of `FAILURES` and the facts that fill its sentence."""

    code: str
    facts: dict[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """The sentence and the remedy with this run's facts, in one line for a person."""
        return f"{self.sentence} {self.remedy}"

    @property
    def sentence(self) -> str:
        """What happened, with this run's facts."""
        return FAILURES[self.code].sentence.format_map(self._shown)

    @property
    def remedy(self) -> str:
        """What to do about it, with this run's facts."""
        return FAILURES[self.code].remedy.format_map(self._shown)

    @property
    def _shown(self) -> dict[str, str]:
        return {"kind": "live"} | {key: _one_line(value) for key, value in self.facts.items()}


def _one_line(text: str, most: int = 300) -> str:
    """Facts may quote what a model wrote: bounded, printable, on one line."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    line = line if len(line) <= most else line[: most - 1] + "…"
    # A fact that goes on in a sentence begins with the space before it.
    return f" {line}" if text.startswith(" ") else line


def told_apart(code: str, described: str) -> tuple[str, str]:
    """The sentence and the remedy in what `describe` told; the remedy is empty where the code is none of these."""
    failure = FAILURES.get(code)
    begins = failure.remedy.partition("{")[0] if failure is not None else ""
    at = described.rfind(f" {begins}") if begins else -1
    return (described, "") if at < 0 else (described[:at], described[at + 1 :])
