"""The models page of an account with many models on a server with many runs, over HTTP like a browser.

The account has 500 models, and each was run in each of 400 rounds: 200,000 runs, with their histories and submissions.
The page shows the first 50 of the models.
"""

import logging
import re
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import requests
import sqlalchemy as sa
import structlog
import uvicorn

from predictd.api.asgi import build_app
from predictd.db import Database
from predictd.db.models import (
    Account,
    DataVersion,
    Model,
    Pickle,
    Round,
    Run,
    RunStatus,
    Runtime,
    Submission,
    new_id,
)
from predictd.db.sessions import create_session
from predictd.http.services import Services
from predictd.server.deployment import open_deployment
from predictd.settings import Settings
from predictd.web import web_routes

MODELS, ROUNDS = 500, 400
BOUND_SECONDS, BOUND_BYTES = 0.1, 300_000
TIMES = 30
STATES = ("pending", "running", "validating", "submission_succeeded")


@cache
def measured() -> dict[str, Any]:
    """Return the seconds of the full and the empty page, and the bytes of a first load."""
    with tempfile.TemporaryDirectory(prefix="predictd-bench-") as folder:
        settings = Settings(data_dir=Path(folder))
        deployment = open_deployment(settings)
        full, empty = fill(deployment.database)
        services = Services(
            database=deployment.database, storage=deployment.storage, settings=settings, wake=lambda: None
        )
        with served(services) as address:
            pages = {"full": visitor(full), "empty": visitor(empty)}
            seconds = take_turns({name: lambda client=client: get(client, address) for name, client in pages.items()})
            weight = first_load(pages["full"], address)
        deployment.database.close()
    return {**seconds, "bytes": weight}


def fill(database: Database) -> tuple[str, str]:
    """Write the rows of a busy server, and two sessions: of an account with models, and of an empty account."""
    now = datetime.now(UTC)
    accounts = [_account(name, now) for name in ("many", "none")]
    runtime, version = new_id(), new_id()
    pickles, models = [new_id() for _ in range(MODELS)], [new_id() for _ in range(MODELS)]
    rounds = [new_id() for _ in range(ROUNDS)]
    opened = [now - timedelta(days=number) for number in range(ROUNDS, 0, -1)]
    with database.write() as session:
        session.add(
            Runtime(
                id=runtime,
                name="Python 3.12",
                image="py312",
                tag="bench",
                python="3.12",
                folder="py312",
                is_default=True,
                inserted_at=now,
            )
        )
        session.add(DataVersion(id=version, name="v5.3", is_default=True, inserted_at=now))
        session.execute(sa.insert(Account), accounts)
        session.execute(
            sa.insert(Pickle),
            [
                _pickle(pickle_id, model_id, accounts[0]["id"], runtime, version, now)
                for pickle_id, model_id in zip(pickles, models, strict=True)
            ],
        )
        session.execute(
            sa.insert(Model),
            [
                _model(model_id, number, accounts[0]["id"], pickles[number], now)
                for number, model_id in enumerate(models)
            ],
        )
        session.execute(
            sa.insert(Round),
            [
                _round(round_id, number, at)
                for number, (round_id, at) in enumerate(zip(rounds, opened, strict=True), start=1)
            ],
        )
        for round_id, at in zip(rounds, opened, strict=True):
            runs = [new_id() for _ in range(MODELS)]
            session.execute(
                sa.insert(Run),
                [_run(run, pickle, round_id, at) for run, pickle in zip(runs, pickles, strict=True)],
            )
            session.execute(
                sa.insert(RunStatus),
                [
                    {
                        "id": new_id(),
                        "run_id": run,
                        "status": state,
                        "description": "As it went.",
                        "inserted_at": at,
                    }
                    for run in runs
                    for state in STATES
                ],
            )
            session.execute(
                sa.insert(Submission),
                [
                    _submission(run, model, accounts[0]["id"], round_id, at)
                    for run, model in zip(runs, models, strict=True)
                ],
            )
        many, none = (session.get_one(Account, account["id"]) for account in accounts)
        return tuple(create_session(session, account, now) for account in (many, none))  # type: ignore[return-value]


def _account(name: str, now: datetime) -> dict[str, Any]:
    return {"id": new_id(), "username": name, "username_key": name, "inserted_at": now, "updated_at": now}


def _pickle(own: str, model: str, account: str, runtime: str, version: str, now: datetime) -> dict[str, Any]:
    return {
        "id": own,
        "account_id": account,
        "model_id": model,
        "runtime_id": runtime,
        "data_version_id": version,
        "filename": f"model-{own[:12]}.pkl",
        "storage_key": f"pickle/{own}",
        "size_bytes": 1_000_000,
        "validation_status": "validated",
        "inserted_at": now,
        "updated_at": now,
    }


def _model(own: str, number: int, account: str, pickle: str, now: datetime) -> dict[str, Any]:
    name = f"model_{number:03}"
    return {
        "id": own,
        "account_id": account,
        "tournament": 8,
        "name": name,
        "name_key": name,
        "pickle_id": pickle,
        "inserted_at": now,
    }


def _round(own: str, number: int, at: datetime) -> dict[str, Any]:
    close = at + timedelta(hours=1)
    return {
        "id": own,
        "tournament": 8,
        "number": number,
        "open_time": at,
        "close_time": close,
        "score_time": close + timedelta(days=4),
        "resolve_time": close + timedelta(days=31),
        "is_closed": True,
    }


def _run(own: str, pickle: str, round_id: str, at: datetime) -> dict[str, Any]:
    return {
        "id": own,
        "pickle_id": pickle,
        "round_id": round_id,
        "type": "live",
        "state": STATES[-1],
        "attempt": 1,
        "not_before": at,
        "inserted_at": at,
        "updated_at": at,
    }


def _submission(run: str, model: str, account: str, round_id: str, at: datetime) -> dict[str, Any]:
    return {
        "id": new_id(),
        "account_id": account,
        "model_id": model,
        "round_id": round_id,
        "run_id": run,
        "filename": "live_predictions.csv",
        "storage_key": f"predictions/{run}",
        "status": "accepted",
        "selected": True,
        "row_count": 6_500,
        "inserted_at": at,
    }


@contextmanager
def served(services: Services) -> Iterator[str]:
    """Serve the application on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    app = build_app(services, pages=web_routes(services))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def visitor(secret: str) -> requests.Session:
    client = requests.Session()
    client.cookies.set("predictd_session", secret, domain="127.0.0.1")
    return client


def get(client: requests.Session, address: str, path: str = "/models") -> requests.Response:
    answer = client.get(f"{address}{path}", timeout=60, allow_redirects=False)
    assert answer.status_code == 200, answer.status_code
    return answer


def take_turns(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median seconds of each function, called in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(TIMES + 1):
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(times) for name, times in seconds.items()}


def first_load(client: requests.Session, address: str) -> int:
    """Return the bytes over the wire of the page and everything that it loads."""
    page = get(client, address)
    paths = ["/models", *dict.fromkeys(re.findall(r'(?:src|href)="(/assets/[^"]+)"', page.text))]
    weight = 0
    for path in paths:
        with client.get(f"{address}{path}", timeout=60, stream=True) as answer:
            weight += len(answer.raw.read(decode_content=False))
            weight += sum(len(name) + len(value) + 4 for name, value in answer.headers.items())
    return weight


def models_page() -> dict:
    figures = measured()
    ratio = figures["full"] / figures["empty"]
    print(
        f"      the page without models takes {1000 * figures['empty']:.1f} ms, that with 500 {ratio:.1f} times as long"
    )
    return _bounded("models_page", figures["full"], BOUND_SECONDS, "s")


def first_load_of_models_page() -> dict:
    return _bounded("first_load_of_models_page", measured()["bytes"] / 1000, BOUND_BYTES / 1000, "kB")


def _bounded(name: str, ours: float, bound: float, unit: str) -> dict:
    return {"name": name, "ratio": bound / ours, "at_least": 1, "ours": ours, "peer": bound, "unit": unit}


FIGURES: dict[str, Callable[[], dict]] = {
    function.__name__: function for function in (models_page, first_load_of_models_page)
}
