"""`predictd test`: what a model does wrong is found and named, and nothing is said against a good one."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import PREDICTD, RUNTIMES, Server
from local import trial_models
from predictd.data import generate, plan_named
from predictd.data.mapped_cache import MappedCache
from predictd.domain.findings import Finding, Level
from predictd.domain.limits import MIB, Limits
from predictd.domain.runs import Predictions, RunReport, SandboxKind
from predictd.local_run import run_pickle
from predictd.local_run.compare_runs import AgreementKind, compare_predictions
from predictd.local_run.cost_estimate import estimate_cost
from predictd.local_run.model_test import ModelTest, Step
from predictd.local_run.test_data import ModelTestData, prepare_test_data, spread_evenly
from predictd.runtimes import BuiltRuntime, load
from predictd.sandbox import ForkPool
from predictd.scoring.validation import ValidationData, open_validation

NOBODY = "http://127.0.0.1:9"
LIMITS = Limits(seconds=20.0, memory_bytes=512 * MIB)


@dataclass(frozen=True)
class Bench:
    """Pickled models, a data version, and the sandbox to try the ones on the other in."""

    folder: Path
    runtime: BuiltRuntime
    data: ModelTestData
    validation: ValidationData
    mapped: MappedCache
    parents: ForkPool

    def trial(self, name: str, limits: Limits = LIMITS) -> ModelTest:
        """All that `predictd test` finds, by runs that are forked, which takes tenths of a second."""

        def run(step: Step) -> RunReport:
            return run_pickle(
                self.folder / "models" / f"{name}.pkl",
                step.features,
                step.benchmarks,
                self.runtime.paths,
                limits,
                kind=SandboxKind.BUBBLEWRAP,
                on_log=lambda _: None,
                mapped=self.mapped,
                without_targets=step.is_validation,
                fork_pool=self.parents,
            )

        trial = ModelTest(data=self.data, limits=limits, run=run)
        if trial.check_live():
            trial.check_eras(self.validation)
            trial.check_cost()
        return trial

    def predictd(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PREDICTD_")}
        mine = {"XDG_CACHE_HOME": str(self.folder / "cache"), "PREDICTD_RUNTIMES_DIR": str(RUNTIMES), "UV_OFFLINE": "1"}
        return subprocess.run(
            [PREDICTD, "test", *arguments],
            cwd=self.folder,
            env=kept | mine | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@contextmanager
def bench_in(folder: Path) -> Iterator[Bench]:
    built = [one for one in load(RUNTIMES) if one.paths.version == "3.12"] or load(RUNTIMES)
    if not built:
        pytest.skip("no runtime is built; run scripts/prepare_tests.py")
    generate(folder / "v5.3", plan_named("tiny"), lambda *_: None)
    (folder / "models").mkdir()
    (folder / "trial").mkdir()
    columns = pd.read_parquet(folder / "v5.3" / "live.parquet").columns
    features = [name for name in columns if name.startswith("feature_")][:20]
    script = str(Path(trial_models.__file__))
    subprocess.run([str(built[0].executable), script, str(folder / "models"), *features], check=True)
    data = prepare_test_data(folder / "v5.3", folder / "v5.3", folder / "trial", eras=4)
    mapped = MappedCache(folder=folder / "mapped")
    parents = ForkPool(max_servers=2, folders=[folder])
    try:
        with open_validation(data.folder, mapped, factors=folder / "factors") as validation:
            yield Bench(folder, built[0], data, validation, mapped, parents)
    finally:
        parents.close()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with bench_in(tmp_path_factory.mktemp("bench")) as made:
        yield made


def of_level(trial: ModelTest, level: Level) -> list[Finding]:
    return [one for one in trial.findings if one.level is level]


# What is found


@pytest.mark.parametrize("name", trial_models.BROKEN)
def test_what_only_a_run_can_show_is_named(bench: Bench, name: str) -> None:
    limits = replace(LIMITS, seconds=1.0) if name == "too_slow" else LIMITS
    trial = bench.trial(name, limits)
    [failed] = of_level(trial, Level.FAIL)
    assert (failed.topic, failed.code) == trial_models.BROKEN[name]
    assert failed.fix
    assert trial.is_failed


@pytest.mark.parametrize("name", trial_models.DOUBTFUL)
def test_what_is_doubtful_is_warned_of(bench: Bench, name: str) -> None:
    trial = bench.trial(name)
    [doubtful] = of_level(trial, Level.WARN)
    assert (doubtful.topic, doubtful.code) == trial_models.DOUBTFUL[name]
    assert doubtful.fix
    assert not trial.is_failed


@pytest.mark.parametrize("name", trial_models.GOOD)
def test_nothing_is_said_against_a_good_model(bench: Bench, name: str) -> None:
    trial = bench.trial(name)
    topics = [one.topic for one in trial.findings if one.level is Level.PASS]
    assert topics == [one.topic for one in trial.findings], trial.findings
    assert topics == [
        "submission",
        "repeat",
        "row order",
        "eras",
        "one era",
        "diagnostics",
        "time",
        "memory",
        "forecast",
    ]


# The command


def test_a_good_model_passes_and_leaves_nothing_behind(bench: Bench, tmp_path: Path) -> None:
    done = bench.predictd("models/lightgbm.pkl", "--data", "v5.3", "--eras", "2", "--json", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["ok"] is True
    assert {one["level"] for one in answer["findings"]} == {"pass"}
    assert answer["eras"] == ["0575", "0582"]
    assert answer["diagnostics"]["erasAcceptedCount"] == 2
    assert answer["forecast"]["rows"] == 6500
    assert [line for line in done.stderr.splitlines() if line.startswith("Run ")] == [
        "Run 1 of 5: live data, 200 rows",
        "Run 2 of 5: the same data again",
        "Run 3 of 5: shuffled rows",
        "Run 4 of 5: 2 validation eras, 300 rows",
        "Run 5 of 5: era 0582 alone",
    ]
    assert list(tmp_path.iterdir()) == []


def test_benchmark_models_for_a_parameter_that_is_not_named_after_them_are_warned_of(bench: Bench) -> None:
    done = bench.predictd("models/second_default.pkl", "--data", "v5.3")
    warning = "The second parameter, proportion, gets the live benchmark models instead of its default."
    assert f"Warning: {warning}" in done.stderr
    assert "warn  signature" in done.stdout


def test_the_order_of_a_set_is_random_from_run_to_run(bench: Bench) -> None:
    (bench.folder / "without_live").mkdir(exist_ok=True)
    target = bench.folder / "without_live" / "validation.parquet"
    target.write_bytes((bench.folder / "v5.3" / "validation.parquet").read_bytes())
    done = bench.predictd("models/order_of_a_set.pkl", "--data", "without_live")
    assert done.returncode == 1
    assert "fail  repeat" in done.stdout
    assert "(not_deterministic)" in done.stdout
    assert "warn  live data" in done.stdout, "an era stands in where there is no live data"
    assert "MMC mean \N{EN DASH}" in done.stdout, "and what is not there is not needed"
    assert "1 check failed" in done.stderr


def test_a_model_that_fails_at_once_is_run_once_and_shows_what_it_printed(bench: Bench) -> None:
    done = bench.predictd("models/trained_feature_absent.pkl", "--data", "v5.3")
    assert done.returncode == 1
    assert "fail  submission" in done.stdout
    assert "(exception)" in done.stdout
    assert done.stderr.count("Traceback") == 1
    assert "Run 2" not in done.stderr
    assert "No valid submission in Python 3" in done.stderr
    wrong = bench.predictd("models/lightgbm.pkl", "--data", "models", "--json")
    assert wrong.returncode == 1
    assert "models has no validation.parquet" in json.loads(wrong.stdout)["message"]


def test_data_comes_from_a_server_and_live_data_anew(bench: Bench, server: Server) -> None:
    model = "models/trained_feature_absent.pkl"
    fetched = bench.predictd(model, "--server", server.address, XDG_CACHE_HOME=str(bench.folder / "fetched"))
    assert "Downloading validation.parquet" in fetched.stderr
    assert "Downloading live.parquet" in fetched.stderr
    assert "Run 1 of 5: live data, 200 rows" in fetched.stderr
    (bench.folder / "elsewhere").mkdir(exist_ok=True)
    cached = replace(bench, folder=bench.folder / "elsewhere").predictd(
        f"../{model}", "--server", NOBODY, "--data", "v5.3", XDG_CACHE_HOME=str(bench.folder / "fetched")
    )
    assert "Run 1 of 5: era 0582 instead of live data, 150 rows" in cached.stderr


# Its parts


def test_models_see_the_eras_without_targets_and_the_figures_have_them(bench: Bench) -> None:
    data = bench.data
    whole = pd.read_parquet(bench.folder / "v5.3" / "validation.parquet")
    few = pd.read_parquet(data.validation)
    assert data.eras == ("0575", "0577", "0580", "0582")
    pd.testing.assert_frame_equal(few, whole[whole["era"].isin(data.eras)])
    pd.testing.assert_frame_equal(pd.read_parquet(data.alone), whole[whole["era"] == "0582"])
    live, shuffled = (pd.read_parquet(path) for path in (data.live, data.shuffled))
    assert list(shuffled.index) != list(live.index)
    pd.testing.assert_frame_equal(shuffled.loc[live.index], live)
    assert not bench.trial("looks_at_targets").is_failed


def test_eras_are_spread_over_all() -> None:
    assert spread_evenly(list("abcdefg"), 3) == ["a", "d", "g"]
    assert spread_evenly(list("ab"), 4) == ["a", "b"]
    assert spread_evenly(list("abc"), 1) == ["a"]


def test_two_runs_agree_by_id_and_broken_ties_are_told_from_other_differences() -> None:
    random = np.random.default_rng(1)
    values = random.random(500)
    ids = [f"n{number}" for number in range(500)]

    def kind(before: pd.Series, after: pd.Series) -> AgreementKind:
        first, second = (Predictions(ids=list(one.index), values=one.to_numpy()) for one in (before, after))
        return compare_predictions(first, second).kind

    ranks = pd.Series(values, ids).rank(pct=True)
    turned = ranks.iloc[::-1]
    assert kind(ranks, turned) is AgreementKind.SAME
    assert kind(ranks, turned + 1e-9) is AgreementKind.SAME
    swapped = ranks.copy()
    swapped.iloc[[int(ranks.argmin()), int((ranks - 2 / 500).abs().argmin())]] = [2 / 500, 1 / 500]
    assert kind(ranks, swapped) is AgreementKind.SLIGHT
    tied = pd.Series(random.integers(0, 5, 500), ids)
    assert (
        kind(tied.rank(pct=True, method="first"), tied.iloc[::-1].rank(pct=True, method="first")) is AgreementKind.TIES
    )
    assert kind(ranks, (ranks * 0.7 + 0.3 * random.random(500)).rank(pct=True)) is AgreementKind.DIFFERENT
    assert kind(ranks, pd.Series(random.random(500), ids)) is AgreementKind.DIFFERENT


def test_a_forecast_scales_what_grows_with_rows_and_counts_no_imports() -> None:
    stages = {"import": 9.0, "unpickle": 2.0, "read": 0.5, "predict": 3.0, "write": 0.5}
    found = estimate_cost(stages, 100 * MIB, rows=650, columns=1000, speed=0.5)
    assert found.seconds == pytest.approx((2 + 4 * 10) * 0.5)
    assert found.memory_bytes == 100 * MIB + (6500 - 650) * 1000 * 5
    assert estimate_cost(stages, 0, rows=7000, columns=1000, speed=1.0).seconds == pytest.approx(6)
