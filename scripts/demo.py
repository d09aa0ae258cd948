"""The main job with the embedded defaults, through the public client: upload a pickle, get predictions every round.

Run by `make demo`; `--keep` leaves the server running and prints its address and a token. Exits non-zero when anything
fails.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numerapi
import numerapi.base_api
import pandas as pd

BIN = Path(sys.executable).parent
PREDICTD = str(BIN / "predictd")
FINAL = {"submission_succeeded", "model_failed", "error"}
STATUS_QUERY = """
    query($id: ID!) {
        computePickles(id: $id) {
            validationStatus
            assignedModelSlots
            triggers { id type status submissionId roundId statuses { status description insertedAt } }
        }
    }
"""


class DemoError(Exception):
    """A step of the demo did not end as it should."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", action="store_true", help="leave the server running at the end")
    parser.add_argument("--data-dir", type=Path, default=None, help="folder to use instead of a temporary one")
    arguments = parser.parse_args()
    home = arguments.data_dir or Path(tempfile.mkdtemp(prefix="predictd-demo-"))
    started = time.monotonic()
    server, address = start_server(home)
    try:
        token = run_demo(home, address)
    except Exception as error:  # noqa: BLE001 (whatever fails, the server is stopped and the exit is non-zero)
        stop(server)
        print(f"\nThe demo failed: {type(error).__name__}: {error}")
        print(f"Everything lies in {home}; the server's log is {home / 'server.log'}")
        sys.exit(1)
    print(f"\nDone in {time.monotonic() - started:.0f} s. Everything lies in {home}")
    if arguments.keep:
        print(f"The server is still running at {address} (process {server.pid}; stop it with: kill {server.pid})")
        print(f"Token: {token['public_id']}${token['secret_key']}")
    else:
        stop(server)


def step(text: str) -> None:
    print(f"\n── {text}", flush=True)


def predictd(home: Path, *arguments: str) -> str:
    """Run a command beside the server and answer what it printed."""
    done = subprocess.run(
        [PREDICTD, *arguments, "--data-dir", str(home)], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode != 0:
        raise DemoError(f"predictd {' '.join(arguments)} exited with {done.returncode}")
    return done.stdout


def start_server(home: Path) -> tuple["subprocess.Popen[bytes]", str]:
    step(f"predictd serve (data dir {home})")
    home.mkdir(parents=True, exist_ok=True)
    log = home / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [PREDICTD, "serve", "--data-dir", str(home), "--port", "0", "--calendar", "manual"],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    shown = 0
    while server.poll() is None:
        text = log.read_text(errors="replace")
        print(text[shown:], end="", flush=True)
        shown = len(text)
        if (home / "server.json").exists():
            return server, str(json.loads((home / "server.json").read_text())["address"])
        time.sleep(0.2)
    print(log.read_text(errors="replace")[shown:])
    print("The server did not start.")
    sys.exit(1)


def stop(server: "subprocess.Popen[bytes]") -> None:
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(60)
    except subprocess.TimeoutExpired:
        server.kill()


def run_demo(home: Path, address: str) -> dict[str, str]:
    step("predictd account create demo --json")
    token = json.loads(predictd(home, "account", "create", "demo", "--json"))
    numerapi.base_api.API_TOURNAMENT_URL = address
    napi = numerapi.NumerAPI(token["public_id"], token["secret_key"], verbosity="WARNING", show_progress_bars=False)
    print(f"account {token['username']}, token {token['public_id']}$…")

    step("Train a LightGBM model in the default runtime's own Python, and pickle predict as the public notebook does")
    work = home / "demo"
    work.mkdir(exist_ok=True)
    for name in ("features.json", "train.parquet", "validation.parquet"):
        napi.download_dataset(f"v5.3/{name}", str(work / "v5.3" / name))
    pickle = work / "model.pkl"
    subprocess.run(
        [default_python(home), str(Path(__file__).with_name("demo_model.py")), str(work), str(pickle)], check=True
    )

    step("Create the model slot, open a round, upload the pickle (numerapi)")
    created = napi.raw_query(
        "mutation($name: String! $tournament: Int!) { addModel(name: $name tournament: $tournament) { id name } }",
        {"name": "demo_lgbm", "tournament": 8},
        authorization=True,
    )
    model_id = created["data"]["addModel"]["id"]
    predictd(home, "round", "open")
    pickle_id = napi.model_upload(str(pickle), model_id=model_id)
    print(f"model demo_lgbm {model_id}\npickle {pickle_id}")

    step("Wait for validation and Success")
    uploaded = wait(napi, pickle_id, runs=1)
    if uploaded["validationStatus"] != "validated" or uploaded["assignedModelSlots"] != [model_id]:
        raise DemoError(f"the pickle is {uploaded['validationStatus']} in slots {uploaded['assignedModelSlots']}")
    first = download(napi, model_id, work / "round-1.csv")

    step("Open the next round and wait for the run that nobody asked for")
    predictd(home, "round", "open")
    uploaded = wait(napi, pickle_id, runs=2)
    second = download(napi, model_id, work / "round-2.csv")
    if set(first["id"]) == set(second["id"]):
        raise DemoError("the second round's predictions are for the first round's ids")

    step("Diagnostics, which the pickle got without being asked")
    show_diagnostics(napi, model_id, pickle_id)

    step("Close the round, resolve both and look at the scores")
    predictd(home, "round", "close")
    for number in ("1", "2"):
        predictd(home, "round", "resolve", number)
    for score in napi.submission_scores(model_id):
        if score["value"] is not None:
            print(f"round {score['roundNumber']}  {score['displayName']:<10} {score['value']:8.4f}")
    print(f"rank {napi.get_leaderboard()[0]['rank']} of the leaderboard")

    step("The predictions of the second round")
    print(second.head().to_string(index=False))
    step("The history of both runs")
    for run in reversed(uploaded["triggers"]):
        print(f"{run['type']} {run['id']}")
        for status in run["statuses"]:
            print(f"  {status['insertedAt']}  {status['status']:<20}  {status['description']}")
    step("Where everything lies")
    for what, path in {
        "database": home / "predictd.db",
        "pickles and predictions": home / "storage",
        "data version": home / "storage" / "data" / "v5.3",
        "default runtime": Path(default_python(home)).parents[1],
        "downloaded predictions": work,
        "server's log": home / "server.log",
    }.items():
        print(f"{what:<24} {path}")
    return dict(token)


def default_python(home: Path) -> str:
    runtimes = json.loads(predictd(home, "runtime", "list", "--json"))
    return str(next(one["python"] for one in runtimes if one["default"]))


def wait(napi: numerapi.NumerAPI, pickle_id: str, *, runs: int, seconds: float = 150) -> dict[str, Any]:
    """Wait until the pickle has ended so many runs, and show each status once."""
    deadline = time.monotonic() + seconds
    shown: set[str] = set()
    while time.monotonic() < deadline:
        uploaded = napi.raw_query(STATUS_QUERY, {"id": pickle_id}, authorization=True)["data"]["computePickles"][0]
        triggers = uploaded["triggers"]
        newest = triggers[0]
        for status in newest["statuses"]:
            line = f"{status['insertedAt']}  {status['status']}"
            if newest["id"] + line not in shown:
                shown.add(newest["id"] + line)
                print(line, flush=True)
        if len(triggers) >= runs and all(run["status"] in FINAL for run in triggers):
            if newest["status"] != "submission_succeeded":
                raise DemoError(f"the run ended as {newest['status']}: {newest['statuses'][-1]['description']}")
            return dict(uploaded)
        time.sleep(0.3)
    raise DemoError(f"the run has not ended after {seconds:.0f} s")


def show_diagnostics(napi: numerapi.NumerAPI, model_id: str, pickle_id: str, seconds: float = 150) -> None:
    """Wait for the diagnostics of the pickle and show some of their figures."""
    query = (
        "query($id: ID!) { computePickles(id: $id) { diagnosticsId diagnosticsStatus diagnosticsStatusDescription } }"
    )
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = napi.raw_query(query, {"id": pickle_id}, authorization=True)["data"]["computePickles"][0]
        if found["diagnosticsStatus"] in ("done", "failed"):
            break
        time.sleep(0.3)
    if found["diagnosticsStatus"] != "done":
        raise DemoError(f"the diagnostics are {found['diagnosticsStatus']}: {found['diagnosticsStatusDescription']}")
    [figures] = napi.diagnostics(model_id, found["diagnosticsId"])
    for name in ("CorrMean", "CorrSharpe", "MmcMean", "BmcMean", "FeatureNeutralCorrV3Mean", "MaxDrawdown"):
        print(f"{name:<26} {figures['validation' + name]:8.4f}")


def download(napi: numerapi.NumerAPI, model_id: str, path: Path) -> "pd.DataFrame":
    path.unlink(missing_ok=True)
    napi.download_submission(model_id=model_id, dest_path=str(path))
    return pd.read_csv(path)


if __name__ == "__main__":
    os.environ.pop("NUMERAI_PUBLIC_ID", None)
    main()
