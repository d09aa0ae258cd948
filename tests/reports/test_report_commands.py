"""`predictd diagnostics` and `predictd compare`: predictions and pickles measured on this machine."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numerai_tools.scoring import numerai_corr

from conftest import PREDICTD, RUNTIMES, Server
from predictd.data import generate, plan_named

Done = "subprocess.CompletedProcess[str]"


@dataclass(frozen=True)
class Desk:
    """A folder with a data version `v5.3`, where commands are run."""

    folder: Path

    def predictd(self, *arguments: str) -> Done:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREDICTD_")}
        mine = {"XDG_CACHE_HOME": str(self.folder / "cache"), "PREDICTD_RUNTIMES_DIR": str(RUNTIMES), "UV_OFFLINE": "1"}
        return subprocess.run(
            [PREDICTD, *arguments],
            cwd=self.folder,
            env=kept | mine,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def targets(self) -> pd.DataFrame:
        data = pd.read_parquet(self.folder / "v5.3/validation.parquet", columns=["era", "target"])
        return data.astype({"target": "float64"})

    def write(self, name: str, weight: float) -> pd.Series:
        """A file of predictions that follow the targets, the more the larger the weight."""
        data = self.targets()
        mixed = data["target"] * weight + np.random.default_rng(3).random(len(data))
        ranks = mixed.rank(pct=True).rename("prediction")
        ranks.to_frame().to_parquet(self.folder / name) if name.endswith("t") else ranks.to_csv(self.folder / name)
        return ranks


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    folder = tmp_path_factory.mktemp("desk")
    generate(folder / "v5.3", plan_named("tiny"), lambda *_: None)
    return Desk(folder)


def test_a_file_has_the_figures_that_numerai_tools_gives(desk: Desk) -> None:
    predictions = desk.write("strong.parquet", 0.3)
    done = desk.predictd("diagnostics", "strong.parquet", "--data", "v5.3", "--json")
    assert done.returncode == 0, done.stderr
    [found] = json.loads(done.stdout)["models"]
    data = desk.targets()
    expected = {
        era: numerai_corr(predictions[rows.index].to_frame(), rows["target"]).iloc[0]
        for era, rows in data.groupby("era")
    }
    eras = {one["era"]: one["validationCorr"] for one in found["diagnostics"]["perEraDiagnostics"]}
    assert eras == pytest.approx(expected, abs=1e-9)
    assert found["diagnostics"]["validationCorrMean"] == pytest.approx(np.mean(list(expected.values())), abs=1e-9)
    assert found["diagnostics"]["trainedOnVal"] is True
    assert "0.1" in found["suspicion"]
    assert "Scoring strong on 8 eras of v5.3" in done.stderr


def test_a_table_is_shown_and_a_page_written_of_eras_that_a_file_has(desk: Desk) -> None:
    predictions = desk.write("some.csv", 0.05)
    eras = desk.targets()["era"]
    predictions[eras.isin(["0576", "0579"])].to_csv(desk.folder / "some.csv")
    done = desk.predictd("diagnostics", "some.csv", "--data", "v5.3", "--html", "some.html", "--name", "mine")
    assert done.returncode == 0, done.stderr
    rows = {line.split("  ")[1]: line.split() for line in done.stdout.splitlines() if line.startswith("  ")}
    assert rows["Eras with CORR"][3] == "2"
    assert rows["Eras missing"][2] == "6"
    assert "mine" in done.stdout
    text = (desk.folder / "some.html").read_text()
    assert "Diagnostics of <span>mine</span>" in text
    assert "\x1b" not in done.stdout


def test_a_pickle_is_run_on_the_validation_data_and_compared(desk: Desk, pickles: dict[str, bytes]) -> None:
    (desk.folder / "good.pkl").write_bytes(pickles["good"])
    desk.write("assigned.parquet", 0.05)
    done = desk.predictd("compare", "good.pkl", "assigned.parquet", "--data", "v5.3", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("predicting 150 rows") == 8, "the model sees era by era"
    [found] = json.loads(done.stdout)["comparisons"]
    assert (found["base"], found["other"], found["eras"]) == ("assigned", "good", 8)
    assert found["outcome"] == "too_few_eras"
    shown = desk.predictd("compare", "good.pkl", "assigned.parquet", "--data", "v5.3", "--no-features")
    assert shown.stdout.startswith("Too few eras to compare: assigned and good have 8 in common, but need 20.")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("id,prediction\nn123,0.5\n", "1 ids are not among the 1200 validation ids, first n123"),
        ("name,score\n1,2\n", "The header must be 'id,prediction'"),
    ],
)
def test_a_wrong_file_is_told_by_its_name_what_is_wrong_and_what_to_do(desk: Desk, content: str, told: str) -> None:
    (desk.folder / "wrong.csv").write_text(content)
    done = desk.predictd("diagnostics", "wrong.csv", "--data", "v5.3", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["ok"] is False
    assert answer["message"].startswith("wrong.csv: ")
    assert told in answer["message"]


def test_a_failing_model_is_told_by_its_code(desk: Desk, pickles: dict[str, bytes]) -> None:
    (desk.folder / "raises.pkl").write_bytes(pickles["raises"])
    done = desk.predictd("diagnostics", "raises.pkl", "--data", "v5.3", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["code"] == "exception"
    assert "KeyError: 'feature_that_was_renamed'" in done.stderr


def test_data_is_fetched_once_from_a_server(desk: Desk, server: Server) -> None:
    validation = pd.read_parquet(desk.folder / "v5.3/validation_example_preds.parquet")
    validation.to_csv(desk.folder / "example.csv")
    first = desk.predictd("diagnostics", "example.csv", "--server", server.address, "--no-features", "--json")
    assert first.returncode == 0, first.stderr
    assert "Downloading validation.parquet" in first.stderr
    again = desk.predictd("diagnostics", "example.csv", "--server", "http://127.0.0.1:9", "--data", "v5.3")
    assert again.returncode == 0, again.stderr
    assert json.loads(first.stdout)["data"] == "v5.3"
