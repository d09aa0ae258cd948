"""The findings of a model test, as messages for the user."""

from dataclasses import replace

from predictd.domain.failures import ModelFailure
from predictd.domain.findings import Finding, fail, passed, warn
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import RunReport, describe_stages
from predictd.local_run.compare_runs import Agreement, AgreementKind
from predictd.local_run.cost_estimate import REFERENCE, CostEstimate
from predictd.reports.numbers import format_number
from predictd.scoring.metrics import Diagnostics

_WARN_TIME_SHARE = 0.5
_WARN_MEMORY_SHARE = 0.8
_SINGLE_FEATURE_CORRELATION = 0.95
_PARTIAL_CORRELATION = 0.8
"""With a higher correlation of two row orders, predictions only partly depend on the order, as broken ties do."""
_CONTEXTS = {
    "repeat": "Run again on the same data: ",
    "row order": "With the rows in another order: ",
    "eras": "On validation eras: ",
    "one era": "On one validation era alone: ",
}
_TIME_REMEDY = "Make the model smaller, or precompute in training what does not depend on live_features."
_MEMORY_REMEDY = "Use smaller types and fewer copies of live_features: select the columns that the model needs first."
_SEED_REMEDY = "Set every seed in predict (numpy.random.default_rng(0)), or leave the randomness to training."
_ROW_REMEDY = (
    "Compute each row from its own values, or from what does not know the order, such as a rank or a mean of the era."
)
_TIES_REMEDY = (
    "Rank with rank(pct=True), whose method is 'average': the method 'first' breaks ties by the order of rows."
)
_STATE_REMEDY = "Don't keep state between calls of predict: compute everything from the arguments."


def failure_finding(topic: str, failure: ModelFailure, *, is_validation: bool = False) -> Finding:
    """Report a run that failed or has invalid predictions; `is_validation` is the kind of its ids."""
    if is_validation:
        failure = replace(failure, facts={**failure.facts, "kind": "validation"})
    return fail(topic, failure.code, f"{_CONTEXTS.get(topic, '')}{failure.sentence}", failure.remedy)


def stand_in_finding(era: str) -> Finding:
    """Report that there is no live data."""
    message = f"There is no live data here, so era {era} replaces it. Live data has the era X, and new values."
    return warn("live data", "no_live_data", message, "Pass --data a folder with live.parquet, or go online.")


def repeat_finding(agreement: Agreement) -> Finding:
    """Report on two runs with the same data."""
    if agreement.kind is AgreementKind.SAME:
        return passed("repeat", f"Two runs on the same data: {agreement.describe()}.")
    sentence = f"Two runs on the same data: {agreement.describe()}."
    finding = fail if agreement.kind is AgreementKind.DIFFERENT else warn
    return finding("repeat", "not_deterministic", f"Predictions are random. {sentence}", _SEED_REMEDY)


def row_order_finding(agreement: Agreement) -> Finding:
    """Report on a run with shuffled rows."""
    sentence = f"With the rows in another order: {agreement.describe()}."
    if agreement.kind in (AgreementKind.SAME, AgreementKind.SLIGHT):
        return passed("row order", sentence)
    if agreement.kind is AgreementKind.TIES:
        return passed("row order", f"{sentence} Apparently the order of the rows only breaks ties.")
    if agreement.correlation >= _PARTIAL_CORRELATION:
        message = f"Predictions partly depend on the order of rows. {sentence}"
        return warn("row order", "depends_on_row_order", message, f"{_ROW_REMEDY} {_TIES_REMEDY}")
    return fail(
        "row order", "depends_on_row_order", f"Predictions depend on the order of rows. {sentence}", _ROW_REMEDY
    )


def single_era_finding(agreement: Agreement, era: str) -> Finding:
    """Report on a run with a single era, compared with the run of several eras."""
    sentence = f"Era {era} alone and after the other eras: {agreement.describe()}."
    if agreement.kind is AgreementKind.SAME:
        return passed("one era", sentence)
    message = f"Predictions depend on the eras of previous calls. {sentence}"
    finding = warn if agreement.kind is AgreementKind.SLIGHT else fail
    return finding("one era", "depends_on_other_eras", message, _STATE_REMEDY)


def metrics_finding(figures: Diagnostics, eras: int) -> Finding:
    """Report the metrics of a few eras."""
    metrics = [
        f"CORR mean {format_number(figures.validation_corr_mean, 4, signed=True)}",
        f"Sharpe {format_number(figures.validation_corr_sharpe, 2)}",
        f"MMC mean {format_number(figures.validation_mmc_mean, 4, signed=True)}",
        f"max feature correlation {format_number(figures.validation_feature_corr_max, 2)}",
    ]
    caveat = f"{eras} {'era is' if eras == 1 else 'eras are'} far too few to judge a model by"
    sentence = f"{', '.join(metrics)}; {caveat}."
    if figures.suspicion is not None:
        message = f"{sentence} It seems to have been trained on these eras."
        return warn("diagnostics", "trained_on_validation", message, figures.suspicion)
    exposure = figures.validation_feature_corr_max or 0.0
    if exposure >= _SINGLE_FEATURE_CORRELATION:
        message = f"{sentence} The predictions are hardly more than one feature."
        return warn("diagnostics", "one_feature", message, "Check that all features reach the model.")
    return passed("diagnostics", sentence)


def time_finding(report: RunReport, limits: Limits) -> Finding:
    """Report the time of a run compared with the limit."""
    # The time limit starts after the imports of the runtime's packages.
    durations = {stage: seconds for stage, seconds in report.stages.items() if stage != "import"}
    seconds = sum(durations.values())
    sentence = f"{seconds:.1f} of {limits.seconds:g} s here ({describe_stages(durations)})."
    if seconds > _WARN_TIME_SHARE * limits.seconds:
        return warn("time", "slow", sentence, _TIME_REMEDY)
    return passed("time", sentence)


def memory_finding(report: RunReport, limits: Limits) -> Finding:
    """Report the peak of memory compared with the limit."""
    peak, limit = report.peak_memory_bytes, limits.memory_bytes
    if not peak:
        fix = "Run it on a machine with control groups, or in a container."
        return warn("memory", "memory_unknown", "The memory of the model can't be measured on this machine.", fix)
    sentence = f"{peak // MIB} of {limit // MIB} MiB at its peak ({100 * peak / limit:.0f} %)."
    if peak > _WARN_MEMORY_SHARE * limit:
        return warn("memory", "much_memory", sentence, _MEMORY_REMEDY)
    return passed("memory", sentence)


def cost_finding(agreement: CostEstimate, limits: Limits, *, rows: int) -> Finding:
    """Report the estimated cost on the server, with its assumptions."""
    memory = f" and {agreement.memory_bytes // MIB} MiB" if agreement.memory_bytes else ""
    sentence = f"About {_seconds(agreement.seconds)}{memory} on the server"
    if agreement.rows > rows:
        sentence += f" for {agreement.rows} rows, if time grows with them from {rows} here"
    sentence += f". This assumes {REFERENCE}; a core here is {agreement.speed:.2f} times as fast."
    if agreement.seconds > _WARN_TIME_SHARE * limits.seconds:
        return warn("forecast", "slow_on_server", f"{sentence} The limit is {limits.seconds:g} s.", _TIME_REMEDY)
    if agreement.memory_bytes > _WARN_MEMORY_SHARE * limits.memory_bytes:
        limit = f"The limit is {limits.memory_bytes // MIB} MiB."
        return warn("forecast", "much_memory_on_server", f"{sentence} {limit}", _MEMORY_REMEDY)
    return passed("forecast", sentence)


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
