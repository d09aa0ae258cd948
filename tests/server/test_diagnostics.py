"""Diagnostics: of a validated pickle without being asked, and of uploaded files; every figure computed here anew."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numerapi
import numerapi.base_api
import numpy as np
import pandas as pd
import pytest
from numerai_tools import scoring
from scipy.stats import norm

from conftest import Server, User
from predictd.data import generate, plan_named

FEATURES = 60
UNCOVERED = 2
"""Eras that the meta model does not cover, as Numerai's begins later than the validation data."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data version of 60 features, small enough to be neutralised to all of them."""
    whole, folder = tmp_path_factory.mktemp("data") / "whole", tmp_path_factory.mktemp("data") / "v9.9"
    generate(whole, plan_named("tiny"), lambda step, share: None)
    folder.mkdir()
    sets = json.loads((whole / "features.json").read_text())
    small = sets["feature_sets"]["small"]
    kept = [*small, *[one for one in sets["feature_sets"]["all"] if one not in small][: FEATURES - len(small)]]
    sets["feature_sets"] = {"small": small[:20], "fncv3_features": small, "all": kept}
    (folder / "features.json").write_text(json.dumps(sets))
    for path in whole.glob("*.parquet"):
        frame = pd.read_parquet(path)
        frame = frame[[one for one in frame.columns if not one.startswith("feature_") or one in kept]]
        if path.name == "meta_model.parquet":
            frame = frame[~frame["era"].isin(sorted(frame["era"].unique())[:UNCOVERED])]
        if path.name == "validation.parquet":
            frame.loc[frame.index[::40], "target"] = np.nan
        frame.to_parquet(folder / path.name)
    return folder


@pytest.fixture(scope="module")
def versioned(make_server: Callable[..., AbstractContextManager[Server]], data: Path) -> Iterator[Server]:
    with make_server() as running:
        running.predictd("data", "import", str(data), "--version", "v9.9", "--default")
        yield running


@pytest.fixture(scope="module")
def owner(versioned: Server) -> User:
    return versioned.user("owner")


@pytest.fixture(scope="module")
def validation(data: Path) -> pd.DataFrame:
    frame = pd.read_parquet(data / "validation.parquet")
    frame["meta"] = pd.read_parquet(data / "meta_model.parquet")["numerai_meta_model"]
    frame["example"] = pd.read_parquet(data / "validation_example_preds.parquet")["prediction"]
    # numerai-tools computes in the precision that it is given.
    return frame.astype(dict.fromkeys(("target", "meta", "example"), np.float64))


def client(server: Server, user: User) -> numerapi.NumerAPI:
    numerapi.base_api.API_TOURNAMENT_URL = server.address
    return numerapi.NumerAPI(user.public_id, user.secret_key, verbosity="ERROR")


def wait_for(user: User, pickle_id: str, seconds: float = 60) -> dict[str, Any]:
    """The pickle once its diagnostics have ended."""
    query = """query($id: ID) { computePickles(id: $id) {
        modelId diagnosticsId diagnosticsStatus diagnosticsStatusDescription triggers { type } } }"""
    deadline = time.monotonic() + seconds
    while True:
        pickle = user.ask(query, id=pickle_id)["computePickles"][0]
        if pickle["diagnosticsStatus"] in ("done", "failed"):
            return dict(pickle)
        assert time.monotonic() < deadline, pickle
        time.sleep(0.2)


def wait_for_file(napi: numerapi.NumerAPI, model_id: str, diagnostics_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        [found] = napi.diagnostics(model_id, diagnostics_id)
        if found["status"] in ("done", "failed"):
            return dict(found)
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def expected(validation: pd.DataFrame, data: Path, predictions: "pd.Series[float]") -> dict[str, Any]:
    """The fields of V2Diagnostics by numerai-tools and pandas, era by era."""
    sets = json.loads((data / "features.json").read_text())["feature_sets"]
    models = pd.read_parquet(data / "validation_benchmark_models.parquet").drop(columns="era")
    eras = []
    for era, unsorted in validation.groupby("era"):
        in_order = predictions[unsorted.index].rank(method="first").corr(unsorted["example"].rank(method="first"))
        rows = unsorted.sort_index()
        p = predictions[rows.index].to_frame("p")
        target = rows["target"]
        benchmark = models.loc[rows.index].apply(lambda column: norm.ppf((column.rank() - 0.5) / len(column)))
        scores = {
            "era": era,
            "validationCorr": scoring.numerai_corr(p, target)["p"],
            "examplePredsCorr": scoring.numerai_corr(rows[["example"]], target)["example"],
            "validationBmc": scoring.correlation_contribution(p, benchmark.mean(axis=1).round(12), target.dropna())[
                "p"
            ],
            "validationFeatureNeutralCorr": scoring.feature_neutral_corr(p, rows[sets["all"]], target)["p"],
            "validationFeatureNeutralCorrV3": scoring.feature_neutral_corr(p, rows[sets["fncv3_features"]], target)[
                "p"
            ],
            "validationFeatureCorrMax": scoring.max_feature_correlation(p["p"], rows[sets["all"]])[1],
            "example": in_order,
        }
        meta = rows["meta"].dropna()
        scores["validationMmc"] = scoring.correlation_contribution(p, meta, target.dropna())["p"] if len(meta) else None
        eras.append(scores)
    frame = pd.DataFrame(eras)
    corr, mmc = frame["validationCorr"], frame["validationMmc"].astype(float)
    both = (corr + mmc).dropna()
    sharpe = both.mean() / both.std(ddof=0)
    covered = corr[mmc.notna()]
    sums, growth = corr.cumsum(), (1 + corr).cumprod()
    autocorr = corr.autocorr()
    lags = np.arange(1, len(corr))
    penalty = np.sqrt(1 + 2 * np.sum((len(corr) - lags) / len(corr) * abs(autocorr) ** lags))
    return {
        "perEraDiagnostics": eras,
        "erasAcceptedCount": len(eras),
        "trainedOnVal": False,
        "examplePredsCorrMean": frame["examplePredsCorr"].mean(),
        "validationCorrMean": corr.mean(),
        "validationCorrStd": corr.std(ddof=0),
        "validationCorrSharpe": corr.mean() / corr.std(ddof=0),
        "validationCorrMaxDrawdown": (sums.cummax() - sums).max(),
        "validationCorrCorrWExamplePreds": frame["example"].mean(),
        "validationMmcMean": mmc.mean(),
        "validationMmcStd": mmc.std(ddof=0),
        "validationMmcSharpe": mmc.mean() / mmc.std(ddof=0),
        "validationBmcMean": frame["validationBmc"].mean(),
        "validationCorrPlusMmcMean": both.mean(),
        "validationCorrPlusMmcStd": both.std(ddof=0),
        "validationCorrPlusMmcSharpe": sharpe,
        "validationCorrPlusMmcSharpeDiff": sharpe - covered.mean() / covered.std(ddof=0),
        "validationFeatureNeutralCorrMean": frame["validationFeatureNeutralCorr"].mean(),
        "validationFeatureNeutralCorrV3Mean": frame["validationFeatureNeutralCorrV3"].mean(),
        "validationFeatureCorrMax": frame["validationFeatureCorrMax"].mean(),
        "validationMaxDrawdown": -((growth.cummax() - growth) / growth.cummax()).max(),
        "validationApy": (growth.iloc[-1] ** (49 / len(corr)) - 1) * 100,
        "validationAutocorr": autocorr,
        "validationAdjustedSharpe": corr.mean() / corr.std(ddof=0) / penalty,
    }


def assert_figures(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    for name, value in wanted.items():
        if name == "perEraDiagnostics":
            assert [era["era"] for era in found[name]] == [era["era"] for era in value]
            for ours, theirs in zip(found[name], value, strict=True):
                assert_figures(ours, {key: one for key, one in theirs.items() if key not in ("era", "example")})
        elif isinstance(value, float):
            assert found[name] == pytest.approx(value, abs=1e-9), name
        else:
            assert found[name] == value, name


def test_a_validated_pickle_gets_all_its_figures_without_being_asked(
    versioned: Server, owner: User, data: Path, validation: pd.DataFrame, pickles: dict[str, bytes]
) -> None:
    model_id = owner.add_model("diagnosed")
    pickle_id = owner.upload(pickles["good"], model_id)
    owner.wait(pickle_id)
    pickle = wait_for(owner, pickle_id)
    assert pickle["diagnosticsStatus"] == "done", pickle
    assert [run["type"] for run in pickle["triggers"]] == ["validation"]
    logs = owner.ask("query($id: ID!) { diagnosticsTriggerLogs(pickleId: $id) { message } }", id=pickle_id)
    rows = len(validation) // validation["era"].nunique()
    assert [line["message"] for line in logs["diagnosticsTriggerLogs"]] == [f"predicting {rows} rows"] * 8

    [found] = client(versioned, owner).diagnostics(model_id, pickle["diagnosticsId"])
    features = [name for name in validation.columns if name.startswith("feature_")][:5]
    sums = validation[features].sum(axis=1)
    predictions = sums.groupby(validation["era"]).rank(pct=True, method="first")
    assert_figures(found, expected(validation, data, predictions))
    assert found["validationCorrMeanRating"] is None
    assert found["message"] is None


def test_a_pickle_that_fails_on_the_validation_data_keeps_its_slot_and_says_why(
    versioned: Server, owner: User, default_python: str, tmp_path: Path
) -> None:
    program = """import sys, cloudpickle
def predict(live_features):
    if live_features["era"].iloc[0] == "0577":
        raise KeyError("era 0577 has no past")
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")
cloudpickle.dump(predict, open(sys.argv[1], "wb"))"""
    path = tmp_path / "model.pkl"
    subprocess.run([default_python, "-c", program, str(path)], check=True)
    model_id = owner.add_model("unlucky")
    pickle_id = owner.upload(path.read_bytes(), model_id)
    assert owner.wait(pickle_id)["assignedModelSlots"] == [model_id]
    pickle = wait_for(owner, pickle_id)
    assert pickle["diagnosticsStatus"] == "failed"
    assert "era 0577 has no past" in pickle["diagnosticsStatusDescription"]
    [found] = client(versioned, owner).diagnostics(model_id, pickle["diagnosticsId"])
    assert "era 0577 has no past" in found["message"]
    assert found["validationCorrMean"] is None


def test_a_model_can_not_look_the_targets_of_the_validation_data_up(
    versioned: Server, owner: User, default_python: str, tmp_path: Path
) -> None:
    program = """import sys, cloudpickle
def predict(live_features):
    targets = live_features.filter(like="target")
    print(targets.shape[1], "targets,", int(targets.notna().sum().sum()), "of them known")
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")
cloudpickle.dump(predict, open(sys.argv[1], "wb"))"""
    path = tmp_path / "model.pkl"
    subprocess.run([default_python, "-c", program, str(path)], check=True)
    pickle_id = owner.upload(path.read_bytes())
    owner.wait(pickle_id)
    assert wait_for(owner, pickle_id)["diagnosticsStatus"] == "done"
    logs = owner.ask("query($id: ID!) { diagnosticsTriggerLogs(pickleId: $id) { message } }", id=pickle_id)
    assert {line["message"] for line in logs["diagnosticsTriggerLogs"]} == {"21 targets, 0 of them known"}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_an_uploaded_file_of_some_eras_is_scored_on_these(
    versioned: Server, owner: User, data: Path, validation: pd.DataFrame, tmp_path: Path, ending: str
) -> None:
    model_id = owner.add_model(f"uploaded_{ending}")
    napi = client(versioned, owner)
    some = validation[validation["era"] > "0576"]
    predictions = some["example"].astype(float).groupby(some["era"]).rank(pct=True, method="first")
    shuffled = predictions.sample(frac=1, random_state=1).to_frame("prediction")
    path = tmp_path / f"predictions.{ending}"
    shuffled.to_csv(path) if ending == "csv" else shuffled.to_parquet(path)
    diagnostics_id = napi.upload_diagnostics(str(path), model_id=model_id)
    found = wait_for_file(napi, model_id, diagnostics_id)
    assert found["status"] == "done", found
    wanted = expected(some, data, predictions)
    wanted["perEraDiagnostics"] = [*found["perEraDiagnostics"][:2], *wanted["perEraDiagnostics"]]
    # All eras have example predictions, whatever was uploaded.
    wanted["examplePredsCorrMean"] = found["examplePredsCorrMean"]
    assert_figures(found, wanted)
    assert found["perEraDiagnostics"][0]["validationCorr"] is None
    details = owner.ask(
        "query($id: ID) { diagnostics(id: $id) { erasMissing tb200Diagnostics { topBottom validationCorrMean } } }",
        id=diagnostics_id,
    )["diagnostics"][0]
    assert details["erasMissing"] == ["0575", "0576"]
    assert details["tb200Diagnostics"]["topBottom"] == 200

    owner.ask("mutation($ids: [String]!) { deleteDiagnostics(v2DiagnosticsIds: $ids) }", ids=[diagnostics_id])
    assert napi.diagnostics(model_id) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("id,prediction\nnobody,0.5\n", "1 ids are not among the 1200 validation ids, first nobody"),
        ("id,prediction\n{0},0.5\n{0},0.6\n", "1 ids occur more than once"),
        ("id,prediction\n{0},0.5\n{1},\n", "1 of 2 predictions are NaN or infinite"),
        ("id,prediction\n{0},0.5\n{1},7\n", "1 of 2 predictions are not within 0 to 1"),
        ("row,prediction\n{0},0.5\n", "The header must be 'id,prediction'"),
        ("", "No bytes were received"),
    ],
)
def test_a_file_that_is_no_validation_says_what_is_wrong(
    versioned: Server, owner: User, validation: pd.DataFrame, tmp_path: Path, content: str, says: str
) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(content.format(*validation.index[:2]))
    napi = client(versioned, owner)
    models = napi.get_models()
    model_id = models.get("wrong_files") or owner.add_model("wrong_files")
    if not content:
        with pytest.raises(ValueError, match=says):
            napi.upload_diagnostics(str(path), model_id=model_id)
        return
    found = wait_for_file(napi, model_id, napi.upload_diagnostics(str(path), model_id=model_id))
    assert found["status"] == "failed"
    assert says in found["message"]


def test_perfect_predictions_are_suspected_of_the_validation_data(
    versioned: Server, owner: User, validation: pd.DataFrame, tmp_path: Path
) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text("")
    known = validation["target"].dropna()
    known.rank(pct=True, method="first").rename("prediction").to_csv(path)
    napi = client(versioned, owner)
    model_id = owner.add_model("overfitted")
    found = wait_for_file(napi, model_id, napi.upload_diagnostics(str(path), model_id=model_id))
    assert found["trainedOnVal"] is True
    assert "were trained on" in found["message"]


def test_a_new_pickle_runs_beside_the_assigned_one_and_is_compared_with_it(
    versioned: Server, pickles: dict[str, bytes]
) -> None:
    user = versioned.user("cautious")
    model_id = user.add_model("in_production")
    assigned = user.upload(pickles["good"], model_id)
    user.wait(assigned)
    nothing = versioned.predictd("shadow", "in_production", check=False)
    assert "has no other pickle than the assigned one; upload the new one without a model" in nothing.stderr
    new = user.upload(pickles["one_argument"])
    user.wait(new)
    for one in (assigned, new):
        assert wait_for(user, one)["diagnosticsStatus"] == "done"
    found = json.loads(versioned.predictd("shadow", "in_production", "--json").stdout)
    assert (found["assigned"]["pickle_id"], found["new"]["pickle_id"]) == (assigned, new)
    assert (found["assigned"]["code"], found["new"]["code"]) == ("success", "success")
    assert -1 < found["live"]["spearman"] < 1
    comparison = found["comparison"]
    assert comparison["outcome"] == "too_few_eras"
    assert {one["metric"] for one in comparison["differences"]} >= {"corr", "mmc", "bmc"}
    told = versioned.predictd("shadow", "in_production", new).stdout
    assert "On live data the Spearman correlation" in told
    assert user.pickle(assigned)["assignedModelSlots"] == [model_id]
    assert user.submissions(model_id) == []

    failing = user.upload(pickles["raises"])
    user.wait(failing)
    done = versioned.predictd("shadow", "in_production", failing, check=False)
    assert done.returncode == 1
    assert "can't be compared: it has none" in done.stdout


def test_another_account_sees_nothing_of_them(versioned: Server, owner: User) -> None:
    stranger = versioned.user("stranger")
    [one, *_] = owner.ask("{ diagnostics { id computePickleUploadId } }")["diagnostics"]
    assert stranger.ask("query($id: ID) { diagnostics(id: $id) { id } }", id=one["id"])["diagnostics"] == []
