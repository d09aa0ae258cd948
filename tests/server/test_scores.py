"""A round from its submissions to its scores, as users of numerapi and an organiser see it; all computed here anew."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numerapi
import numerapi.base_api
import numpy as np
import pandas as pd
import pytest
from numerai_tools import scoring
from scipy.stats import norm

from conftest import GraphQLErrors, Server, User
from predictd.data.mapped_cache import MappedCache
from predictd.db import Database
from predictd.db.models import Round
from predictd.rounds.scorer import Scorer
from predictd.storage import FolderStorage

DISPLAY = {"v2_corr20": "corr", "mmc": "mmc", "bmc": "bmc", "fnc_v3": "fnc_v3"}
WEIGHTS = {"alice_1": 1.0, "alice_2": 2.5, "bob_1": 1.0, "bob_2": 0.0}


@dataclass
class Scored:
    """A server whose first round is resolved; `predictions` are by model, in the order of the live ids."""

    server: Server
    alice: User
    bob: User
    models: dict[str, str]
    predictions: pd.DataFrame

    def client(self, user: User) -> numerapi.NumerAPI:
        numerapi.base_api.API_TOURNAMENT_URL = self.server.address
        return numerapi.NumerAPI(user.public_id, user.secret_key, verbosity="ERROR")

    def stored(self, key: str) -> pd.DataFrame:
        return pd.read_parquet(self.server.home / "storage" / "objects" / key)


@pytest.fixture(scope="module")
def scored(make_server: Callable[..., AbstractContextManager[Server]], tmp_path_factory: Any) -> Iterator[Scored]:
    with make_server() as server:
        alice, bob = server.user("alice"), server.user("bob")
        models = {name: (alice if name.startswith("alice") else bob).add_model(name) for name in WEIGHTS}
        server.open_round()
        live = pd.read_parquet(next(server.home.rglob("rounds/v5.3/1/live.parquet")))
        features = [name for name in live.columns if name.startswith("feature_")]
        predictions = pd.DataFrame(
            {name: live[features[i * 3 : i * 3 + 4]].sum(axis=1).rank(pct=True) for i, name in enumerate(models)}
        )
        found = Scored(server=server, alice=alice, bob=bob, models=models, predictions=predictions)
        for name, model_id in models.items():
            napi = found.client(alice if name.startswith("alice") else bob)
            path = tmp_path_factory.mktemp("upload") / "predictions.csv"
            predictions[name].rename("prediction").rename_axis("id").to_csv(path)
            napi.upload_predictions(str(path), model_id=model_id)
            if WEIGHTS[name] != 1:
                server.predictd("meta-model", "weight", name, str(WEIGHTS[name]))
        open_now = server.predictd("round", "resolve", "1", check=False)
        assert "Round 1 is not closed yet; close it first" in open_now.stderr
        server.close_round()
        yield found


@pytest.fixture(scope="module")
def resolved(scored: Scored) -> Scored:
    """The same after the final scores, by the targets of the synthetic data."""
    done = json.loads(scored.server.predictd("round", "resolve", "--json").stdout)
    assert (done["number"], done["status"], done["scored"]) == (1, "RESOLVED", 4)
    return scored


def expected(scored: Scored) -> pd.DataFrame:
    """Scores of each model by numerai-tools; the meta model is their weighted mean, ranked and gaussianised."""
    root = next(scored.server.home.rglob("targets/v5.3/1.parquet")).parents[2]
    targets = pd.read_parquet(root / "targets/v5.3/1.parquet")["target"].astype(float).sort_index()
    benchmarks = pd.read_parquet(root / "rounds/v5.3/1/live_benchmark_models.parquet").drop(columns="era").sort_index()
    live = pd.read_parquet(root / "rounds/v5.3/1/live.parquet").sort_index()
    v3 = json.loads((root / "data/v5.3/features.json").read_text())["feature_sets"]["fncv3_features"]
    predictions = scored.predictions.sort_index()

    def gaussian(column: "pd.Series[float]") -> Any:
        return norm.ppf((column.rank() - 0.5) / len(column))

    weights = pd.Series(WEIGHTS)
    meta = (predictions.apply(gaussian) * weights).sum(axis=1) / weights.sum()
    benchmark = benchmarks.astype(float).apply(gaussian).mean(axis=1).round(12)
    kept = pd.read_parquet(root / "meta_models/v5.3/1.parquet").set_index("id")["meta_model"].sort_index()
    assert np.allclose(kept, meta, atol=1e-9)
    scores = pd.DataFrame(
        {
            "corr": scoring.numerai_corr(predictions, targets),
            "mmc": scoring.correlation_contribution(predictions, meta.round(12).rename("m"), targets),
            "bmc": scoring.correlation_contribution(predictions, benchmark.rename("b"), targets),
        }
    )
    assert len(v3) > len(live)  # nothing is left of predictions that are neutralised to more features than rows
    return scores


def test_a_resolved_round_has_final_scores_with_percentiles(resolved: Scored) -> None:
    wanted = expected(resolved)
    for name, model_id in resolved.models.items():
        scores = resolved.client(resolved.bob).submission_scores(model_id)
        assert {one["displayName"] for one in scores} == {*DISPLAY, "fnc"}
        for one in scores:
            assert (one["roundNumber"], one["day"], one["resolved"]) == (1, 1, True)
            assert isinstance(one["date"], datetime)
            metric = DISPLAY.get(one["displayName"])
            if metric in wanted:
                assert one["value"] == pytest.approx(wanted[metric][name], abs=1e-9)
                percentile = wanted[metric].rank(pct=True)[name]
                assert one["percentile"] == pytest.approx(percentile)
            else:
                assert one["value"] is one["percentile"] is None
    [one] = resolved.client(resolved.alice).submission_scores(
        resolved.models["alice_1"], display_name="mmc", last_n_rounds=1, distinct_on_round=True, resolved=True
    )
    assert one["value"] == pytest.approx(wanted["mmc"]["alice_1"], abs=1e-9)
    assert resolved.client(resolved.alice).submission_scores(resolved.models["alice_1"], day=2) == []


def test_every_method_of_numerapi_shows_them(resolved: Scored) -> None:
    wanted = expected(resolved)
    napi, model_id = resolved.client(resolved.alice), resolved.models["alice_2"]
    corr = wanted["corr"]["alice_2"]
    with pytest.warns(DeprecationWarning, match="submission_scores"):
        [performance] = napi.round_model_performances_v2(model_id)
    assert performance["roundResolved"] is True
    values = {one["displayName"]: one["value"] for one in performance["submissionScores"]}
    assert values["v2_corr20"] == pytest.approx(corr, abs=1e-9)
    [intra] = napi.intra_round_scores(model_id)
    assert len(intra["intraRoundSubmissionScores"]) == len(performance["submissionScores"])
    [daily] = napi.daily_model_performances("alice_2")
    assert daily["corrRep"] == pytest.approx(corr, abs=1e-9)
    assert daily["corrRank"] == wanted["corr"].rank(ascending=False)["alice_2"]
    [round_] = napi.list_rounds(status="resolved")
    assert [one["displayName"] for one in round_["roundScoreConfigs"]][:2] == ["v2_corr20", "mmc"]
    assert round_["roundScoreConfigs"][0]["totalScoreDays"] == 20
    board = napi.get_leaderboard()
    assert [one["username"] for one in board] == list(wanted["corr"].sort_values(ascending=False).index)
    assert [one["rank"] for one in board] == [1, 2, 3, 4]
    assert board[0]["corr20V2Rep"] == pytest.approx(wanted["corr"].max(), abs=1e-9)
    assert [one["username"] for one in napi.get_leaderboard(limit=2, offset=1)] == [
        one["username"] for one in board[1:3]
    ]
    accounts = {one["username"]: one for one in napi.get_account_leaderboard()}
    assert accounts["alice"]["mmc"] == pytest.approx(wanted["mmc"][["alice_1", "alice_2"]].mean(), abs=1e-9)
    assert sorted(one["rank"] for one in accounts.values()) == [1, 2]


def test_the_public_fields_are_filled(resolved: Scored) -> None:
    wanted = expected(resolved)
    answer = resolved.bob.ask(
        """query($m: ID!) {
            roundDetails(roundNumber: 1, tournament: 8) {
                status roundResolved scoresUpdatedTime totalSubmitted models { modelName v2Corr20 mmcPercentile }
            }
            userScores(modelId: $m) { displayName rank reputation date }
            v3UserProfile(modelName: "alice_1") {
                latestSubmissionScores { displayName value } latestUserScores { displayName rank }
            }
            accountProfile(username: "alice") { models { displayName mmcRep } }
            pipelineStatus { isScoringDay scoredAt resolvedAt }
            v2RoundModelPerformances(modelId: $m, submittedOnly: true, roundNumberGte: 1) { submissionId roundNumber }
        }""",
        m=resolved.models["alice_1"],
    )
    details = answer["roundDetails"]
    assert (details["status"], details["roundResolved"], details["totalSubmitted"]) == ("RESOLVED", True, 4)
    found = {one["modelName"]: one["v2Corr20"] for one in details["models"]}
    assert found == pytest.approx(wanted["corr"].to_dict(), abs=1e-9)
    assert {one["mmcPercentile"] for one in details["models"]} == {0.25, 0.5, 0.75, 1.0}
    assert {one["displayName"] for one in answer["userScores"]} == {*DISPLAY, "fnc"}
    latest = {one["displayName"]: one["value"] for one in answer["v3UserProfile"]["latestSubmissionScores"]}
    assert latest["mmc"] == pytest.approx(wanted["mmc"]["alice_1"], abs=1e-9)
    profile = {one["displayName"]: one["mmcRep"] for one in answer["accountProfile"]["models"]}
    assert profile["alice_2"] == pytest.approx(wanted["mmc"]["alice_2"], abs=1e-9)
    assert answer["pipelineStatus"]["isScoringDay"] is True
    assert answer["v2RoundModelPerformances"][0]["roundNumber"] == 1


@pytest.mark.parametrize(
    ("order_by", "direction", "metric", "ascending"),
    [
        ("mmcRep", None, "mmc", False),
        ("mmc_rep", "asc", "mmc", True),
        ("rank", "desc", "corr", True),
        ("bmcRep", "desc", "bmc", False),
        ("nmrStaked", "desc", "corr", False),
    ],
)
def test_a_leaderboard_is_ordered_as_asked(
    resolved: Scored, order_by: str, direction: str | None, metric: str, ascending: bool
) -> None:
    query = "query($o: String, $d: String) { v2Leaderboard(orderBy: $o, direction: $d) { username } }"
    board = resolved.bob.ask(query, o=order_by, d=direction)["v2Leaderboard"]
    wanted = expected(resolved)[metric].sort_values(ascending=ascending)
    assert [one["username"] for one in board] == list(wanted.index)


def test_a_leaderboard_that_can_not_be_ordered_so_says_how_it_can(resolved: Scored) -> None:
    with pytest.raises(GraphQLErrors, match=r"can't be ordered by 'luck'\. Use one of: username, rank"):
        resolved.bob.ask('{ v2Leaderboard(orderBy: "luck") { username } }')
    found = resolved.bob.ask('{ v2Leaderboard(filterBy: "ALICE", orderBy: "username") { username } }')
    assert [one["username"] for one in found["v2Leaderboard"]] == ["alice_1", "alice_2"]


def test_a_resolved_round_is_scored_again_on_request_alone(resolved: Scored, tmp_path: Path) -> None:
    refused = resolved.server.predictd("round", "resolve", "1", check=False)
    assert "Round 1 is resolved already; replace its final scores with --replace" in refused.stderr
    done = json.loads(resolved.server.predictd("round", "resolve", "1", "--replace", "--json").stdout)
    assert (done["score_days"], done["scored"]) == (1, 4)


def test_daily_scores_by_hand_go_on_to_final_ones_by_a_file(resolved: Scored, tmp_path: Path) -> None:
    server, model_id = resolved.server, resolved.models["alice_1"]
    server.open_round()
    live = pd.read_parquet(next(server.home.rglob("rounds/v5.3/2/live.parquet")))
    values = np.random.default_rng(0).choice([0, 0.25, 0.5, 0.75, 1], size=(len(live), 2))
    targets = pd.DataFrame(values, index=live.index, columns=["today", "target"])
    predictions = live["feature_" + live.columns[2].removeprefix("feature_")].rank(pct=True, method="first")
    path = tmp_path / "predictions.csv"
    predictions.rename("prediction").to_csv(path)
    resolved.client(resolved.alice).upload_predictions(str(path), model_id=model_id)
    server.close_round()

    targets.to_csv(tmp_path / "today.csv")
    today = str(tmp_path / "today.csv")
    told = server.predictd("round", "score", "--targets", today, "--target", "today")
    assert "Scored day 1 of round 2: 1 submissions" in told.stderr
    wrong = server.predictd("round", "resolve", "2", "--targets", today, "--target", "nothing", check=False)
    assert "today.csv has no column 'nothing' but id, today, target" in wrong.stderr
    other = targets.set_index(targets.index + "x")
    other.to_parquet(tmp_path / "other.parquet")
    wrong = server.predictd("round", "resolve", "2", "--targets", str(tmp_path / "other.parquet"), check=False)
    assert "The targets have 0% of the live ids of round 2 (v5.3), but 80% are needed" in wrong.stderr
    targets.to_parquet(tmp_path / "targets.parquet")
    done = json.loads(
        server.predictd("round", "resolve", "--targets", str(tmp_path / "targets.parquet"), "--json").stdout
    )
    assert (done["number"], done["score_days"], done["status"]) == (2, 2, "RESOLVED")
    days = resolved.client(resolved.alice).submission_scores(model_id, display_name="v2_corr20", last_n_rounds=1)
    for one, column in zip(days, ["today", "target"], strict=True):
        wanted = scoring.numerai_corr(predictions.to_frame("p").sort_index(), targets[column].sort_index())["p"]
        assert one["value"] == pytest.approx(wanted, abs=1e-9)
    assert [one["resolved"] for one in days] == [False, True]


def test_on_the_calendar_a_round_of_synthetic_data_has_twenty_days_and_a_server_makes_up_for_those_it_missed(
    resolved: Scored, tmp_path: Path
) -> None:
    server, model_id = resolved.server, resolved.models["bob_1"]
    number = server.open_round()
    live = pd.read_parquet(next(server.home.rglob(f"rounds/v5.3/{number}/live.parquet")))
    path = tmp_path / "predictions.csv"
    live[live.columns[2]].rank(pct=True, method="first").rename("prediction").to_csv(path)
    resolved.client(resolved.bob).upload_predictions(str(path), model_id=model_id)
    server.close_round()
    database = Database(server.environment["PREDICTD_DATABASE_URL"])
    scorer = Scorer(
        database=database,
        storage=FolderStorage.open(server.home / "storage", base_url=""),
        mapped=MappedCache(folder=tmp_path / "mapped"),
        factors=tmp_path / "factors",
    )
    now = datetime.now(UTC)
    assert scorer.tick(now) == 0
    first = scorer.tick(now + timedelta(days=14))
    assert 6 <= first <= 9
    assert scorer.tick(now + timedelta(days=40)) == 20 - first
    assert scorer.tick(now + timedelta(days=40)) == 0
    with database.read() as session:
        round_ = session.query(Round).filter_by(number=number).one()
    assert (round_.score_days, round_.resolved_at) == (20, round_.resolve_time)
    days = resolved.client(resolved.bob).submission_scores(model_id, display_name="v2_corr20", last_n_rounds=1)
    assert [one["day"] for one in days] == list(range(1, 21))
    assert all(one["date"].weekday() in (1, 2, 3, 4, 5) for one in days[:-1])
    assert not (tmp_path / "factors" / f"round-{number}").exists()
    away = [abs(one["value"] - days[-1]["value"]) for one in days]
    assert 0 < np.mean(away[14:19]) < np.mean(away[:5])
    database.close()
