"""Every metric equals that of numerai-tools, called with one era and one submission at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numerai_tools import scoring as reference
from numpy.typing import NDArray
from scipy.stats import norm

from predictd.scoring.metrics.contribution import correlation_contribution, meta_model
from predictd.scoring.metrics.correlation import neutral_corr_of, numerai_corr
from predictd.scoring.metrics.era_batch import SubmissionGroup, groups
from predictd.scoring.metrics.exposure import feature_correlations
from predictd.scoring.metrics.factors import Factor, GramFactor, NotConvergedError, SpanFactor, factor_of
from predictd.scoring.metrics.features import FeatureMatrix
from predictd.scoring.metrics.normal import quantile

Floats = NDArray[np.float64]
NEAR = pytest.approx
SEEDS = st.integers(0, 2**32 - 1)
FEW = settings(max_examples=40, deadline=None)


class Example:
    """One era drawn from a seed: ties, missing values, constant submissions and few rows are all common."""

    def __init__(self, seed: int, *, rows: int | None = None, missing: bool = True) -> None:
        rng = np.random.default_rng(seed)
        count = rows or int(rng.choice([1, 2, 3, 5, 12, 40, 150]))
        self.targets = rng.choice([0, 0.25, 0.5, 0.75, 1], count, p=[0.05, 0.2, 0.5, 0.2, 0.05])
        if rng.random() < 0.2:
            self.targets = rng.normal(size=count)
        if rng.random() < 0.05:
            self.targets[:] = 0.3
        kinds = [rng.random(count), rng.integers(0, 4, count) / 3, np.full(count, 0.1), np.round(rng.random(count), 1)]
        self.predictions = np.stack([*kinds, rng.normal(size=count)])
        self.meta = rng.choice([rng.random(count), np.round(rng.random(count), 1)])
        self.features = rng.integers(0, 5, (int(rng.integers(1, 7)), count), dtype=np.int8)
        if rng.random() < 0.3:
            self.features[0] = 2
        if len(self.features) > 2 and rng.random() < 0.3:
            self.features[1] = self.features[2]
        if missing:
            holes = rng.choice([0, 0.05, 0.12])
            for column in (self.targets, self.meta, self.predictions[0], self.predictions[3]):
                column[rng.random(count) < holes] = np.nan

    @property
    def index(self) -> pd.Index:
        return pd.Index([f"id{number:05d}" for number in range(len(self.targets))])

    def series(self, values: Floats) -> Any:
        return pd.Series(values, index=self.index, name="values")

    @property
    def frame(self) -> Any:
        return pd.DataFrame(self.features.T, index=self.index, columns=[f"f{n}" for n in range(len(self.features))])

    def expected(self, score: Callable[[Any], Any]) -> Floats:
        """What the reference gives for each submission, not a number where it refuses."""
        return np.array([_value(score, self.series(values).to_frame("p")) for values in self.predictions])


def _value(score: Callable[[Any], Any], predictions: Any) -> float:
    try:
        with np.errstate(all="ignore"):
            found = score(predictions)
    except (AssertionError, np.linalg.LinAlgError, ZeroDivisionError, ValueError, KeyError):
        return float("nan")
    return float(found.iloc[0] if isinstance(found, pd.Series) else found)


def same(ours: Floats, theirs: Floats) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9, equal_nan=True)


def each(predictions: Floats, score: Callable[[SubmissionGroup], Floats]) -> Floats:
    """Return the score of each submission of an era, shape (submissions,)."""
    scores = np.full(len(predictions), np.nan)
    for group in groups(predictions):
        scores[group.columns] = score(group)
    return scores


def feature_neutral_corr(
    group: SubmissionGroup,
    features: FeatureMatrix,
    targets: Floats,
    factor: Factor | None = None,
    top_bottom: int | None = None,
) -> Floats:
    within = features.within(group.rows)
    residual = (factor or factor_of(within)).residual(within, group.ranking().gaussian)
    return neutral_corr_of(group, residual, targets, top_bottom)


def test_quantiles_are_those_of_scipy() -> None:
    probabilities = np.concatenate([np.linspace(1e-9, 1 - 1e-9, 20001), 10.0 ** -np.arange(2, 16), [0.5]])
    np.testing.assert_allclose(quantile(probabilities), norm.ppf(probabilities), rtol=1e-14, atol=1e-15)


@given(SEEDS, st.sampled_from([None, None, 2]))
@FEW
def test_corr_is_that_of_the_reference(seed: int, top_bottom: int | None) -> None:
    era = Example(seed)
    targets = era.series(era.targets)
    ours = each(era.predictions, lambda group: numerai_corr(group, era.targets, top_bottom=top_bottom))
    same(ours, era.expected(lambda p: reference.numerai_corr(p, targets, top_bottom=top_bottom)))


@given(SEEDS, st.sampled_from([None, None, 2]))
@FEW
def test_contribution_is_that_of_the_reference(seed: int, top_bottom: int | None) -> None:
    era = Example(seed)
    targets, meta = era.series(era.targets), era.series(era.meta)
    ours = each(
        era.predictions,
        lambda group: correlation_contribution(group, era.meta, era.targets, top_bottom=top_bottom),
    )
    same(ours, era.expected(lambda p: reference.correlation_contribution(p, meta, targets, top_bottom=top_bottom)))


@given(SEEDS, st.sampled_from([None, None, 2]))
@FEW
def test_fnc_is_that_of_the_reference(seed: int, top_bottom: int | None) -> None:
    era = Example(seed)
    features = FeatureMatrix(values=era.features)
    targets = era.series(era.targets)

    def expected(p: Any) -> Any:
        p = p.dropna()
        frame = era.frame.loc[p.index]
        left = reference.neutralize(reference.gaussian(reference.tie_kept_rank(p)), frame)
        gaps = np.diff(np.sort(left["p"].to_numpy()))
        if not gaps.sum() > 1e-10:  # what is left is rounding
            return float("nan")
        if gaps.min() > 1e-9:
            return reference.feature_neutral_corr(p, frame, targets, top_bottom=top_bottom)
        # Rows with the same features and prediction differ by rounding in the reference, and so in their ranks.
        return reference.numerai_corr(left.round(10), targets, top_bottom=top_bottom)

    ours = each(
        era.predictions, lambda group: feature_neutral_corr(group, features, era.targets, top_bottom=top_bottom)
    )
    same(ours, era.expected(expected))


@given(SEEDS, st.sampled_from([None, None, 2]))
@FEW
def test_the_feature_followed_most_is_that_of_the_reference(seed: int, top_bottom: int | None) -> None:
    era = Example(seed, missing=False)
    for values in era.predictions:
        group = SubmissionGroup(np.array([0]), np.ones(len(values), dtype=bool), values[None])
        found = feature_correlations(group, FeatureMatrix(values=era.features), top_bottom=top_bottom)
        size = np.nanmax(np.abs(found), axis=1) if not np.isnan(found).all() else np.full(1, np.nan)
        theirs = _value(
            lambda p: reference.max_feature_correlation(p["p"], era.frame, top_bottom)[1],
            era.series(values).to_frame("p"),
        )
        if np.ptp(values) == 0:  # the reference correlates the rounding of a constant's mean
            assert np.isnan(size[0])
        else:
            np.testing.assert_allclose(size[0], theirs, atol=1e-9, equal_nan=True)


def _features(count: int, rows: int, *, seed: int = 0) -> NDArray[np.int8]:
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(max(1, count // 6), rows))
    drawn = 0.8 * latent[rng.integers(len(latent), size=count)] + rng.normal(size=(count, rows))
    return np.clip(np.rint(2 + drawn), 0, 4).astype(np.int8)


@pytest.mark.parametrize("spoil", ["nothing", "constants", "duplicates", "sums", "wide", "square"])
def test_eras_of_many_features_give_the_reference_s_fnc_whatever_their_rank(spoil: str) -> None:
    rows = {"wide": 250, "square": 301}.get(spoil, 700)
    features = _features(300, rows)
    if spoil == "constants":
        features[:120] = 2
    if spoil == "duplicates":
        features[40:90] = features[100:150]
    if spoil == "sums":
        features[7] = (features[8] > 2) * 1 + (features[9] > 2)
        features[8], features[9] = features[8] > 2, features[9] > 2
    if spoil in ("wide", "square"):
        features[60:] = 2
    rng = np.random.default_rng(1)
    predictions, targets = rng.random((3, rows)), rng.choice([0, 0.25, 0.5, 0.75, 1], rows)
    index = [f"{number:04d}" for number in range(rows)]
    frame = pd.DataFrame(features.T, index=index)
    theirs = reference.feature_neutral_corr(
        pd.DataFrame(predictions.T, index=index), frame, pd.Series(targets, index=index, name="t")
    )
    matrix = FeatureMatrix(values=features)
    factor = factor_of(matrix)
    assert isinstance(factor, SpanFactor if spoil in ("wide", "square") else GramFactor)
    same(each(predictions, lambda group: feature_neutral_corr(group, matrix, targets, factor=factor)), theirs)


def test_nothing_is_left_where_features_span_all_rows() -> None:
    features = FeatureMatrix(values=_features(50, 20))
    predictions, targets = np.random.default_rng(2).random((2, 20)), np.arange(20) / 20
    assert np.isnan(each(predictions, lambda group: feature_neutral_corr(group, features, targets))).all()


@pytest.mark.parametrize("count", [4, 150])
def test_a_factor_of_other_features_gives_the_right_residual_or_none(count: int) -> None:
    right, wrong = (FeatureMatrix(values=_features(count, 200, seed=seed)) for seed in (3, 4))
    vectors = np.random.default_rng(5).normal(size=(2, 200))
    try:
        found = factor_of(wrong).residual(right, vectors)
    except NotConvergedError:
        return
    np.testing.assert_allclose(found, factor_of(right).residual(right, vectors), atol=1e-12)


def test_the_meta_model_is_that_of_the_reference() -> None:
    rng = np.random.default_rng(6)
    predictions, stakes = np.round(rng.random((3, 60)), 2), rng.random(3)
    frame = pd.DataFrame(predictions.T, [f"{number:04d}" for number in range(60)], ["a", "b", "c"])
    gaussian = reference.gaussian(reference.tie_kept_rank(frame))
    same(meta_model(predictions, stakes), reference.stake_weight(gaussian, pd.Series(stakes, frame.columns)).to_numpy())
