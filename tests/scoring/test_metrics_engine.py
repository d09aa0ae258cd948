"""The batch engine: all eras and submissions at once give what each gives alone, from mapped files and kept factors."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numerai_tools import scoring as reference
from numpy.typing import NDArray

from predictd.data.mapping import map_parquet
from predictd.domain.errors import InvalidInputError
from predictd.scoring.metrics import FactorCache, Features, MappedFeatures, Scores, Truth, score
from predictd.scoring.metrics.correlation import broken_ranks

BOUNDS = np.array([0, 300, 420, 900])
NAMES = tuple(f"feature_{number}" for number in range(12))


class Drawn:
    """Features that are drawn, as a source."""

    names = NAMES

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.matrix = rng.integers(0, 5, (len(NAMES), BOUNDS[-1]), dtype=np.int8)
        self.matrix[3, :420] = 2

    def values(self, number: int) -> NDArray[np.int8]:
        return self.matrix[:, BOUNDS[number] : BOUNDS[number + 1]]


@pytest.fixture(scope="module")
def source() -> Drawn:
    return Drawn()


@pytest.fixture(scope="module")
def truth() -> Truth:
    rng = np.random.default_rng(1)
    targets = rng.choice([0, 0.25, 0.5, 0.75, 1], BOUNDS[-1])
    targets[[5, 301, 700]] = np.nan
    meta, benchmark, example = rng.random((3, BOUNDS[-1]))
    meta[:300] = np.nan
    return Truth(
        eras=("0001", "0002", "0003"),
        bounds=BOUNDS,
        targets=targets,
        meta_model=meta,
        benchmark=benchmark,
        example=example,
    )


@pytest.fixture(scope="module")
def predictions() -> NDArray[np.float64]:
    rng = np.random.default_rng(2)
    drawn = rng.random((BOUNDS[-1], 5))
    drawn[:, 1] = np.round(drawn[:, 1], 1)
    drawn[310:330, 2] = np.nan
    drawn[300:420, 3] = np.nan
    drawn[:300, 4] = 0.5
    return drawn


def assert_equal(left: Scores, right: Scores) -> None:
    for name, values in vars(left).items():
        if name != "eras":
            np.testing.assert_allclose(values, getattr(right, name), atol=1e-12, err_msg=name)


def test_every_score_is_that_of_the_reference_for_its_era_and_submission(
    source: Drawn, truth: Truth, predictions: NDArray[np.float64]
) -> None:
    scores = score(predictions, truth, Features(source=source, v3=NAMES[4:9]))
    for era in range(len(truth.eras)):
        part = slice(BOUNDS[era], BOUNDS[era + 1])
        index = pd.Index([f"{number:04d}" for number in range(part.stop - part.start)])
        targets, meta, benchmark = (
            pd.Series(column[part], index=index, name="c")
            for column in (truth.targets, truth.meta_model, truth.benchmark)
            if column is not None
        )
        frame = pd.DataFrame(source.values(era).T, index=index, columns=list(NAMES))
        for submission in range(predictions.shape[1]):
            p = pd.DataFrame({"p": predictions[part, submission]}, index=index)
            present = p.dropna()

            def expect(found: NDArray[np.float64], expected: Any, at: Any = (era, submission)) -> None:
                try:
                    value = float(expected())
                except (AssertionError, np.linalg.LinAlgError, ValueError):
                    value = float("nan")
                np.testing.assert_allclose(found[at], value, atol=1e-9, err_msg=str(at))

            expect(scores.corr, lambda p=p, t=targets: reference.numerai_corr(p, t)["p"])
            expect(scores.mmc, lambda p=p, t=targets, m=meta: reference.correlation_contribution(p, m, t)["p"])
            expect(scores.bmc, lambda p=p, t=targets, m=benchmark: reference.correlation_contribution(p, m, t)["p"])
            for found, columns in ((scores.fnc, NAMES), (scores.fnc_v3, NAMES[4:9])):
                some = frame.loc[present.index, list(columns)]
                expect(found, lambda p=present, f=some, t=targets: reference.feature_neutral_corr(p, f, t)["p"])
            if present["p"].nunique() > 1:
                some = frame.loc[present.index]
                expect(
                    scores.feature_corr_max,
                    lambda p=present, f=some: reference.max_feature_correlation(p["p"], f)[1],
                )
    assert list(scores.rows[1]) == [120, 120, 100, 0, 120]
    assert scores.resolved.all()


def test_submissions_scored_together_get_what_each_gets_alone(
    source: Drawn, truth: Truth, predictions: NDArray[np.float64]
) -> None:
    features = Features(source=source)
    together = score(predictions, truth, features, top_bottom=20)
    for submission in range(predictions.shape[1]):
        alone = score(predictions[:, submission : submission + 1], truth, features, top_bottom=20)
        for name in ("corr", "mmc", "bmc", "fnc", "feature_corr_max", "feature_corr_mean"):
            np.testing.assert_allclose(getattr(together, name)[:, submission], getattr(alone, name)[:, 0], atol=1e-12)


def test_correlation_with_example_predictions_is_that_of_ranks_without_ties(
    truth: Truth, predictions: NDArray[np.float64]
) -> None:
    scores = score(predictions, truth)
    assert truth.example is not None
    first = broken_ranks(predictions[None, 420:, 1])[0]
    second = broken_ranks(truth.example[None, 420:])[0]
    assert scores.corr_with_example[2, 1] == pytest.approx(np.corrcoef(first, second)[0, 1], abs=1e-12)
    assert scores.example_corr == pytest.approx(score(truth.example[:, None], truth).corr[:, 0])


def test_factors_are_kept_and_made_anew_when_damaged(
    source: Drawn, truth: Truth, predictions: NDArray[np.float64], tmp_path: Path
) -> None:
    plain = score(predictions, truth, Features(source=source))
    features = Features(source=source, cache=lambda names: FactorCache(tmp_path, "v1", names))
    assert_equal(score(predictions, truth, features), plain)
    files = sorted(tmp_path.rglob("*.factor"))
    assert len(files) == 3
    written = [file.stat().st_mtime_ns for file in files]
    assert_equal(score(predictions, truth, features), plain)
    assert [file.stat().st_mtime_ns for file in files] == written
    files[0].write_bytes(files[0].read_bytes()[:-1])
    contents = bytearray(files[1].read_bytes())
    contents[-900:-700] = b"\x7f" * 200
    files[1].write_bytes(contents)
    assert_equal(score(predictions, truth, features), plain)


def test_a_mapped_file_gives_the_features_of_each_era(
    source: Drawn, truth: Truth, predictions: NDArray[np.float64], tmp_path: Path
) -> None:
    eras = np.repeat(truth.eras, np.diff(BOUNDS))
    mixed = np.random.default_rng(3).permutation(BOUNDS[-1])
    columns = {name: values[mixed] for name, values in zip(NAMES, source.matrix, strict=True)}
    table = pa.table({"era": eras[mixed], **columns, "target": truth.targets[mixed].astype(np.float32)})
    pq.write_table(table, tmp_path / "validation.parquet")
    map_parquet(tmp_path / "validation.parquet", tmp_path / "validation.map")
    mapped = MappedFeatures(tmp_path / "validation.map")
    assert tuple(mapped.names) == NAMES
    assert list(mapped.bounds) == list(BOUNDS)
    order = np.concatenate([mapped.rows(number) for number in range(len(mapped))])
    columns = {"targets": truth.targets, "meta_model": truth.meta_model, "benchmark": truth.benchmark}
    arranged = replace(truth, example=None, **{name: column[mixed][order] for name, column in columns.items()})
    assert_equal(
        score(predictions[mixed][order], arranged, Features(source=mapped)),
        score(predictions, replace(truth, example=None), Features(source=source)),
    )
    with pytest.raises(InvalidInputError, match="int16"):
        MappedFeatures(tmp_path / "validation.map", "int16")
    with pytest.raises(InvalidInputError, match="not a mapped file"):
        MappedFeatures(tmp_path / "validation.parquet")


def test_what_does_not_fit_is_refused(source: Drawn, truth: Truth, predictions: NDArray[np.float64]) -> None:
    with pytest.raises(InvalidInputError, match="900 rows"):
        score(predictions[:-1], truth)
    with pytest.raises(InvalidInputError, match="feature_99"):
        score(predictions, truth, Features(source=source, v3=["feature_99"]))
    with pytest.raises(InvalidInputError, match="meta_model"):
        replace(truth, meta_model=np.zeros(3))
