"""The server of the load benchmark: a real `predictd serve` with its own data dir, accounts and models.

Accounts, models and validated pickles are written into the data dir before the server starts, because the benchmark
measures a round, not the uploads of its models. After that everything goes through the server.
"""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import trees
from predictd.db import Database
from predictd.db.accounts import create_account, create_token
from predictd.db.catalog import choose_data_version, choose_runtime
from predictd.db.models import Model, Pickle
from predictd.db.rounds import latest_round
from predictd.db.types import new_id
from predictd.domain.states import ValidationStatus
from predictd.server.deployment import Deployment, open_deployment
from predictd.server.setup import ensure_data, ensure_runtime
from predictd.settings import Settings

PREDICTD = str(Path(sys.executable).with_name("predictd"))
START_SECONDS = 120
# Different trivial models: the rank of some features that every data size has.
MAKE_PICKLES = """
import sys, cloudpickle
def model(number):
    def predict(live_features):
        used = live_features.iloc[:, [2 + number % 7, 9 + number % 11]].astype("float64")
        return (used.sum(axis=1) + number / 1e6).rank(pct=True, method="first").to_frame("prediction")
    return predict
for number in range(int(sys.argv[2])):
    with open(f"{sys.argv[1]}/{number}.pkl", "wb") as file:
        cloudpickle.dump(model(number), file)
"""


@dataclass(frozen=True, kw_only=True)
class Stand:
    """A running server and the tokens of its accounts."""

    home: Path
    environment: dict[str, str]
    database: Database
    process: "subprocess.Popen[bytes]"
    address: str
    tokens: tuple[str, ...]

    def open_round(self) -> str:
        """Open a round with the command and return its id."""
        command = [PREDICTD, "round", "open", "--length", "10h", "--json"]
        subprocess.run(command, env=self.environment, check=True, stdout=subprocess.DEVNULL)
        with self.database.read() as session:
            opened = latest_round(session, 8, datetime.now(UTC))
            assert opened is not None
            return opened.id

    def stop(self) -> None:
        """Stop the server with SIGTERM, like an admin."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)
        self.database.close()


def start(home: Path, *, accounts: int, count: int, data: str, extra: dict[str, str]) -> Stand:
    """Fill the data dir and start the server; `extra` are settings by the names of their environment variables."""
    runtimes = Path(os.environ.get("PREDICTD_TEST_RUNTIMES", trees.ROOT / ".cache" / "runtimes"))
    options = {"DATA_DIR": str(home), "RUNTIMES_DIR": str(runtimes), "DATA_SIZE": data, "CALENDAR": "manual"} | extra
    settings = {f"PREDICTD_{name}": value for name, value in options.items()}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREDICTD_")} | settings
    os.environ.update(settings)
    deployment = open_deployment(Settings())
    ensure_runtime(deployment, print)
    ensure_data(deployment, lambda *_: None)
    folder = home / "benchmark"
    folder.mkdir()
    subprocess.run([str(trees.runtime()), "-c", MAKE_PICKLES, str(folder), str(count)], check=True)
    tokens = _fill(deployment, folder, accounts, count)
    deployment.database.close()
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [PREDICTD, "serve", "--port", "0"], env=environment, stdout=log, stderr=log, start_new_session=True
        )
    address = _wait(home, process)
    return Stand(
        home=home,
        environment=environment,
        database=Database(Settings().resolved_database_url),
        process=process,
        address=address,
        tokens=tokens,
    )


def _fill(deployment: Deployment, pickles: Path, accounts: int, count: int) -> tuple[str, ...]:
    """Create that many models, distributed over the accounts, each with its own pickle assigned."""
    now = datetime.now(UTC)
    tokens = []
    with deployment.database.write() as session:
        runtime, version = choose_runtime(session, None), choose_data_version(session, None)
        owners = [create_account(session, f"account{number}", now) for number in range(accounts)]
        for owner in owners:
            token = create_token(session, owner, now)
            tokens.append(f"{token.public_id}${token.secret_key}")
        rows = []
        for number in range(count):
            content = pickles / f"{number}.pkl"
            key = f"pickle/{new_id()}"
            deployment.storage.put_file(key, content)
            pickle = Pickle(
                id=new_id(),
                account_id=owners[number % accounts].id,
                runtime_id=runtime.id,
                data_version_id=version.id,
                filename=f"model-{number}.pkl",
                storage_key=key,
                size_bytes=content.stat().st_size,
                validation_status=ValidationStatus.VALIDATED,
                inserted_at=now,
                updated_at=now,
            )
            name = f"model_{number}"
            slot = Model(
                account_id=pickle.account_id,
                tournament=8,
                name=name,
                name_key=name,
                pickle_id=pickle.id,
                inserted_at=now,
            )
            rows.append((pickle, slot))
        session.add_all(pickle for pickle, _ in rows)
        session.flush()
        session.add_all(slot for _, slot in rows)
    return tuple(tokens)


def _wait(home: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + START_SECONDS
    while not (home / "server.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the server did not start:\n{(home / 'server.log').read_text()}")
        time.sleep(0.05)
    return str(json.loads((home / "server.json").read_text())["address"])
