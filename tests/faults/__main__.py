"""`make faults`: campaigns of faults against a real server; see docs/contributors/contributing.md."""

import argparse
import secrets
import signal
import sys
import tempfile
import time
from pathlib import Path

from faults.campaign import parse_faults, run_campaign
from faults.kinds import FAULTS
from faults.plan import draw
from faults.unavailable import Unavailable

EXAMPLES = """examples:
  make faults                                                  each fault by itself, at 20 moments of 200 runs
  make faults ARGS="--fault server --moments 20 --seed 1234"   one of them, as that seed draws it
  make faults ARGS="--fault server,worker --postgresql --s3"   both in one campaign, on PostgreSQL and S3
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make faults ARGS=...",
        description="Let faults strike a running server, and look whether anything was lost, doubled or left over.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--fault", default="", help=f"names with commas between: {', '.join(FAULTS)}, none; default each"
    )
    parser.add_argument("--moments", type=int, default=20, help="how often each fault strikes (default 20)")
    parser.add_argument("--runs", type=int, default=200, help="how many runs there are at least (default 200)")
    parser.add_argument("--seed", type=int, default=None, help="what all is drawn from (default: a new one, printed)")
    parser.add_argument("--postgresql", action="store_true", help="keep the database in PostgreSQL")
    parser.add_argument("--s3", action="store_true", help="keep the files in S3")
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir()), help="where failures leave their files"
    )
    parser.add_argument("--ray", action="store_true", help="run the models on two nodes of a Ray cluster")
    options = parser.parse_args()
    # What was started is ended, whoever ends this.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    campaigns = [options.fault] if options.fault else list(FAULTS)
    return max([_campaign(one, seed, options) for one in campaigns])


def _campaign(faults: str, seed: int, options: argparse.Namespace) -> int:
    arguments = f"--fault {faults} --moments {options.moments} --runs {options.runs} --seed {seed}"
    given = {name: True for name in ("postgresql", "s3", "ray") if getattr(options, name)}
    arguments += "".join(f" --{name}" for name in given)
    print(f'make faults ARGS="{arguments}"', flush=True)
    try:
        plan = draw(seed, runs=options.runs, faults=parse_faults(faults), moments=options.moments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    began = time.monotonic()
    missing = [f"{name}: {reason}" for name in parse_faults(faults) if (reason := FAULTS[name].missing())]
    if missing:
        print(f"left out: {'; '.join(missing)}")
        return 0

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    try:
        outcome = run_campaign(plan, system=given, say=say, keep=options.keep)
    except Unavailable as reason:
        print(f"left out: {reason}")
        return 0
    print(
        f"{outcome.runs} runs in {outcome.attempts} attempts and {outcome.seconds:.0f} s, "
        f"{len(outcome.struck)} faults, {outcome.restarts} restarts of the server: {len(outcome.findings)} findings"
    )
    for finding in outcome.findings:
        print(f"  {finding}")
    if outcome.findings:
        print(f'the same again: make faults ARGS="{arguments}"')
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
