"""The figures of a validation: one field for each of V2Diagnostics that has a meaning for the classic tournament."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictd.scoring.metrics import summaries
from predictd.scoring.metrics.batch import Scores
from predictd.scoring.metrics.ranks import Floats

SUSPICIOUS_CORR = 0.1
"""A mean CORR that no model reaches on eras that it has not been trained on."""
SUSPICIOUS_SHARPE = 5.0
"""A Sharpe that none reaches either, over at least this many eras."""
_ERAS_FOR_SHARPE = 20


@dataclass(frozen=True, kw_only=True)
class EraDiagnostics:
    """The scores of one era; None where there is none."""

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
        """Its fields by their names in the GraphQL schema."""
        return _wire(self)


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """The figures of a validation; None where a figure can't be had. docs/metrics.md defines each.

    `suspicion` tells in words why `trained_on_val` is True; it is no field of the schema. `top_bottom` is set in the
    figures that count the highest and lowest predictions alone, `tb200_diagnostics` of the others.
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
        """Its fields by their names in the GraphQL schema, with those of each era in a list."""
        return _wire(self)

    @classmethod
    def from_wire(cls, content: dict[str, Any], suspicion: str | None = None) -> "Diagnostics":
        """What `wire` made the content of; fields that are not there are None. `suspicion` is not on the wire."""
        known = _known_fields(cls, content)
        tail = known.get("tb200_diagnostics")
        return cls(
            **{
                **known,
                "per_era_diagnostics": tuple(
                    EraDiagnostics(**_known_fields(EraDiagnostics, era)) for era in known["per_era_diagnostics"]
                ),
                "eras_missing": tuple(known["eras_missing"]),
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
    churn: Floats | None = None,
    turnover: Floats | None = None,
    expected: NDArray[np.bool_] | None = None,
    top_bottom: int | None = None,
    tb200: Diagnostics | None = None,
) -> Diagnostics:
    """The figures of one submission from its scores in each era, all of the shape (eras,) and in order of time.

    NaN where an era has no score. `expected` are the eras that have targets: those of them without CORR are missing.
    """
    nothing = np.full(len(eras), np.nan)
    series = {
        "example_preds_corr": example_corr,
        "validation_corr": corr,
        "validation_mmc": mmc,
        "validation_bmc": bmc,
        "validation_feature_neutral_corr": fnc,
        "validation_feature_neutral_corr_v3": fnc_v3,
        "validation_feature_corr_max": feature_corr_max,
        "validation_churn": churn,
        "validation_turnover": turnover,
    }
    found = {name: nothing if values is None else np.asarray(values) for name, values in series.items()}
    accepted = ~np.isnan(corr)
    missing = ~accepted if expected is None else ~accepted & expected
    figures = _figures(found, nothing if corr_with_example is None else corr_with_example)
    reason = suspicion(corr)
    return Diagnostics(
        per_era_diagnostics=tuple(
            EraDiagnostics(era=era, **{name: _known(values[number]) for name, values in found.items()})
            for number, era in enumerate(eras)
        ),
        eras_accepted_count=int(accepted.sum()),
        eras_missing=tuple(era for era, lacks in zip(eras, missing, strict=True) if lacks),
        trained_on_val=reason is not None,
        suspicion=reason,
        top_bottom=top_bottom,
        tb200_diagnostics=tb200,
        **{name: _known(value) for name, value in figures.items()},
    )


def diagnose_scores(scores: Scores, submission: int = 0, *, top_bottom: Scores | None = None) -> Diagnostics:
    """The figures of one of the submissions that `engine.score` has scored.

    `top_bottom` are the scores of the 200 highest and lowest predictions, for `tb200_diagnostics`.
    """
    tail = None if top_bottom is None else _of(top_bottom, submission, top_bottom=200)
    return _of(scores, submission, tb200=tail)


def suspicion(corr: Floats) -> str | None:
    """Why a model seems to be trained on the validation data, from its CORR in each era; None if it does not."""
    series = summaries.present(corr)
    mean, sharpe = summaries.mean(series), summaries.sharpe(series)
    if mean > SUSPICIOUS_CORR:
        return (
            f"The mean CORR is {mean:.3f}, above {SUSPICIOUS_CORR}, which models reach on eras that they were trained "
            "on; train without the validation eras to see what it is worth."
        )
    if len(series) >= _ERAS_FOR_SHARPE and sharpe > SUSPICIOUS_SHARPE:
        return (
            f"The Sharpe of CORR is {sharpe:.1f}, above {SUSPICIOUS_SHARPE:.0f}, which models reach on eras that they "
            "were trained on; train without the validation eras to see what it is worth."
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


def _figures(found: dict[str, Floats], with_example: Floats) -> dict[str, float]:
    series = {name.removeprefix("validation_"): summaries.present(values) for name, values in found.items()}
    corr, mmc = series["corr"], series["mmc"]
    both = summaries.present(found["validation_corr"] + found["validation_mmc"])
    corr_of_both = found["validation_corr"][~np.isnan(found["validation_mmc"])]
    plus = summaries.sharpe(both)
    figures = {
        "example_preds_corr_mean": summaries.mean(series["example_preds_corr"]),
        "validation_corr_max_drawdown": summaries.cumulated_drawdown(corr),
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
        figures[f"validation_{name}_mean"] = summaries.mean(values)
        figures[f"validation_{name}_std"] = summaries.deviation(values)
        figures[f"validation_{name}_sharpe"] = summaries.sharpe(values)
    for name in ("churn", "turnover"):
        values = series[name]
        figures[f"validation_{name}_max"] = float(values.max()) if len(values) else float("nan")
        figures[f"validation_{name}_mean"] = summaries.mean(values)
        figures[f"validation_{name}_std"] = summaries.deviation(values)
    return figures


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _wire(record: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name == "suspicion":
            continue
        if isinstance(value, tuple):
            value = [one.wire() if isinstance(one, EraDiagnostics) else one for one in value]
        elif isinstance(value, Diagnostics):
            value = value.wire()
        found[wire_name(field.name)] = value
    return found


def _known_fields(record: type, content: dict[str, Any]) -> dict[str, Any]:
    names = {wire_name(field.name): field.name for field in fields(record)}
    return {names[name]: value for name, value in content.items() if name in names}


def wire_name(name: str) -> str:
    """The name of a field in the GraphQL schema: 'validationCorrMean'."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
