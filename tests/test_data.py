"""Data versions: what the synthetic generator writes, rounds' live files, imports and the catalogue."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from predictd.data import PLANS, generate, import_version, list_files, publish_live, read_ids, resolve, row_count
from predictd.data.generator import EraGenerator, row_ids
from predictd.data.schema import spread
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError

TINY = PLANS["tiny"]
FILES = {
    "features.json",
    "live.parquet",
    "live_benchmark_models.parquet",
    "live_example_preds.csv",
    "live_example_preds.parquet",
    "meta_model.parquet",
    "train.parquet",
    "train_benchmark_models.parquet",
    "validation.parquet",
    "validation_benchmark_models.parquet",
    "validation_example_preds.parquet",
}


def ignore(file: str, share: float) -> None:
    pass


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "v5.3"
    generate(folder, TINY, ignore)
    return folder


@pytest.fixture
def download(version: Path, tmp_path: Path) -> Path:
    """What somebody downloaded from Numerai: the live files of a version, in a folder of its name."""
    folder = tmp_path / "downloads" / "v5.3"
    folder.mkdir(parents=True)
    for name in ("features.json", "live.parquet", "live_benchmark_models.parquet", "live_example_preds.parquet"):
        shutil.copy(version / name, folder / name)
    return folder


def test_a_synthetic_version_has_numerais_files_and_lists_nothing_else(version: Path) -> None:
    assert set(list_files(version)) == FILES
    assert (version / ".synthetic.json").exists()


def test_the_feature_sets_are_nested(version: Path) -> None:
    contents = json.loads((version / "features.json").read_text())
    sets = contents["feature_sets"]
    assert [len(sets[name]) for name in ("small", "medium", "all")] == [42, 780, 2748]
    assert set(sets["small"]) < set(sets["fncv3_features"]) < set(sets["medium"]) < set(sets["all"])
    assert len(set(sets["all"])) == 2748
    assert set(contents["feature_stats"]) == set(sets["all"])
    assert contents["targets"][0] == "target"


@pytest.mark.parametrize(("name", "eras"), [("train", TINY.train_eras), ("validation", TINY.validation_eras)])
def test_the_history_reads_back_as_pandas_frames_of_numerais_shape(version: Path, name: str, eras: int) -> None:
    contents = json.loads((version / "features.json").read_text())
    frame = pd.read_parquet(version / f"{name}.parquet")
    assert frame.index.name == "id"
    assert frame.index.is_unique
    assert list(frame.columns) == ["era", "data_type", *contents["feature_sets"]["all"], *contents["targets"]]
    assert frame["era"].nunique() == eras
    assert frame["era"].str.fullmatch(r"\d{4}").all()
    assert set(frame["data_type"]) == {name}
    features = frame[contents["feature_sets"]["all"]]
    assert set(features.dtypes) == {np.dtype("int8")}
    assert [round(float((features == value).to_numpy().mean()), 2) for value in range(5)] == [0.2] * 5
    assert set(frame[contents["targets"]].dtypes) == {np.dtype("float32")}
    shares = frame.groupby("era")["target"].value_counts(normalize=True).unstack()
    assert list(shares.columns) == [0, 0.25, 0.5, 0.75, 1]
    assert np.allclose(shares, [0.05, 0.2, 0.5, 0.2, 0.05], atol=0.01)


def test_the_models_predictions_belong_to_the_rows(version: Path) -> None:
    for kind in ("train", "validation", "live"):
        rows = pd.read_parquet(version / f"{kind}.parquet", columns=["era"])
        benchmarks = pd.read_parquet(version / f"{kind}_benchmark_models.parquet")
        assert rows["era"].equals(benchmarks["era"])
        models = benchmarks.drop(columns="era")
        assert all(name.startswith("v53_lgbm_") for name in models)
        assert models.min(axis=None) > 0
        assert models.max(axis=None) < 1
        if kind != "train":
            examples = pd.read_parquet(version / f"{kind}_example_preds.parquet")
            assert list(examples.columns) == ["prediction"]
            assert examples.index.equals(rows.index)
    meta_model = pd.read_parquet(version / "meta_model.parquet")
    assert list(meta_model.columns) == ["era", "data_type", "numerai_meta_model"]


def test_live_data_has_no_targets_and_its_example_is_the_same_as_csv(version: Path) -> None:
    live = pd.read_parquet(version / "live.parquet")
    assert len(live) == TINY.live_rows
    assert set(live["era"]) == {"X"}
    assert live.filter(like="target").isna().all(axis=None)
    csv = pd.read_csv(version / "live_example_preds.csv", index_col="id")
    assert (
        csv["prediction"]
        .astype("float32")
        .equals(pd.read_parquet(version / "live_example_preds.parquet")["prediction"].set_axis(csv.index))
    )
    assert list(csv.index) == list(live.index)


def test_the_same_seed_makes_the_same_files(version: Path, tmp_path: Path) -> None:
    generate(tmp_path / "again", TINY, ignore)
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (version / name).read_bytes(), name


def test_a_model_on_the_small_features_learns_what_holds_in_later_eras() -> None:
    process = EraGenerator(seed=1, signal=0.4)
    small = spread(42)
    eras = [process.history(era, 500) for era in range(1, 31)]
    x = np.concatenate([era.features[small].T for era in eras]).astype(float) - 2
    y = np.concatenate([era.targets[0] for era in eras]) - 0.5
    weights = np.linalg.lstsq(x[:10_000], y[:10_000], rcond=None)[0]
    scores = [np.corrcoef(x[at : at + 500] @ weights, y[at : at + 500])[0, 1] for at in range(10_000, 15_000, 500)]
    assert 0.1 < np.mean(scores) < 0.4
    assert np.std(scores) > 0.03


def test_no_two_rows_of_a_version_share_an_id() -> None:
    blocks = [row_ids(7, 0, 0, 1000), row_ids(7, 0, 1000, 1000), row_ids(7, 1, 0, 1000), row_ids(7, 2, 0, 1000)]
    ids = [id_ for block in blocks for id_ in block]
    assert len(set(ids)) == 4000
    assert all(len(id_) == 17 and id_[0] == "n" for id_ in ids)


def test_a_broken_off_generation_leaves_nothing(tmp_path: Path) -> None:
    def stop(file: str, share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(tmp_path / "v5.3", TINY, stop)
    assert list(tmp_path.iterdir()) == []


def test_generation_never_overwrites_a_version(version: Path) -> None:
    with pytest.raises(ConflictError, match="already exists"):
        generate(version, TINY, ignore)


def test_each_round_has_its_own_live_rows_and_the_same_ones_when_asked_again(version: Path, tmp_path: Path) -> None:
    rounds = {}
    for name, number in (("first", 1), ("second", 2), ("first_again", 1)):
        known = publish_live(version, number, tmp_path / name, tmp_path / f"{name}_targets.parquet")
        assert known
        assert set(list_files(tmp_path / name)) == {name for name in FILES if name.startswith("live")}
        rounds[name] = (tmp_path / name / "live.parquet").read_bytes()
    assert rounds["first"] == rounds["first_again"]
    first, second = (set(read_ids(tmp_path / name / "live.parquet")) for name in ("first", "second"))
    assert len(first) == len(second) == TINY.live_rows
    assert not first & second
    assert not first & set(read_ids(version / "live.parquet"))


def test_a_rounds_targets_are_kept_apart_and_found_by_id(version: Path, tmp_path: Path) -> None:
    out, targets_out = tmp_path / "rounds" / "7", tmp_path / "targets" / "7.parquet"
    publish_live(version, 7, out, targets_out)
    targets = pd.read_parquet(targets_out)
    assert list(targets.index) == read_ids(out / "live.parquet")
    assert np.allclose(targets["target"].value_counts(normalize=True).sort_index(), [0.05, 0.2, 0.5, 0.2, 0.05])
    kept = targets_out.read_bytes()
    targets_out.unlink()
    publish_live(version, 7, out, targets_out)
    assert targets_out.read_bytes() == kept
    with pytest.raises(InvalidInputError, match="must not be published"):
        publish_live(version, 8, tmp_path / "8", tmp_path / "8" / "targets.parquet")


def test_an_import_takes_a_download_and_its_rounds_get_copies(download: Path, tmp_path: Path) -> None:
    shares: list[float] = []
    imported = import_version(download.parent, tmp_path / "data" / "v5.3", lambda file, share: shares.append(share))
    assert imported.name == "v5.3"
    assert imported.features == 2748
    assert imported.rows["live.parquet"] == TINY.live_rows
    assert list(imported.files) == list_files(imported.folder) == sorted(path.name for path in download.iterdir())
    assert shares[-1] == 1.0
    assert not publish_live(imported.folder, 1, tmp_path / "round", tmp_path / "targets.parquet")
    assert not (tmp_path / "targets.parquet").exists()
    assert read_ids(tmp_path / "round" / "live.parquet") == read_ids(download / "live.parquet")


def test_a_replaced_live_file_is_for_later_rounds_only(version: Path, download: Path, tmp_path: Path) -> None:
    folder = import_version(download, tmp_path / "v5.3", ignore).folder
    publish_live(folder, 1, tmp_path / "one", tmp_path / "targets.parquet")
    before = read_ids(tmp_path / "one" / "live.parquet")

    publish_live(version, 99, tmp_path / "newer", tmp_path / "newer_targets.parquet")
    (folder / "live.parquet").write_bytes((tmp_path / "newer" / "live.parquet").read_bytes())
    with pytest.raises(InvalidInputError, match="to different rounds"):
        publish_live(folder, 2, tmp_path / "two", tmp_path / "targets.parquet")
    assert not (tmp_path / "two").exists()

    for name in ("live_benchmark_models.parquet", "live_example_preds.parquet"):
        (folder / name).write_bytes((tmp_path / "newer" / name).read_bytes())
    publish_live(folder, 2, tmp_path / "two", tmp_path / "targets.parquet")
    assert read_ids(tmp_path / "two" / "live.parquet") == read_ids(tmp_path / "newer" / "live.parquet")
    publish_live(folder, 1, tmp_path / "one", tmp_path / "targets.parquet")
    assert read_ids(tmp_path / "one" / "live.parquet") == before


def spoil(folder: Path, how: str) -> None:
    """Damage one file of a download in one of the ways that happen."""
    live = folder / "live.parquet"
    frame = pd.read_parquet(live)
    feature = next(name for name in frame if name.startswith("feature_"))
    if how == "not json":
        (folder / "features.json").write_text('{"feature_sets": ')
    elif how == "no sets":
        (folder / "features.json").write_text("[]")
    elif how == "cut off":
        live.write_bytes(live.read_bytes()[:-1000])
    elif how == "no index":
        frame.reset_index().to_parquet(live)
    elif how == "repeated ids":
        frame.set_axis([frame.index[0], *frame.index[:1], *frame.index[2:]]).rename_axis("id").to_parquet(live)
    elif how == "numbers for ids":
        frame.set_axis(np.arange(len(frame)) ** 2).rename_axis("id").to_parquet(live)
    elif how == "floats":
        frame.astype({feature: "float32"}).to_parquet(live)
    elif how == "a feature too many":
        frame.assign(feature_of_another_version=np.int8(1)).to_parquet(live)
    elif how == "a feature too few":
        frame.drop(columns=feature).to_parquet(live)
    elif how == "a value too large":
        frame.assign(**{feature: np.int8(5)}).to_parquet(live)
    elif how == "no live data":
        live.unlink()
    elif how == "benchmarks of another round":
        benchmarks = pd.read_parquet(folder / "live_benchmark_models.parquet")
        benchmarks.iloc[:-1].to_parquet(folder / "live_benchmark_models.parquet")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("not json", r"features\.json can't be read as JSON"),
        ("no sets", r"features\.json has no 'feature_sets'"),
        ("cut off", r"live\.parquet can't be read as a parquet file"),
        ("no index", r"live\.parquet: the index must be 'id'"),
        ("repeated ids", r"live\.parquet: 1 of 200 rows repeat an id"),
        ("numbers for ids", r"live\.parquet: the index 'id' must contain strings, but it contains int64"),
        ("floats", r"live\.parquet: column 'feature_.*' must contain int8, but it contains float"),
        ("a feature too many", r"1 features that features\.json does not have, first feature_of_another_version"),
        ("a feature too few", r"live\.parquet: 1 features missing, first feature_"),
        ("a value too large", r"live\.parquet: column 'feature_.*' must contain whole numbers from 0 to 4"),
        ("no live data", r"does not contain live\.parquet. Download it"),
        ("benchmarks of another round", r"live_benchmark_models\.parquet and live\.parquet contain different ids"),
    ],
)
def test_a_damaged_download_is_refused_with_its_reason(download: Path, tmp_path: Path, how: str, says: str) -> None:
    spoil(download, how)
    with pytest.raises(InvalidInputError, match=says):
        import_version(download, tmp_path / "v5.3", ignore)
    assert not (tmp_path / "v5.3").exists()


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", ".synthetic.json", "sub", "sub/live.parquet", "link.parquet", "", ".", "a\0b"]
)
def test_only_listed_files_can_be_reached(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "v5.3"
    (folder / "sub").mkdir(parents=True)
    for path in (folder / "live.parquet", folder / ".synthetic.json", folder / "sub" / "live.parquet"):
        path.write_text("x")
    (tmp_path / "secret").write_text("x")
    (folder / "link.parquet").symlink_to(tmp_path / "secret")
    assert list_files(folder) == ["live.parquet"]
    assert resolve(folder, "live.parquet") == folder / "live.parquet"
    with pytest.raises(NotFoundError):
        resolve(folder, name)


def test_ids_come_in_the_order_of_the_file(version: Path) -> None:
    live = version / "live.parquet"
    assert read_ids(live) == list(pd.read_parquet(live, columns=["era"]).index)
    assert row_count(live) == TINY.live_rows
    # Readers over HTTP fetch one era without the others by these.
    assert pq.ParquetFile(version / "train.parquet").metadata.row_group(0).column(0).statistics.min == "0001"
