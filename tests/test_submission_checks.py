"""Which predictions are a valid submission, and how submission files are read and written."""

import csv
import io
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numerai_tools.submissions import validate_submission_numerai

from predictd.domain.errors import InvalidInputError
from predictd.domain.runs import Predictions
from predictd.scoring import check_submission, predictions_csv, read_submission_file, write_predictions_csv

LIVE = [f"n{number:016x}" for number in range(5)]
GOOD = [0.1, 0.2, 0.3, 0.4, 1.0]


def predictions(ids: list[str], values: list[float]) -> Predictions:
    return Predictions(ids=ids, values=np.array(values, dtype=np.float64))


@pytest.mark.parametrize(
    ("ids", "values", "code", "says"),
    [
        ([], [], "empty_predictions", "There are no predictions"),
        ([*LIVE, LIVE[0]], [*GOOD, 0.5], "duplicate_ids", f"1 ids occur more than once, first {LIVE[0]}"),
        ([*LIVE[:4], "other"], GOOD, "unknown_ids", "1 ids are not among the 5 live ids, first other"),
        (LIVE[2:], GOOD[2:], "missing_ids", f"2 of 5 live ids have no prediction, first {LIVE[0]}"),
        (LIVE, [0.1, np.nan, 7, np.inf, 0.2], "nan_predictions", f"2 of 5 predictions are NaN or infinite.*{LIVE[1]}"),
        (LIVE, [0.1, 0.2, -0.5, 2, 0.2], "out_of_range", f"2 of 5 .* first -0.5 for id {LIVE[2]}"),
        (LIVE, [0.5] * 5, "constant_predictions", r"All predictions are the same \(0.5\)"),
    ],
)
def test_each_broken_rule_is_named_with_its_facts(ids: list[str], values: list[float], code: str, says: str) -> None:
    failure = check_submission(predictions(ids, values), LIVE)
    assert failure is not None
    assert failure.code == code
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(failure.describe())


def test_the_order_of_the_rows_and_the_borders_are_free() -> None:
    assert check_submission(predictions(LIVE[::-1], [0, 0.25, 0.5, 0.75, 1]), LIVE) is None


def accepted_by_numerai(given_: Predictions) -> bool:
    frame = pd.DataFrame({"id": given_.ids, "prediction": given_.values})
    try:
        validate_submission_numerai(pd.Series(LIVE), frame)
    except AssertionError:
        return False
    return True


BORDERS = [0, 1, -1e-9, -1e-8, -1.1e-8, 1 + 1e-9, 1 + 1e-5, 1.00001001, 1.000011, -1e-7, 0.5, 0.5 + 1e-8, 0.5 + 1e-7]
VALUES = st.one_of(st.sampled_from(BORDERS), st.floats(0, 1), st.floats())


@given(
    ids=st.one_of(st.permutations(LIVE), st.lists(st.sampled_from(LIVE), max_size=7)),
    values=st.one_of(st.lists(VALUES, min_size=7, max_size=7), VALUES.map(lambda value: [value] * 7)),
)
@example(ids=LIVE, values=[0, 0, 0, 0, 1.00001001, 0, 0])
def test_numerai_accepts_and_refuses_the_same(ids: list[str], values: list[float]) -> None:
    submission = predictions(ids, values[: len(ids)])
    assert (check_submission(submission, LIVE) is None) == accepted_by_numerai(submission)


def test_ids_that_numerai_would_drop_are_refused() -> None:
    submission = predictions([*LIVE, "other"], [*GOOD, 0.5])
    assert accepted_by_numerai(submission)
    failure = check_submission(submission, LIVE)
    assert failure is not None
    assert failure.code == "unknown_ids"


def test_a_full_round_is_checked_in_milliseconds() -> None:
    live = [f"n{number:016x}" for number in range(6_500)]
    submission = predictions(live[::-1], list(np.linspace(0, 1, 6_500)))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert check_submission(submission, live) is None
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


# The first file starts the process that parses.
@settings(deadline=None)
@given(values=st.lists(st.floats(), min_size=1, max_size=20))
def test_written_values_read_back_exactly(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.getbasetemp() / "predictions.csv"
    ids = [f"n{number}" for number in range(len(values))]
    write_predictions_csv(predictions(ids, values), path)
    again = read_submission_file(path, max_rows=20)
    assert again.ids == ids
    assert again.values.tobytes() == np.where(np.isnan(values), np.nan, values).tobytes()
    assert path.read_text().startswith("id,prediction\nn0,")


def test_numerais_own_csv_and_parquet_are_read(tmp_path: Path) -> None:
    frame = pd.DataFrame({"probability": GOOD}, index=pd.Index(LIVE, name="id"))
    frame.to_csv(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_bytes(b"\xef\xbb\xbf" + frame.to_csv().replace("\n", "\r\n").encode())
    frame.to_parquet(tmp_path / "c.parquet")
    frame.reset_index().to_parquet(tmp_path / "d.parquet")
    frame.astype("float32").to_parquet(tmp_path / "e.parquet")
    for name in ("a.csv", "b.csv", "c.parquet", "d.parquet", "e.parquet"):
        read = read_submission_file(tmp_path / name, max_rows=5)
        assert read.ids == LIVE
        assert read.values.dtype == np.float64
        assert np.allclose(read.values, GOOD)


def test_missing_values_in_a_file_are_left_to_the_check(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        "id,prediction\n"
        + "".join(f"{id_},{text}\n" for id_, text in zip(LIVE, ["0.1", "", "NaN", "1", "0"], strict=True))
    )
    failure = check_submission(read_submission_file(path, max_rows=5), LIVE)
    assert failure is not None
    assert failure.describe().startswith(f"2 of 5 predictions are NaN or infinite, first for id {LIVE[1]}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"", "The file is empty"),
        (b"id;prediction\nn1;0.5\n", "must be 'id,prediction', but it is 'id;prediction'"),
        (b"ID,Prediction\nn1,0.5\n", "but it is 'ID,Prediction'"),
        (b"prediction,id\n0.5,n1\n", "but it is 'prediction,id'"),
        (b"id,prediction,id\nn1,0.5,n1\n", "but it is 'id,prediction,id'"),
        (b"id,prediction\nn1,0.5\nn2,high\n", "Row 3 .*: the prediction 'high' is not a number"),
        (b"id,prediction\nn1,0.5\nn2,0,3\n", "Row 3 .*: Expected 2 columns, got 3"),
        (b"id,prediction\nn1\n", "Row 2 .*: Expected 2 columns, got 1"),
        (b"id,prediction\nn\xff,0.5\n", "Row 2 .* is not UTF-8 text"),
        (b"\x1f\x8b\x08\x00\xff\n", "not UTF-8 text"),
        (b"id,prediction\n" + b"n" * 3_000_000 + b",0.5\n", "A row is longer than"),
        (b"id,prediction\n" + b"n" * 1_000 + b",0.5\n", "An id is longer than"),
        (b"id,prediction\n" + b"n,0.5\n" * 11, "more than 10 rows"),
        (b"PAR1 and nothing else", "The file can't be read"),
    ],
)
def test_a_malformed_file_is_refused_with_its_row(tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "upload"
    path.write_bytes(text)
    with pytest.raises(InvalidInputError, match=says) as refused:
        read_submission_file(path, max_rows=10)
    assert len(refused.value.message) < 400
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (pd.DataFrame({"id": ["n1"], "score": [0.5]}), "The columns must be id and prediction, but they are id, score"),
        (pd.DataFrame({"prediction": [0.5]}), "The columns must be id and prediction, but they are prediction"),
        (pd.DataFrame({"id": ["n1"], "prediction": ["high"]}), "must hold numbers"),
        (pd.DataFrame({"id": [1], "prediction": [0.5]}), "'id' must hold strings, but it holds int64"),
        (pd.DataFrame({"id": [None, "n1"], "prediction": [0.5, 0.5]}), "1 ids are missing"),
        (pd.DataFrame({"id": ["n1"] * 11, "prediction": [0.5] * 11}), "more than 10 rows"),
        (pd.DataFrame({"id": ["n" * 100_000], "prediction": [0.5]}), "An id is longer than 256"),
    ],
)
def test_a_parquet_file_of_another_shape_is_refused(tmp_path: Path, frame: pd.DataFrame, says: str) -> None:
    frame.to_parquet(tmp_path / "upload")
    with pytest.raises(InvalidInputError, match=says):
        read_submission_file(tmp_path / "upload", max_rows=10)


@pytest.mark.parametrize("ids", [["a", "b"], ["a,b", 'c"d']], ids=["plain ids", "ids that need quotes"])
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
@example(values=[1.0, 0.0])
@example(values=[-0.0, 1e16])
@example(values=[1e10, 5e-324])
def test_the_file_of_predictions_reads_back_as_the_same_floats(ids: list[str], values: list[float]) -> None:
    text = predictions_csv(Predictions(ids=ids, values=np.array(values))).decode()
    header, *rows = csv.reader(io.StringIO(text))
    assert header == ["id", "prediction"]
    assert [row[0] for row in rows] == ids
    assert [float(row[1]).hex() for row in rows] == [value.hex() for value in values]
    assert all(set(row[1]) & set(".e") for row in rows)
