"""What the platform tells of itself: /metrics, the dashboard and the alerts made of it, readiness, and the log."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from conftest import ROOT, Server, User

TOKEN = "a token for prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"
NAMES = re.compile(r"\b(?:predictd|process|python)_[a-z_]+\b")


@pytest.fixture(scope="module")
def watched(make_server: Callable[..., AbstractContextManager[Server]]) -> Iterator[Server]:
    """A server that logs JSON and gives its figures to who has the token."""
    proxied = {"trusted_proxies": "127.0.0.1", "metrics_networks": "10.1.2.0/24, fd00::/8"}
    with make_server(metrics_token=TOKEN, log_format="json", **proxied) as running:
        yield running


@pytest.fixture(scope="module")
def owner(watched: Server, pickles: dict[str, bytes]) -> tuple[User, str]:
    """Somebody there whose model ran for a round, and the trigger that it ran by; another model failed."""
    watched.open_round()
    user = watched.user("owner")
    ran = user.wait(user.upload(pickles["good"], user.add_model("good")))
    user.wait(user.upload(pickles["returns_nan"], user.add_model("bad")))
    return user, str(ran["triggers"][0]["id"])


def scrape(server: Server) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The figures, by name and labels."""
    answer = requests.get(f"{server.address}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10)
    assert answer.status_code == 200
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_the_figures_are_for_who_has_the_token_or_comes_from_a_network_that_is_named(
    watched: Server,
    owner: tuple[User, str],
) -> None:
    for headers in ({}, {"Authorization": "Bearer another"}, {"X-Forwarded-For": "10.1.3.1"}):
        answer = requests.get(f"{watched.address}/metrics", headers=headers, timeout=10)
        assert (answer.status_code, answer.text) == (404, "Not Found")
    for address in ("10.1.2.3", "fd00::1"):
        answer = requests.get(f"{watched.address}/metrics", headers={"X-Forwarded-For": address}, timeout=10)
        assert "predictd_up 1.0" in answer.text


def test_the_figures_tell_what_happened(watched: Server, owner: tuple[User, str]) -> None:
    found = scrape(watched)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    succeeded = {"type": "validation", "state": "submission_succeeded", "code": ""}
    assert value("predictd_runs_ended_total", **succeeded) == 1
    failed = {"type": "validation", "state": "model_failed", "code": "nan_predictions"}
    assert value("predictd_runs_ended_total", **failed) == 1
    assert value("predictd_run_seconds_count", type="validation") == 2
    assert value("predictd_queue_wait_seconds_count", type="validation") == 2
    assert value("predictd_uploads_total", kind="pickle") == 2
    assert value("predictd_upload_bytes_total", kind="pickle") > 0
    assert value("predictd_http_requests_total", method="PUT", route="/files/{key:path}", status="200") == 2
    assert value("predictd_http_received_bytes_total", route="/files/{key:path}") > 0
    assert value("predictd_queue_pending", type="live") == 0
    assert value("predictd_rounds_open") == 1
    assert value("predictd_round_number") == 1
    assert value("predictd_scoring_lag_seconds") == 0
    assert value("predictd_disk_free_bytes") > 0


def test_the_dashboard_and_the_alerts_ask_for_figures_that_a_server_has(
    watched: Server, owner: tuple[User, str]
) -> None:
    exposed = {name for name, _ in scrape(watched)}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(asked) >= 15
    asked.append(RULES.read_text())
    wanted = {name for text in asked for name in NAMES.findall(text)}
    assert len(wanted) >= 15
    assert wanted - exposed == set()


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool (Debian: apt-get install prometheus)")
def test_prometheus_takes_the_alerts_which_fire_when_they_should_and_the_dashboards_expressions(tmp_path: Path) -> None:
    checked = [RULES, tmp_path / "dashboard.yml"]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    rules = [{"record": f"asked:{n}", "expr": re.sub(r"\$__\w+", "5m", expr)} for n, expr in enumerate(asked)]
    # JSON is YAML too.
    checked[1].write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", *map(str, checked))
    promtool("test", "rules", str(Path(__file__).with_name("alerts_test.yml")))
    promtool("check", "config", "--syntax-only", str(RULES.parent / "prometheus.yml"))


def lines(server: Server) -> list[dict[str, Any]]:
    """The log; what people are told on the way is no part of it."""
    return [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]


def test_a_run_is_followed_through_the_log_by_its_id(watched: Server, owner: tuple[User, str]) -> None:
    _, run = owner
    about = [line for line in lines(watched) if line.get("run") == run]
    events = [line["event"] for line in about]
    for expected in ("run_queued", "run_claimed", "predictions_stored", "run_ended"):
        assert expected in events, events
    assert any(line.get("logger") == "predictd.sandbox.isolated_run" for line in about)
    assert all(line["attempt"] == 1 for line in about if line["event"] != "run_queued")
    # It was queued by a request, by whose id that is found too.
    queued = next(line for line in about if line["event"] == "run_queued")
    answered = [line for line in lines(watched) if line["event"] == "request" and line["request"] == queued["request"]]
    assert [(line["method"], line["route"], line["status"]) for line in answered] == [("POST", "/graphql", 200)]


def test_no_line_is_without_its_run_and_none_has_a_secret(watched: Server, owner: tuple[User, str]) -> None:
    user, _ = owner
    requests.get(f"{watched.address}/files/x?signature=0123456789abcdef&expires=1", timeout=10)
    given = requests.get(f"{watched.address}/healthz", headers={"X-Request-Id": "followed-from-afar"}, timeout=10)
    assert given.headers["x-request-id"] == "followed-from-afar"
    for line in lines(watched):
        is_of_run = line["event"].startswith(("run_", "predictions_", "the model"))
        assert not is_of_run or "run" in line or line.get("purpose") == "isolation_probe", line
        assert {"timestamp", "level", "event"} <= set(line)
    assert user.secret_key not in watched.log
    assert "0123456789abcdef" not in watched.log
    assert TOKEN not in watched.log


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GET /files/x?expires=1&signature=0a1b2c&name=m.pkl", "GET /files/x?expires=1&signature=***&name=m.pkl"),
        ("https://s3/b/k?X-Amz-Signature=ff00&X-Amz-Date=1", "https://s3/b/k?X-Amz-Signature=***&X-Amz-Date=1"),
        (f"header {'A1' * 16}${'B2' * 32} was refused", "header *** was refused"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("lost postgresql+psycopg://me:hunter2@db/predictd", "lost postgresql+psycopg://me:***@db/predictd"),
        ("run 3574c771-471c-4d0c-ad46-e8f07ae21a2e failed", "run 3574c771-471c-4d0c-ad46-e8f07ae21a2e failed"),
    ],
)  # fmt: skip
def test_what_looks_like_a_secret_is_masked_in_the_log_and_nothing_else(text: str, masked: str) -> None:
    from predictd.cli.logs import without_secrets

    assert without_secrets(None, "", {"event": text, "error": text, "count": 3}) == {
        "event": masked,
        "error": masked,
        "count": 3,
    }
