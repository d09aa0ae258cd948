"""A round of a thousand models on one real server, and fifty large uploads at once: `make load`.

Prints models per second, the time from the opening to Success, memory, and how much slower the API answers meanwhile;
writes benchmarks/last_load.json. docs/benchmarks.md says what each figure means. A figure beyond its bound is marked;
the exit code is 1 where a run or an upload failed, or, with --strict, where one is beyond.
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
from load_probes import Answers, Held, answering, ask, holding, percentile
from load_stand import Stand, start

from predictd.db.models import Round, Submission, Trigger
from predictd.domain.states import TriggerState
from ray_cluster import ray_cluster

LAST = Path(__file__).with_name("last_load.json")
API_BOUND = 5.0
IDLE_SECONDS = 10
NODES = 2
UPLOAD_AUTH = "query($f: String!) { computePickleUploadAuth(filename: $f) { filename url } }"
# In a process of its own each, so that the sending does not slow the measuring down.
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
    parser.add_argument("--accounts", type=int, default=100, help="whose they are")
    parser.add_argument("--data", default="tiny", choices=["tiny", "demo", "full"], help="size of the synthetic data")
    parser.add_argument("--executor", default="local", choices=["local", "ray"], help="what runs the models")
    parser.add_argument(
        "--ray-address",
        default="",
        help="a running cluster, for --executor ray; else two nodes are started here, in networks of their own (root)",
    )
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, as WORKERS=4")
    parser.add_argument("--uploads", type=int, default=50, help="uploads at once; 0 leaves them out")
    parser.add_argument("--upload-mb", type=int, default=100, help="size of each, in MB")
    parser.add_argument("--seconds", type=float, default=1800, help="the longest that the round may take")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a figure is beyond its bound")
    arguments = parser.parse_args()
    if os.getloadavg()[0] > 0.5:
        print(f"others keep this machine busy (load {os.getloadavg()[0]:.1f}): seconds will be too long", flush=True)
    with tempfile.TemporaryDirectory(prefix="predictd-load-") as folder, ExitStack() as around:
        if arguments.executor == "ray" and not arguments.ray_address:
            cluster = around.enter_context(ray_cluster(Path(folder) / "cluster", nodes=NODES, places=1))
            arguments.ray_address = cluster.address
            # It takes nobody without its token.
            os.environ.update(cluster.environment)
        stand = start(
            Path(folder) / "home",
            accounts=arguments.accounts,
            count=arguments.models,
            data=arguments.data,
            extra=_settings(arguments),
        )
        around.callback(stand.stop)
        figures, whole = measure(stand, arguments)
    LAST.write_text(json.dumps(figures, indent=2) + "\n")
    beyond = [name for name in ("round_api_ratio",) if figures[name] > API_BOUND]
    print(f"all figures in {LAST.name}; beyond the bound: {', '.join(beyond) or 'none'}")
    sys.exit(1 if not whole or (beyond and arguments.strict) else 0)


def _settings(arguments: argparse.Namespace) -> dict[str, str]:
    extra = dict(one.split("=", 1) for one in arguments.set)
    if arguments.executor != "local":
        extra |= {"EXECUTOR": arguments.executor, "RAY_ADDRESS": arguments.ray_address, "HOST": "0.0.0.0"}
    return extra


def measure(stand: Stand, arguments: argparse.Namespace) -> tuple[dict[str, float], bool]:
    """All figures, and whether every run and upload succeeded."""
    with answering(stand.address, stand.tokens) as warm:
        time.sleep(2)
    warm.seconds.clear()
    with answering(stand.address, stand.tokens) as idle:
        time.sleep(IDLE_SECONDS)
    print(f"idle: the API answers in {_ms(idle)}", flush=True)
    figures = {"idle_api_p99_ms": round(idle.p(0.99) * 1e3, 2)}
    with holding(stand.process.pid) as held, answering(stand.address, stand.tokens) as busy:
        round_id = stand.open_round()
        ends = _wait_for_round(stand, round_id, arguments.models, arguments.seconds)
    figures |= _tell("round", busy, idle, held)
    figures |= _tell_round(stand, round_id, arguments.models)
    whole = ends == {TriggerState.SUCCEEDED: arguments.models}
    if not whole:
        print(f"the runs ended as {dict(ends)}")
    if arguments.uploads:
        with holding(stand.process.pid) as held, answering(stand.address, stand.tokens) as busy:
            seconds, failed = _upload(stand, arguments.uploads, arguments.upload_mb)
        sent = arguments.uploads * arguments.upload_mb
        print(f"{arguments.uploads} uploads at once, {sent} MB: {failed} failed, {sent / seconds:.0f} MB/s")
        figures |= _tell("uploads", busy, idle, held, bound=None) | {"uploads_mb_per_second": round(sent / seconds, 1)}
        whole = whole and not failed
    return figures, whole


def _wait_for_round(stand: Stand, round_id: str, count: int, seconds: float) -> Counter[str]:
    deadline = time.monotonic() + seconds
    while True:
        with stand.database.read() as session:
            found = session.execute(
                sa.select(Trigger.state, sa.func.count()).where(Trigger.round_id == round_id).group_by(Trigger.state)
            )
            states = Counter({TriggerState(row[0]): row[1] for row in found})
        done = sum(number for state, number in states.items() if state.is_final)
        print(f"\r{done} of {count} runs have ended", end="", flush=True)
        if done >= count or time.monotonic() > deadline:
            print(flush=True)
            return states
        time.sleep(1)


def _tell_round(stand: Stand, round_id: str, count: int) -> dict[str, float]:
    """Throughput and the times from the opening to Success, as the database has them."""
    with stand.database.read() as session:
        opened = session.get_one(Round, round_id).open_time
        submitted = session.scalars(sa.select(Submission.inserted_at).where(Submission.round_id == round_id)).all()
    taken = [(at - opened).total_seconds() for at in submitted] or [float("nan")]
    rate = len(submitted) / max(taken)
    shown = ", ".join(f"p{share * 100:.0f} {percentile(taken, share):.1f} s" for share in (0.5, 0.95, 0.99))
    print(f"{len(submitted)} of {count} models submitted, {rate:.1f} a second; from the opening to Success {shown}")
    return {
        "models_per_second": round(rate, 2),
        **{f"to_success_p{share * 100:.0f}_s": round(percentile(taken, share), 2) for share in (0.5, 0.95, 0.99)},
    }


def _tell(what: str, busy: Answers, idle: Answers, held: Held, *, bound: float | None = API_BOUND) -> dict[str, float]:
    ratio = busy.p(0.99) / idle.p(0.99)
    mark = "" if bound is None else "ok     " if ratio <= bound else "BEYOND "
    most = f" (at most {bound:g})" if bound is not None else ""
    print(f"{mark}{what}: the API answers in {_ms(busy)}; p99 {ratio:.1f} times the idle one{most}")
    print(
        f"{what}: the server holds {held.server_mb:.0f} MB, with its runs and warm parents {held.all_mb:.0f} MB (PSS), "
        f"{held.files} files, {held.threads} threads",
        flush=True,
    )
    return {
        f"{what}_api_p99_ms": round(busy.p(0.99) * 1e3, 2),
        f"{what}_api_ratio": round(ratio, 2),
        f"{what}_server_mb": round(held.server_mb),
        f"{what}_all_mb": round(held.all_mb),
        f"{what}_files": held.files,
        f"{what}_threads": held.threads,
    }


def _ms(answers: Answers) -> str:
    return ", ".join(f"p{share * 100:.0f} {answers.p(share) * 1e3:.1f} ms" for share in (0.5, 0.95, 0.99))


def _upload(stand: Stand, count: int, megabytes: int) -> tuple[float, int]:
    """Seconds that so many uploads at once took together, and how many failed."""
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
