"""The metrics of a validation: the fields of V2Diagnostics that apply to the classic tournament."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd.scoring.metrics import summaries
from predictd.scoring.metrics.batch import Scores
from predictd.scoring.metrics.ranks import Floats

SUSPICIOUS_CORR = 0.1
"""A mean CORR that no model reaches on eras outside of its training."""
SUSPICIOUS_SHARPE = 5.0
"""A Sharpe that no model reaches either, over at least _ERAS_FOR_SHARPE eras."""
_ERAS_FOR_SHARPE = 20


@dataclass(frozen=True, kw_only=True)
class EraDiagnostics:
    """The scores of one era, or None where missing."""

    era: str
    example_preds_corr: float | None = None
    validation_corr: float | None = None
    validation_mmc: float | None = None
    validation_bmc: float | None = None
    validation_feature_neutral_corr: float | None = None
    validation_feature_neutral_corr_v3: float | None = None
    validation_feature_corr_max: float | None = None
    validation_churn: float | None = None
    validation_turnover: float | None = None

    def wire(self) -> dict[str, Any]:
        """Return its fields by their names in the GraphQL schema."""
        return _wire(self)


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """The metrics of a validation, or None where unavailable. docs/reference/metrics.md defines each.

    `suspicion` explains why `trained_on_val` is True; it is not in the schema. `top_bottom` is set in metrics of only
    the highest and lowest predictions, `tb200_diagnostics` in the others.
    """

    per_era_diagnostics: tuple[EraDiagnostics, ...]
    eras_accepted_count: int
    eras_missing: tuple[str, ...]
    trained_on_val: bool
    suspicion: str | None = None
    top_bottom: int | None = None
    tb200_diagnostics: "Diagnostics | None" = None
    example_preds_corr_mean: float | None = None
    validation_corr_mean: float | None = None
    validation_corr_std: float | None = None
    validation_corr_sharpe: float | None = None
    validation_corr_max_drawdown: float | None = None
    validation_corr_corr_w_example_preds: float | None = None
    validation_mmc_mean: float | None = None
    validation_mmc_std: float | None = None
    validation_mmc_sharpe: float | None = None
    validation_bmc_mean: float | None = None
    validation_corr_plus_mmc_mean: float | None = None
    validation_corr_plus_mmc_std: float | None = None
    validation_corr_plus_mmc_sharpe: float | None = None
    validation_corr_plus_mmc_sharpe_diff: float | None = None
    validation_feature_neutral_corr_mean: float | None = None
    validation_feature_neutral_corr_v3_mean: float | None = None
    validation_feature_corr_max: float | None = None
    validation_max_drawdown: float | None = None
    validation_apy: float | None = None
    validation_autocorr: float | None = None
    validation_adjusted_sharpe: float | None = None
    validation_churn_max: float | None = None
    validation_churn_mean: float | None = None
    validation_churn_std: float | None = None
    validation_turnover_max: float | None = None
    validation_turnover_mean: float | None = None
    validation_turnover_std: float | None = None

    def wire(self) -> dict[str, Any]:
        """Return its fields by their names in the GraphQL schema, with a list of those of each era."""
        return _wire(self)

    @classmethod
    def from_wire(cls, content: dict[str, Any], suspicion: str | None = None) -> "Diagnostics":
        """Return the diagnostics that `wire` serialized; missing fields are None. `suspicion` is not on the wire."""
        values = _known_fields(cls, content)
        tail = values.get("tb200_diagnostics")
        return cls(
            **{
                **values,
                "per_era_diagnostics": tuple(
                    EraDiagnostics(**_known_fields(EraDiagnostics, era)) for era in values["per_era_diagnostics"]
                ),
                "eras_missing": tuple(values["eras_missing"]),
                "tb200_diagnostics": None if tail is None else cls.from_wire(tail),
                "suspicion": suspicion,
            }
        )


def diagnose(
    *,
    eras: Sequence[str],
    corr: Floats,
    mmc: Floats | None = None,
    bmc: Floats | None = None,
    example_corr: Floats | None = None,
    corr_with_example: Floats | None = None,
    fnc: Floats | None = None,
    fnc_v3: Floats | None = None,
    feature_corr_max: Floats | None = None,
    expected: NDArray[np.bool_] | None = None,
    top_bottom: int | None = None,
    tb200: Diagnostics | None = None,
) -> Diagnostics:
    """Return the metrics of one submission from its scores in each era, all of shape (eras,) and in time order.

    NaN where an era has no score. `expected` are the eras with targets: those without CORR are missing.
    """
    no_scores = np.full(len(eras), np.nan)
    series = {
        "example_preds_corr": example_corr,
        "validation_corr": corr,
        "validation_mmc": mmc,
        "validation_bmc": bmc,
        "validation_feature_neutral_corr": fnc,
        "validation_feature_neutral_corr_v3": fnc_v3,
        "validation_feature_corr_max": feature_corr_max,
    }
    scores = {name: no_scores if values is None else np.asarray(values) for name, values in series.items()}
    accepted = ~np.isnan(corr)
    missing = ~accepted if expected is None else ~accepted & expected
    metrics = _metrics(scores, no_scores if corr_with_example is None else corr_with_example)
    reason = suspicion(corr)
    return Diagnostics(
        per_era_diagnostics=tuple(
            EraDiagnostics(era=era, **{name: _finite(values[number]) for name, values in scores.items()})
            for number, era in enumerate(eras)
        ),
        eras_accepted_count=int(accepted.sum()),
        eras_missing=tuple(era for era, is_missing in zip(eras, missing, strict=True) if is_missing),
        trained_on_val=reason is not None,
        suspicion=reason,
        top_bottom=top_bottom,
        tb200_diagnostics=tb200,
        **{name: _finite(value) for name, value in metrics.items()},
    )


def diagnose_scores(scores: Scores, submission: int = 0, *, top_bottom: Scores | None = None) -> Diagnostics:
    """Return the metrics of one of the submissions in the result of `score`.

    `top_bottom` are the scores of the 200 highest and lowest predictions, for `tb200_diagnostics`.
    """
    tail = None if top_bottom is None else _of(top_bottom, submission, top_bottom=200)
    return _of(scores, submission, tb200=tail)


def suspicion(corr: Floats) -> str | None:
    """Return why a model seems to be trained on the validation data, from its CORR in each era, or None."""
    series = summaries.present(corr)
    mean, sharpe = summaries.mean(series), summaries.sharpe(series)
    if mean > SUSPICIOUS_CORR:
        return (
            f"The mean CORR is {mean:.3f}, above {SUSPICIOUS_CORR}, which models reach on eras that they were trained "
            "on. Train without the validation eras for meaningful metrics."
        )
    if len(series) >= _ERAS_FOR_SHARPE and sharpe > SUSPICIOUS_SHARPE:
        return (
            f"The Sharpe of CORR is {sharpe:.1f}, above {SUSPICIOUS_SHARPE:.0f}, which models reach on eras that they "
            "were trained on. Train without the validation eras for meaningful metrics."
        )
    return None


def _of(
    scores: Scores, submission: int, *, top_bottom: int | None = None, tb200: Diagnostics | None = None
) -> Diagnostics:
    return diagnose(
        eras=scores.eras,
        corr=scores.corr[:, submission],
        mmc=scores.mmc[:, submission],
        bmc=scores.bmc[:, submission],
        example_corr=scores.example_corr,
        corr_with_example=scores.corr_with_example[:, submission],
        fnc=scores.fnc[:, submission],
        fnc_v3=scores.fnc_v3[:, submission],
        feature_corr_max=scores.feature_corr_max[:, submission],
        expected=scores.resolved,
        top_bottom=top_bottom,
        tb200=tb200,
    )


def _metrics(scores: dict[str, Floats], with_example: Floats) -> dict[str, float]:
    series = {name.removeprefix("validation_"): summaries.present(values) for name, values in scores.items()}
    corr, mmc = series["corr"], series["mmc"]
    both = summaries.present(scores["validation_corr"] + scores["validation_mmc"])
    corr_of_both = scores["validation_corr"][~np.isnan(scores["validation_mmc"])]
    plus = summaries.sharpe(both)
    metrics = {
        "example_preds_corr_mean": summaries.mean(series["example_preds_corr"]),
        "validation_corr_max_drawdown": summaries.cumulative_drawdown(corr),
        "validation_corr_corr_w_example_preds": summaries.mean(summaries.present(with_example)),
        "validation_bmc_mean": summaries.mean(series["bmc"]),
        "validation_corr_plus_mmc_sharpe_diff": plus - summaries.sharpe(summaries.present(corr_of_both)),
        "validation_feature_neutral_corr_mean": summaries.mean(series["feature_neutral_corr"]),
        "validation_feature_neutral_corr_v3_mean": summaries.mean(series["feature_neutral_corr_v3"]),
        "validation_feature_corr_max": summaries.mean(series["feature_corr_max"]),
        "validation_max_drawdown": summaries.compounded_drawdown(corr),
        "validation_apy": summaries.apy(corr),
        "validation_autocorr": summaries.autocorrelation(corr),
        "validation_adjusted_sharpe": summaries.adjusted_sharpe(corr),
    }
    for name, values in (("corr", corr), ("mmc", mmc), ("corr_plus_mmc", both)):
        metrics[f"validation_{name}_mean"] = summaries.mean(values)
        metrics[f"validation_{name}_std"] = summaries.deviation(values)
        metrics[f"validation_{name}_sharpe"] = summaries.sharpe(values)
    return metrics


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _wire(record: Any) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name == "suspicion":
            continue
        if isinstance(value, tuple):
            value = [item.wire() if isinstance(item, EraDiagnostics) else item for item in value]
        elif isinstance(value, Diagnostics):
            value = value.wire()
        content[wire_name(field.name)] = value
    return content


def _known_fields(record: type, content: dict[str, Any]) -> dict[str, Any]:
    names = {wire_name(field.name): field.name for field in fields(record)}
    return {names[name]: value for name, value in content.items() if name in names}


def wire_name(name: str) -> str:
    """Return the name of a field in the GraphQL schema: 'validationCorrMean'."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
