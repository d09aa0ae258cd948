"""A round of a thousand models on one real server, and fifty concurrent large uploads: `make load`.

Prints models per second, the time from opening to Success, memory, and how much slower the API responds meanwhile;
writes benchmarks/last_load.json. see docs/contributors/benchmarks.md. A figure above its bound is marked; the exit
code is 1 if a run or an upload failed, or, with --strict, if a figure is above its bound.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import requests
import sqlalchemy as sa
from load_probes import Latencies, Usage, ask, measuring_latency, measuring_usage, percentile
from load_stand import Stand, start

from predictd.db.models import Round, Run, Submission
from predictd.domain.states import RunState
from ray_cluster import ray_cluster

LAST = Path(__file__).with_name("last_load.json")
API_BOUND = 5.0
IDLE_SECONDS = 10
NODES = 2
UPLOAD_AUTH = "query($f: String!) { computePickleUploadAuth(filename: $f) { filename url } }"
# Each in a separate process, so that sending does not slow the measurement down.
SEND = """
import sys, requests
class Zeros:
    def __init__(self, size): self.left = size
    def __len__(self): return self.left
    def read(self, size=-1):
        part = min(self.left, size if size > 0 else self.left)
        self.left -= part
        return bytes(part)
answer = requests.put(sys.argv[1], data=Zeros(int(sys.argv[2])), timeout=600)
sys.exit(0 if answer.status_code == 200 else f"{answer.status_code}: {answer.text}")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000, help="models in the round")
    parser.add_argument("--accounts", type=int, default=100, help="accounts that own the models")
    parser.add_argument("--data", default="tiny", choices=["tiny", "demo", "full"], help="size of the synthetic data")
    parser.add_argument("--executor", default="local", choices=["local", "ray"], help="what runs the models")
    parser.add_argument(
        "--ray-address",
        default="",
        help="a running cluster, for --executor ray; else two nodes are started here, in separate networks (root)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, as WORKERS=4")
    parser.add_argument("--uploads", type=int, default=50, help="concurrent uploads; 0 for none")
    parser.add_argument("--upload-mb", type=int, default=100, help="size of each, in MB")
    parser.add_argument("--seconds", type=float, default=1800, help="timeout of the round")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a figure is above its bound")
    arguments = parser.parse_args()
    if os.getloadavg()[0] > 0.5:
        print(f"this machine is busy (load {os.getloadavg()[0]:.1f}): times will be too long", flush=True)
    with tempfile.TemporaryDirectory(prefix="predictd-load-") as folder, ExitStack() as resources:
        if arguments.executor == "ray" and not arguments.ray_address:
            cluster = resources.enter_context(ray_cluster(Path(folder) / "cluster", nodes=NODES, places=1))
            arguments.ray_address = cluster.address
            # The cluster requires its token.
            os.environ.update(cluster.environment)
        stand = start(
            Path(folder) / "home",
            accounts=arguments.accounts,
            count=arguments.models,
            data=arguments.data,
            extra=_settings(arguments),
        )
        resources.callback(stand.stop)
        figures, is_complete = measure(stand, arguments)
    LAST.write_text(json.dumps(figures, indent=2) + "\n")
    above = [name for name in ("round_api_ratio",) if figures[name] > API_BOUND]
    print(f"all figures in {LAST.name}; above the bound: {', '.join(above) or 'none'}")
    sys.exit(1 if not is_complete or (above and arguments.strict) else 0)


def _settings(arguments: argparse.Namespace) -> dict[str, str]:
    extra = dict(setting.split("=", 1) for setting in arguments.set)
    if arguments.executor != "local":
        extra |= {"EXECUTOR": arguments.executor, "RAY_ADDRESS": arguments.ray_address, "HOST": "0.0.0.0"}
    return extra


def measure(stand: Stand, arguments: argparse.Namespace) -> tuple[dict[str, float], bool]:
    """Return all figures, and whether every run and upload succeeded."""
    with measuring_latency(stand.address, stand.tokens) as warm:
        time.sleep(2)
    warm.seconds.clear()
    with measuring_latency(stand.address, stand.tokens) as idle:
        time.sleep(IDLE_SECONDS)
    print(f"idle: the API responds in {_ms(idle)}", flush=True)
    figures = {"idle_api_p99_ms": round(idle.p(0.99) * 1e3, 2)}
    with measuring_usage(stand.process.pid) as usage, measuring_latency(stand.address, stand.tokens) as busy:
        round_id = stand.open_round()
        ends = _wait_for_round(stand, round_id, arguments.models, arguments.seconds)
    figures |= _report("round", busy, idle, usage)
    figures |= _report_round(stand, round_id, arguments.models)
    is_complete = ends == {RunState.SUCCEEDED: arguments.models}
    if not is_complete:
        print(f"the runs ended as {dict(ends)}")
    if arguments.uploads:
        with measuring_usage(stand.process.pid) as usage, measuring_latency(stand.address, stand.tokens) as busy:
            seconds, failed = _upload(stand, arguments.uploads, arguments.upload_mb)
        sent = arguments.uploads * arguments.upload_mb
        print(f"{arguments.uploads} concurrent uploads, {sent} MB: {failed} failed, {sent / seconds:.0f} MB/s")
        figures |= _report("uploads", busy, idle, usage, bound=None) | {
            "uploads_mb_per_second": round(sent / seconds, 1)
        }
        is_complete = is_complete and not failed
    return figures, is_complete


def _wait_for_round(stand: Stand, round_id: str, count: int, seconds: float) -> Counter[str]:
    deadline = time.monotonic() + seconds
    while True:
        with stand.database.read() as session:
            rows = session.execute(
                sa.select(Run.state, sa.func.count()).where(Run.round_id == round_id).group_by(Run.state)
            )
            states = Counter({RunState(row[0]): row[1] for row in rows})
        done = sum(number for state, number in states.items() if state.is_final)
        print(f"\r{done} of {count} runs have ended", end="", flush=True)
        if done >= count or time.monotonic() > deadline:
            print(flush=True)
            return states
        time.sleep(1)


def _report_round(stand: Stand, round_id: str, count: int) -> dict[str, float]:
    """Print and return the throughput and the times from opening to Success, from the database."""
    with stand.database.read() as session:
        opened = session.get_one(Round, round_id).open_time
        submitted = session.scalars(sa.select(Submission.inserted_at).where(Submission.round_id == round_id)).all()
    durations = [(at - opened).total_seconds() for at in submitted] or [float("nan")]
    rate = len(submitted) / max(durations)
    summary = ", ".join(f"p{share * 100:.0f} {percentile(durations, share):.1f} s" for share in (0.5, 0.95, 0.99))
    print(f"{len(submitted)} of {count} models submitted, {rate:.1f} a second; from the opening to Success {summary}")
    return {
        "models_per_second": round(rate, 2),
        **{f"to_success_p{share * 100:.0f}_s": round(percentile(durations, share), 2) for share in (0.5, 0.95, 0.99)},
    }


def _report(
    phase: str, busy: Latencies, idle: Latencies, usage: Usage, *, bound: float | None = API_BOUND
) -> dict[str, float]:
    ratio = busy.p(0.99) / idle.p(0.99)
    mark = "" if bound is None else "ok     " if ratio <= bound else "ABOVE  "
    limit = f" (at most {bound:g})" if bound is not None else ""
    print(f"{mark}{phase}: the API responds in {_ms(busy)}; p99 {ratio:.1f} times the idle p99{limit}")
    print(
        f"{phase}: the server uses {usage.server_mb:.0f} MB, with its runs and warm parents {usage.all_mb:.0f} MB "
        f"(PSS), {usage.files} files, {usage.threads} threads",
        flush=True,
    )
    return {
        f"{phase}_api_p99_ms": round(busy.p(0.99) * 1e3, 2),
        f"{phase}_api_ratio": round(ratio, 2),
        f"{phase}_server_mb": round(usage.server_mb),
        f"{phase}_all_mb": round(usage.all_mb),
        f"{phase}_files": usage.files,
        f"{phase}_threads": usage.threads,
    }


def _ms(answers: Latencies) -> str:
    return ", ".join(f"p{share * 100:.0f} {answers.p(share) * 1e3:.1f} ms" for share in (0.5, 0.95, 0.99))


def _upload(stand: Stand, count: int, megabytes: int) -> tuple[float, int]:
    """Return the seconds of that many concurrent uploads, and how many failed."""
    with requests.Session() as session:
        urls = [
            ask(session, stand.address, stand.tokens[number % len(stand.tokens)], UPLOAD_AUTH, f="model.pkl")
            for number in range(count)
        ]

    def send(auth: dict[str, dict[str, str]]) -> int:
        url = auth["computePickleUploadAuth"]["url"]
        return subprocess.run([sys.executable, "-c", SEND, url, str(megabytes * 10**6)], check=False).returncode

    began = time.monotonic()
    with ThreadPoolExecutor(count) as pool:
        failed = sum(code != 0 for code in pool.map(send, urls))
    return time.monotonic() - began, failed


if __name__ == "__main__":
    main()
