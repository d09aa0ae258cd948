"""What a campaign does, drawn from one seed: who uploads which models, how many rounds open, when what strikes."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from faults.models import BAD, GOOD

ACCOUNTS = ("alice", "bob", "carol")
_SHARE_OF_BAD = 0.25
# Later ones would strike when nothing runs any more.
_LAST_PROGRESS = 0.85


@dataclass(frozen=True, kw_only=True)
class Upload:
    """A pickle that an account uploads for a model of its own; `shared_by` more models get it once it is validated."""

    account: str
    model: str
    kind: str
    shared_by: int

    @property
    def is_good(self) -> bool:
        return self.kind in GOOD


@dataclass(frozen=True, kw_only=True)
class Moment:
    """When a fault strikes: at that share of all runs, and so many seconds later; `seed` decides the rest."""

    progress: float
    seconds: float
    fault: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A whole campaign; `runs` is about how many triggers there will be."""

    seed: int
    uploads: tuple[Upload, ...]
    rounds: int
    moments: tuple[Moment, ...]

    @property
    def runs(self) -> int:
        good = sum(upload.is_good for upload in self.uploads)
        return (
            len(self.uploads) + good + sum(upload.shared_by > 0 for upload in self.uploads) + good * (self.rounds - 1)
        )


def draw(seed: int, *, runs: int, faults: Sequence[str], moments: int) -> Plan:
    """The campaign of that seed: at least so many runs, and so many moments of each fault."""
    random_ = random.Random(seed)
    count = max(6, runs // 7)
    bad = set(random_.sample(range(count), round(count * _SHARE_OF_BAD)))
    uploads = [_upload(random_, number, is_bad=number in bad) for number in range(count)]
    plan = Plan(seed=seed, uploads=tuple(uploads), rounds=1, moments=())
    each_round = sum(upload.is_good for upload in uploads)
    rounds = 1 + max(1, math.ceil((runs - plan.runs) / each_round))
    struck = [
        Moment(
            progress=random_.uniform(0.0, _LAST_PROGRESS),
            seconds=random_.uniform(0.0, 0.4),
            fault=fault,
            seed=random_.getrandbits(32),
        )
        for fault in faults
        for _ in range(moments)
    ]
    struck.sort(key=lambda moment: moment.progress)
    return Plan(seed=seed, uploads=tuple(uploads), rounds=rounds, moments=tuple(struck))


def _upload(random_: random.Random, number: int, *, is_bad: bool) -> Upload:
    kind = random_.choice(sorted(BAD) if is_bad else GOOD)
    shared_by = random_.choice((0, 0, 1, 2)) if not is_bad else 0
    return Upload(account=random_.choice(ACCOUNTS), model=f"model_{number}", kind=kind, shared_by=shared_by)
