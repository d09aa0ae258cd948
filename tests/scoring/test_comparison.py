"""Two models compared: what surely differs, what can be chance, and how a person is told."""

import json

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr
from scipy.stats import t as student

from predictd.scoring.metrics import Diagnostics, bootstrap, compare, correlations_by_era, diagnose

Series = NDArray[np.float64]
RANDOM = np.random.default_rng(11)
MARKET = RANDOM.normal(0.02, 0.03, 200)


def scored(corr: Series, mmc: Series | None = None, first: int = 0) -> Diagnostics:
    return diagnose(eras=[f"{first + number:04d}" for number in range(len(corr))], corr=corr, mmc=mmc)


def test_what_both_models_share_does_not_hide_a_small_difference() -> None:
    better = MARKET + 0.004 + RANDOM.normal(0, 0.008, 200)
    found = compare(scored(MARKET), scored(better), names=("old", "new"))
    difference = found.difference("corr")
    assert difference is not None
    assert difference.value == pytest.approx(better.mean() - MARKET.mean())
    assert difference.low is not None
    assert difference.high is not None
    assert 0 < difference.low < 0.004 < difference.high
    assert found.outcome == "better"
    assert found.verdict.startswith(f"new is better than old: it has {difference.value:.4f} more CORR (")
    assert compare(scored(better), scored(MARKET)).outcome == "worse"


@pytest.mark.parametrize("eras", [20, 60, 150])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(eras: int) -> None:
    held = 0
    for seed in range(200):
        noise = np.random.default_rng(seed).normal(0, 0.02, eras + 3)
        # Each era shares most of its targets with the three before it, as those of 20 days do.
        alike = np.convolve(noise, np.ones(4) / 2, mode="valid")
        other = MARKET[:eras] + 0.003 + alike
        difference = compare(scored(MARKET[:eras]), scored(other), samples=300).difference("corr")
        assert difference is not None
        assert difference.low is not None
        assert difference.high is not None
        held += difference.low <= 0.003 <= difference.high
    assert 0.9 <= held / 200 <= 0.99


@pytest.mark.parametrize("blocks", [3, 5, 10, 70])
def test_few_blocks_widen_the_interval_as_student_s_distribution_says(blocks: int) -> None:
    exact = student.ppf(0.975, blocks - 1) / norm.ppf(0.975) * np.sqrt(blocks / (blocks - 1))
    assert bootstrap.widening(blocks) == pytest.approx(exact, rel=0.04 if blocks < 5 else 0.003)


def test_noise_alone_can_be_chance() -> None:
    found = compare(scored(MARKET), scored(MARKET + RANDOM.normal(0, 0.01, 200)))
    assert found.outcome == "chance"
    assert found.verdict.startswith("The difference may be chance: compared with A, B has 0.000")


def test_a_model_compared_with_itself_is_the_same() -> None:
    found = compare(scored(MARKET, MARKET / 2), scored(MARKET, MARKET / 2), names=("mine", "copy"))
    assert {(one.value, one.low, one.high) for one in found.differences} == {(0, 0, 0)}
    assert found.verdict == "copy scores the same as mine in all 200 eras."


def test_more_of_one_score_and_less_of_the_other_is_no_better_model() -> None:
    found = compare(scored(MARKET, MARKET), scored(MARKET + 0.01, MARKET - 0.01))
    assert found.outcome == "mixed"
    assert "0.0100 more CORR" in found.verdict
    assert "0.0100 less MMC" in found.verdict


@pytest.mark.parametrize("count", [0, 1, 2, 19])
def test_few_eras_are_told_and_give_no_interval(count: int) -> None:
    found = compare(scored(MARKET[:count]), scored(MARKET[:count] + 0.5))
    assert found.outcome == "too_few_eras"
    assert all(one.low is None and one.high is None for one in found.differences)
    assert ("no era in common" if count == 0 else f"have {count} in common, but need 20") in found.verdict
    json.dumps(found.wire(), allow_nan=False)


def test_longer_blocks_take_more_eras() -> None:
    pair = scored(MARKET[:35]), scored(MARKET[:35] + 0.5)
    assert compare(*pair).outcome == "better"
    assert "have 35 in common, but need 36" in compare(*pair, block=12).verdict


def test_only_eras_that_both_have_count() -> None:
    base, other = MARKET.copy(), MARKET[50:] + 0.01
    base[[60, 70]] = np.nan
    found = compare(scored(base), scored(other, first=50))
    assert found.eras == 148
    difference = found.difference("corr", "mean")
    assert difference is not None
    assert difference.value == pytest.approx(0.01)


def test_intervals_follow_from_the_seed() -> None:
    pair = scored(MARKET), scored(MARKET + RANDOM.normal(0.001, 0.01, 200))
    assert compare(*pair) == compare(*pair)
    assert compare(*pair) != compare(*pair, seed=1)


@pytest.mark.parametrize(("eras", "length"), [(1, 4), (8, 4), (9, 5), (64, 8), (65, 9), (125, 10), (600, 17)])
def test_blocks_are_as_long_as_targets_overlap_and_grow_with_the_eras(eras: int, length: int) -> None:
    assert bootstrap.block_length(eras) == length
    drawn = bootstrap.draws(eras, length, 50, 0)
    assert drawn.shape == (50, eras)
    follows = np.diff(drawn, axis=1) % eras == 1 % eras
    inside = np.arange(1, eras) % length != 0
    assert follows[:, inside].all()


def test_the_correlation_of_predictions_is_spearman_s_in_each_era() -> None:
    first = RANDOM.integers(0, 9, 90).astype(np.float64)
    second = first + RANDOM.normal(0, 2, 90)
    second[5] = np.nan
    first[60:] = 0.5
    found = correlations_by_era(first, second, np.array([0, 30, 60, 90]))
    rows = np.arange(30) != 5
    assert found[0] == pytest.approx(spearmanr(first[:30][rows], second[:30][rows]).statistic)
    assert found[1] == pytest.approx(spearmanr(first[30:60], second[30:60]).statistic)
    assert np.isnan(found[2])
    compared = compare(scored(MARKET[:3]), scored(MARKET[:3]), correlations=found)
    assert compared.correlation == pytest.approx(found[:2].mean())
    assert compared.verdict.endswith(f"{found[:2].mean():.2f} correlated.")
