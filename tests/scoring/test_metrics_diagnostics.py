"""The figures of a validation, each computed here by the code that defines it publicly."""

import re

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from conftest import ROOT
from predictd.scoring.metrics import Diagnostics, diagnose
from predictd.scoring.metrics import summaries as ours

ERAS = [f"{number:04d}" for number in range(60)]


@pytest.fixture
def corr() -> NDArray[np.float64]:
    return np.random.default_rng(0).normal(0.02, 0.03, len(ERAS))


def test_each_figure_is_as_numerai_s_own_code_computes_it(corr: NDArray[np.float64]) -> None:
    mmc = np.random.default_rng(1).normal(0.01, 0.02, len(ERAS))
    mmc[:7] = np.nan
    example = corr / 2
    found = diagnose(eras=ERAS, corr=corr, mmc=mmc, example_corr=example, fnc=corr / 3, feature_corr_max=corr + 1)
    scores, contributions = pd.Series(corr), pd.Series(mmc)
    assert found.validation_corr_mean == pytest.approx(scores.mean())
    assert found.validation_corr_std == pytest.approx(scores.std(ddof=0))
    assert found.validation_corr_sharpe == pytest.approx(scores.mean() / scores.std(ddof=0))
    drawdown = (scores.cumsum().expanding(min_periods=1).max() - scores.cumsum()).max()
    assert found.validation_corr_max_drawdown == pytest.approx(drawdown)
    value = (scores + 1).cumprod()
    highest = value.rolling(window=9000, min_periods=1).max()
    assert found.validation_max_drawdown == pytest.approx(-((highest - value) / highest).max())
    payout = (scores.clip(-0.25, 0.25) + 1).cumprod().iloc[-1]
    assert found.validation_apy == pytest.approx(((payout ** (1 / len(scores))) ** 49 - 1) * 100)
    assert found.validation_autocorr == pytest.approx(np.corrcoef(corr[:-1], corr[1:])[0, 1])
    both = (scores + contributions).dropna()
    assert found.validation_corr_plus_mmc_mean == pytest.approx(both.mean())
    sharpe = both.mean() / both.std(ddof=0)
    assert found.validation_corr_plus_mmc_sharpe == pytest.approx(sharpe)
    some = scores[7:]
    assert found.validation_corr_plus_mmc_sharpe_diff == pytest.approx(sharpe - some.mean() / some.std(ddof=0))
    assert found.validation_mmc_std == pytest.approx(contributions.std(ddof=0))
    assert found.example_preds_corr_mean == pytest.approx(example.mean())
    assert found.validation_feature_neutral_corr_mean == pytest.approx(corr.mean() / 3)
    assert found.validation_feature_corr_max == pytest.approx(corr.mean() + 1)
    assert found.validation_bmc_mean is None
    assert found.per_era_diagnostics[0].validation_mmc is None
    assert found.per_era_diagnostics[8].validation_mmc == pytest.approx(mmc[8])


def test_the_adjusted_sharpe_is_lower_the_more_eras_follow_each_other() -> None:
    wave = 0.02 + 0.03 * np.sin(np.arange(60) / 4)
    mixed = np.random.default_rng(2).permutation(wave)
    assert ours.sharpe(wave) == pytest.approx(ours.sharpe(mixed))
    assert ours.adjusted_sharpe(wave) < 0.6 * ours.adjusted_sharpe(mixed)
    assert ours.adjusted_sharpe(mixed) <= ours.sharpe(mixed)


def test_eras_without_predictions_are_missing_and_those_without_targets_are_not(corr: NDArray[np.float64]) -> None:
    corr[[3, 59]] = np.nan
    resolved = np.arange(60) != 59
    found = diagnose(eras=ERAS, corr=corr, expected=resolved)
    assert found.eras_accepted_count == 58
    assert found.eras_missing == ("0003",)
    assert found.validation_corr_mean == pytest.approx(np.nanmean(corr))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_eras_give_what_can_be_said_of_them(count: int) -> None:
    found = diagnose(eras=ERAS[:count], corr=np.full(count, 0.01))
    assert found.validation_corr_mean == (0.01 if count else None)
    assert found.validation_corr_sharpe is None
    assert found.validation_autocorr is None
    assert not found.trained_on_val


def test_what_no_model_reaches_is_suspected_with_its_reason(corr: NDArray[np.float64]) -> None:
    assert not diagnose(eras=ERAS, corr=corr).trained_on_val
    found = diagnose(eras=ERAS, corr=corr + 0.2)
    assert found.trained_on_val
    assert "0.22" in (found.suspicion or "")
    assert "Sharpe" in (diagnose(eras=ERAS, corr=0.05 + corr / 10).suspicion or "")


def test_every_field_on_the_wire_is_one_of_the_schema(corr: NDArray[np.float64]) -> None:
    schema = (ROOT / "src/predictd/api/graphql/schema.graphql").read_text()

    def fields_of(kind: str) -> set[str]:
        body = re.search(rf"^type {kind} {{(.*?)}}", schema, re.DOTALL | re.MULTILINE)
        assert body
        return set(re.findall(r"(\w+):", body[1]))

    found: Diagnostics = diagnose(eras=ERAS, corr=corr, tb200=diagnose(eras=ERAS, corr=corr, top_bottom=200))
    wire = found.wire()
    assert set(wire) <= fields_of("V2Diagnostics")
    assert set(wire["perEraDiagnostics"][0]) <= fields_of("V2DiagnosticsEras")
    assert wire["tb200Diagnostics"]["topBottom"] == 200
    defined = (ROOT / "docs/reference/metrics.md").read_text()
    assert [name for name in fields_of("V2Diagnostics") if name.startswith("validation") and name not in defined] == []
