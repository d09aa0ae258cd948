"""The platform's overhead over a model's own time: upload to Success of a trivial model, and a triggered run.

The peer is the same work without a platform: start the runtime's Python, import, read the live file, unpickle, predict
and write a CSV, without isolation and limits. Prints ratios to it. Run `.venv/bin/python benchmarks/overhead.py`.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numerapi
import numerapi.base_api

ROOT = Path(__file__).resolve().parents[1]
PREDICTD = str(Path(sys.executable).with_name("predictd"))
UPLOADS = 5
PEER_RUNS = 5
MAKE_PICKLE = """
import sys, cloudpickle
def predict(live_features):
    return live_features.iloc[:, 5].rank(pct=True, method="first").to_frame("prediction")
open(sys.argv[1], "wb").write(cloudpickle.dumps(predict))
"""
PEER = """
import sys, cloudpickle, pandas, pickle
live = pandas.read_parquet(sys.argv[2])
predict = pickle.load(open(sys.argv[1], "rb"))
predict(live).to_csv(sys.argv[3])
"""
STATUS = """query($id: ID!) { computePickles(id: $id) { triggers {
    id status statuses { status insertedAt } } } }"""
TRIGGER = "mutation($id: ID!) { triggerComputePickleUpload(pickleId: $id) { id } }"
FINAL = {"submission_succeeded", "model_failed", "error"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="triggered runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="predictd-bench-") as folder:
        home = Path(folder)
        server = start(home)
        try:
            report(*measure(home, arguments.runs), arguments.runs)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def start(home: Path) -> "subprocess.Popen[bytes]":
    print(f"starting a server with the demo's data in {home}", flush=True)
    environment = os.environ | {"PREDICTD_DATA_DIR": str(home), "PREDICTD_CALENDAR": "manual"}
    cached = ROOT / ".cache" / "runtimes"
    if cached.is_dir():
        environment.setdefault("PREDICTD_RUNTIMES_DIR", str(cached))
    os.environ.update(environment)
    with (home / "server.log").open("wb") as log:
        server = subprocess.Popen([PREDICTD, "serve", "--port", "0"], stdout=log, stderr=log)
    while not (home / "server.json").exists():
        if server.poll() is not None:
            sys.exit((home / "server.log").read_text())
        time.sleep(0.1)
    return server


def predictd(*arguments: str) -> str:
    return subprocess.run([PREDICTD, *arguments], check=True, capture_output=True, text=True).stdout


def measure(home: Path, runs: int) -> tuple[list[float], list[float], float]:
    """Return the seconds of each upload to Success, of each peer run, and of a triggered run on average."""
    token = json.loads(predictd("account", "create", "bench", "--json"))
    numerapi.base_api.API_TOURNAMENT_URL = json.loads((home / "server.json").read_text())["address"]
    napi = numerapi.NumerAPI(token["public_id"], token["secret_key"], verbosity="ERROR", show_progress_bars=False)
    runtimes = json.loads(predictd("runtime", "list", "--json"))
    python = next(runtime["python"] for runtime in runtimes if runtime["default"])
    pickle = home / "trivial.pkl"
    subprocess.run([python, "-c", MAKE_PICKLE, str(pickle)], check=True)
    predictd("round", "open")
    live = napi.download_dataset("v5.3/live.parquet", str(home / "live.parquet"))

    uploads, peers = [], []
    model = 'mutation { addModel(name: "bench", tournament: 8) { id } }'
    model_id = napi.raw_query(model, authorization=True)["data"]["addModel"]["id"]
    for _ in range(UPLOADS):
        began = time.perf_counter()
        pickle_id = napi.model_upload(str(pickle), model_id=model_id)
        wait(napi, pickle_id, 1)
        uploads.append(time.perf_counter() - began)
        began = time.perf_counter()
        subprocess.run([python, "-c", PEER, str(pickle), live, str(home / "out.csv")], check=True)
        peers.append(time.perf_counter() - began)
    began = time.perf_counter()
    for _ in range(runs):
        napi.raw_query(TRIGGER, {"id": pickle_id}, authorization=True)
    wait(napi, pickle_id, 1 + runs)
    return uploads, peers, (time.perf_counter() - began) / runs


def wait(napi: numerapi.NumerAPI, pickle_id: str, runs: int) -> None:
    while True:
        answer = napi.raw_query(STATUS, {"id": pickle_id}, authorization=True)
        triggers = answer["data"]["computePickles"][0]["triggers"]
        if len(triggers) >= runs and all(run["status"] in FINAL for run in triggers):
            failed = [run for run in triggers if run["status"] != "submission_succeeded"]
            if failed:
                sys.exit(f"a run failed: {failed[0]}")
            return
        time.sleep(0.02)


def report(uploads: list[float], peers: list[float], per_run: float, runs: int) -> None:
    peer = statistics.median(peers)
    rows = [
        {"name": "upload to Success", "ours": statistics.median(uploads)},
        {"name": f"one of {runs} triggered runs", "ours": per_run},
    ]
    print(f"peer (the runtime's Python, no isolation): {peer:.2f} s, {min(peers):.2f} to {max(peers):.2f}")
    print(f"processors: {os.cpu_count()}, and as many workers")
    for row in rows:
        ratio = float(row["ours"]) / peer
        print(f"{row['name']:<28} {float(row['ours']):6.2f} s   {ratio:5.2f} times the peer")


if __name__ == "__main__":
    main()
