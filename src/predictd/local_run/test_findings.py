"""What a trial's runs say, point by point, for a person."""

from dataclasses import replace

from predictd.domain.failures import ModelFailure
from predictd.domain.findings import Finding, fail, passed, warn
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import RunReport, describe_stages
from predictd.local_run.compare_runs import Agreement, Kind
from predictd.local_run.cost_estimate import REFERENCE, Forecast
from predictd.reports.numbers import format_number
from predictd.scoring.metrics import Diagnostics

_MUCH_TIME = 0.5
_MUCH_MEMORY = 0.8
_ONE_FEATURE = 0.95
_PARTLY = 0.8
"""Correlation of runs in two orders of rows from which the order matters only to a part, as that of broken ties may."""
_WHERE = {
    "repeat": "Run again on the same data: ",
    "row order": "With the rows in another order: ",
    "eras": "On validation eras: ",
    "one era": "On one validation era alone: ",
}
_FASTER = "Make the model smaller, or compute in training what does not depend on live_features."
_SMALLER = "Use smaller types and fewer copies of live_features: take the columns that the model needs first."
_SEED = "Set every seed in predict (numpy.random.default_rng(0)), or leave the randomness to training."
_BY_ROW = (
    "Compute each row from its own values, or from what does not know the order, such as a rank or a mean of the era."
)
_TIES = "Rank with rank(pct=True), whose method is 'average': the method 'first' breaks ties by the order of rows."
_MEMORY = "Keep nothing from one call of predict to the next: compute all of it from the arguments."


def about_failure(topic: str, failure: ModelFailure, *, is_validation: bool = False) -> Finding:
    """A run that failed, or whose predictions are no valid submission; `is_validation` says on which ids."""
    if is_validation:
        failure = replace(failure, facts={**failure.facts, "kind": "validation"})
    return fail(topic, failure.code, f"{_WHERE.get(topic, '')}{failure.sentence}", failure.remedy)


def about_stand_in(era: str) -> Finding:
    """There was no live data."""
    words = f"There is no live data here, so that era {era} stood in for it; live data has the era X, and new values."
    return warn("live data", "no_live_data", words, "Give --data a folder with live.parquet, or go online.")


def about_repeat(found: Agreement) -> Finding:
    """Two runs on the same data."""
    if found.kind is Kind.SAME:
        return passed("repeat", f"Two runs on the same data: {found.describe()}.")
    sentence = f"Two runs on the same data: {found.describe()}."
    grade = fail if found.kind is Kind.DIFFERENT else warn
    return grade("repeat", "not_deterministic", f"Predictions are random. {sentence}", _SEED)


def about_order(found: Agreement) -> Finding:
    """A run on the same rows in another order."""
    sentence = f"With the rows in another order: {found.describe()}."
    if found.kind in (Kind.SAME, Kind.SLIGHT):
        return passed("row order", sentence)
    if found.kind is Kind.TIES:
        return passed("row order", f"{sentence} Only ties are broken by the order of the rows, it seems.")
    if found.correlation >= _PARTLY:
        words = f"Predictions depend on the order of rows to a part. {sentence}"
        return warn("row order", "depends_on_row_order", words, f"{_BY_ROW} {_TIES}")
    return fail("row order", "depends_on_row_order", f"Predictions depend on the order of rows. {sentence}", _BY_ROW)


def about_alone(found: Agreement, era: str) -> Finding:
    """A run on an era alone, beside that on several eras one after the other."""
    sentence = f"Era {era} alone and after the other eras: {found.describe()}."
    if found.kind is Kind.SAME:
        return passed("one era", sentence)
    words = f"Predictions depend on the eras that the model was called with before. {sentence}"
    grade = warn if found.kind is Kind.SLIGHT else fail
    return grade("one era", "depends_on_other_eras", words, _MEMORY)


def about_figures(figures: Diagnostics, eras: int) -> Finding:
    """What the predictions are worth, as far as a few eras can say."""
    told = [
        f"CORR mean {format_number(figures.validation_corr_mean, 4, signed=True)}",
        f"Sharpe {format_number(figures.validation_corr_sharpe, 2)}",
        f"MMC mean {format_number(figures.validation_mmc_mean, 4, signed=True)}",
        f"max feature correlation {format_number(figures.validation_feature_corr_max, 2)}",
    ]
    few = f"{eras} {'era is' if eras == 1 else 'eras are'} far too few to judge a model by"
    sentence = f"{', '.join(told)}; {few}."
    if figures.suspicion is not None:
        words = f"{sentence} It seems to have been trained on these eras."
        return warn("diagnostics", "trained_on_validation", words, figures.suspicion)
    exposure = figures.validation_feature_corr_max or 0.0
    if exposure >= _ONE_FEATURE:
        words = f"{sentence} The predictions are hardly more than one feature."
        return warn("diagnostics", "one_feature", words, "Check that all features reach the model.")
    return passed("diagnostics", sentence)


def about_time(report: RunReport, limits: Limits) -> Finding:
    """The time of a run against the limit."""
    # The clock of the limit starts when the runtime's packages are imported.
    taken = {stage: seconds for stage, seconds in report.stages.items() if stage != "import"}
    seconds = sum(taken.values())
    sentence = f"{seconds:.1f} of {limits.seconds:g} s here ({describe_stages(taken)})."
    if seconds > _MUCH_TIME * limits.seconds:
        return warn("time", "slow", sentence, _FASTER)
    return passed("time", sentence)


def about_memory(report: RunReport, limits: Limits) -> Finding:
    """The peak of memory against the limit."""
    peak, limit = report.peak_memory_bytes, limits.memory_bytes
    if not peak:
        fix = "Run it where there are control groups, or in a container."
        return warn("memory", "memory_unknown", "This machine can't tell how much memory the model took.", fix)
    sentence = f"{peak // MIB} of {limit // MIB} MiB at its peak ({100 * peak / limit:.0f} %)."
    if peak > _MUCH_MEMORY * limit:
        return warn("memory", "much_memory", sentence, _SMALLER)
    return passed("memory", sentence)


def about_forecast(found: Forecast, limits: Limits, *, rows: int) -> Finding:
    """What a run would take on the server, and what that assumes."""
    memory = f" and {found.memory_bytes // MIB} MiB" if found.memory_bytes else ""
    sentence = f"About {_seconds(found.seconds)}{memory} on the server"
    if found.rows > rows:
        sentence += f" for {found.rows} rows, if time grows with them from {rows} here"
    sentence += f". Assumed is {REFERENCE}; a core here is {found.speed:.2f} times as fast."
    if found.seconds > _MUCH_TIME * limits.seconds:
        return warn("forecast", "slow_on_server", f"{sentence} The limit is {limits.seconds:g} s.", _FASTER)
    if found.memory_bytes > _MUCH_MEMORY * limits.memory_bytes:
        limit = f"The limit is {limits.memory_bytes // MIB} MiB."
        return warn("forecast", "much_memory_on_server", f"{sentence} {limit}", _SMALLER)
    return passed("forecast", sentence)


def _seconds(value: float) -> str:
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
