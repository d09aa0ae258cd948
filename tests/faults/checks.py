"""What must hold when a campaign is over, whatever struck: seen in database, storage and process table."""

import io
import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path

import psutil
import sqlalchemy as sa
from sqlalchemy.orm import Session

from faults.models import BAD, LINES
from faults.plan import Plan
from predictd.data import read_ids
from predictd.data.layout import round_key
from predictd.db import Database
from predictd.db.models import Diagnostics, Model, Pickle, Round, Run, RunLog, Submission, Upload
from predictd.domain.states import RUN_TRANSITIONS, RunState, RunType, ValidationStatus
from predictd.storage import Storage

# What is the platform's own: the data, that of rounds, and the specifications and locks of runtimes.
_KEPT = ("data/", "rounds/", "targets/", "meta_models/", "runtimes/", "locks/")


class Findings:
    """Reads what is left of a campaign and tells, in sentences, what should not be so."""

    def __init__(self, database: Database, storage: Storage, plan: Plan, kinds: dict[str, str]) -> None:
        """`kinds` is the kind of model in each pickle, by the id of the pickle."""
        self._database = database
        self._storage = storage
        self._plan = plan
        self._kinds = kinds

    def all(self) -> list[str]:
        with self._database.read() as session:
            return [
                *self._ends(session),
                *self._histories(session),
                *self._uploads(session),
                *self._runs(session),
                *self._submissions(session),
                *self._diagnostics(session),
                *self._logs(session),
                *self._files(session),
            ]

    def _ends(self, session: Session) -> Iterator[str]:
        """Every trigger has ended, good models well and bad ones by their own failure."""
        for run in session.scalars(sa.select(Run)):
            kind = self._kinds.get(run.pickle_id or "", "?")
            told = f"trigger {run.id} ({run.type} of {kind}) is {run.state}"
            newest = run.statuses[-1].description if run.statuses else "no history"
            if not RunState(run.state).is_final:
                yield f"{told} for ever: {newest}"
            elif run.lease_owner is not None:
                yield f"{told}, and {run.lease_owner} holds a lease of it"
            elif kind in BAD:
                if run.state != RunState.FAILED or run.failure_code != BAD[kind]:
                    yield f"{told} with {run.failure_code}, not {BAD[kind]}: {newest}"
            elif run.state != RunState.SUCCEEDED:
                yield f"{told} with {run.failure_code}: {newest}"

    def _histories(self, session: Session) -> Iterator[str]:
        """Each step follows from the one before, and each attempt began once."""
        for run in session.scalars(sa.select(Run)):
            steps = [RunState(one.status) for one in run.statuses]
            wrong = [pair for pair in itertools.pairwise(steps) if pair[1] not in RUN_TRANSITIONS[pair[0]]]
            if not steps or steps[0] is not RunState.PENDING or wrong or steps[-1] != run.state:
                yield f"trigger {run.id} is {run.state} after {' '.join(steps)}"
            if steps.count(RunState.RUNNING) != run.attempt:
                yield f"trigger {run.id} has {run.attempt} attempts after {' '.join(steps)}"
            final = [step for step in steps if step in (RunState.SUCCEEDED, RunState.FAILED)]
            if len(final) > 1:
                yield f"trigger {run.id} ended twice: {' '.join(steps)}"

    def _uploads(self, session: Session) -> Iterator[str]:
        """What was registered is one pickle, and every pickle was uploaded by somebody who knows."""
        names = Counter(session.scalars(sa.select(Pickle.filename)))
        yield from (f"{name} was registered {count} times" for name, count in names.items() if count > 1)
        registered = set(session.scalars(sa.select(Upload.filename).where(Upload.registered_at.is_not(None))))
        yield from (f"the upload {name} is used up, but is no pickle" for name in registered - set(names))
        yield from (f"the pickle {name} is of no upload" for name in set(names) - registered)
        known = set(session.scalars(sa.select(Pickle.id)))
        yield from (f"the pickle {one} is lost" for one in set(self._kinds) - known)
        yield from (f"the pickle {one} is nobody's" for one in known - set(self._kinds))

    def _runs(self, session: Session) -> Iterator[str]:
        """Each pickle is validated once, and each assigned one runs once for each further round."""
        for pickle in session.scalars(sa.select(Pickle)):
            kind = self._kinds.get(pickle.id, "?")
            wanted = ValidationStatus.INVALID if kind in BAD else ValidationStatus.VALIDATED
            if pickle.validation_status != wanted:
                yield f"the pickle {pickle.id} ({kind}) is {pickle.validation_status}"
            validations = [one for one in pickle.runs if one.type == RunType.VALIDATION]
            if len(validations) != 1:
                yield f"the pickle {pickle.id} ({kind}) has {len(validations)} validations"
        _, *others = self._rounds(session)
        if len(others) != self._plan.rounds - 1:
            yield f"{1 + len(others)} rounds were opened, not {self._plan.rounds}"
        for round_, pickle in itertools.product(others, session.scalars(sa.select(Pickle)).all()):
            runs = [one for one in pickle.runs if one.round_id == round_.id]
            if len(runs) != (self._kinds.get(pickle.id) not in BAD):
                yield f"the pickle {pickle.id} ({self._kinds.get(pickle.id)}) ran {len(runs)} times for {round_.number}"

    def _submissions(self, session: Session) -> Iterator[str]:
        """Each model with a good pickle has exactly one submission that counts, with what the model predicts."""
        answers: dict[tuple[int, str], set[str]] = defaultdict(set)
        models = session.scalars(sa.select(Model).where(Model.pickle_id.is_not(None))).all()
        expected = sum(1 + one.shared_by for one in self._plan.uploads if one.is_good)
        if len(models) != expected:
            yield f"{len(models)} models have a pickle, not {expected}"
        for round_, model in itertools.product(self._rounds(session), models):
            found = session.scalars(
                sa.select(Submission).where(Submission.model_id == model.id, Submission.round_id == round_.id)
            ).all()
            selected = [one for one in found if one.selected]
            if len(selected) != 1:
                yield f"{model.name} has {len(selected)} selected submissions for round {round_.number}"
            runs = Counter(one.run_id for one in found)
            yield from (
                f"{model.name} was submitted {count} times by {run}" for run, count in runs.items() if count > 1
            )
            if round_.number > 1 and len(found) != 1:
                yield f"{model.name} has {len(found)} submissions for round {round_.number}"
            for submission in found:
                kind = self._kinds[model.pickle_id or ""]
                answers[round_.number, kind].add(self._read(submission, round_))
        for (number, kind), contents in answers.items():
            if len(contents) != 1 or "" in contents:
                yield f"models of the kind {kind} gave {len(contents)} different answers for round {number}"

    def _read(self, submission: Submission, round_: Round) -> str:
        """The file's text; empty where it is not whole."""
        with self._storage.local_path(submission.storage_key) as path:
            text = path.read_text()
        with self._storage.local_path(round_key("v5.3", round_.number, "live.parquet")) as live:
            ids = read_ids(live)
        lines = io.StringIO(text).read().splitlines()[1:]
        return text if [line.partition(",")[0] for line in lines] == ids and submission.row_count == len(ids) else ""

    def _diagnostics(self, session: Session) -> Iterator[str]:
        counts = Counter(session.scalars(sa.select(Diagnostics.pickle_id)))
        for pickle_id, kind in self._kinds.items():
            if counts[pickle_id] != (kind not in BAD):
                yield f"the pickle {pickle_id} ({kind}) has {counts[pickle_id]} diagnostics"
        for one in session.scalars(sa.select(Diagnostics)):
            if not one.figures:
                yield f"the diagnostics {one.id} have no figures"

    def _logs(self, session: Session) -> Iterator[str]:
        """The log of the attempt that counts has each line once, and of a failure the platform's line at its end."""
        for run in session.scalars(sa.select(Run).where(Run.pickle_id.is_not(None))):
            kind = self._kinds.get(run.pickle_id or "", "?")
            lines = session.scalars(
                sa.select(RunLog.message)
                .where(RunLog.run_id == run.id, RunLog.attempt == run.attempt)
                .order_by(RunLog.sequence)
            ).all()
            if kind in BAD:
                own = [line for line in lines if line.startswith("[predictd]")]
                if len(own) != 1 or not own[0].startswith(f"[predictd] {BAD[kind]}:"):
                    yield f"the log of trigger {run.id} ({kind}) ends with {own}"
                continue
            # On validation data a model is called several times.
            wanted = LINES.get(kind, [])
            times = len(lines) // len(wanted) if wanted and run.type == RunType.DIAGNOSTICS else 1
            if list(lines) != wanted * max(times, 1):
                yield f"the log of trigger {run.id} ({kind}) has {len(lines)} lines, not {len(wanted)}"

    def _files(self, session: Session) -> Iterator[str]:
        """Every file is referred to, and is there."""
        referred = {
            key
            for column in (Pickle.storage_key, Pickle.tables_key, Submission.storage_key, Diagnostics.storage_key)
            for key in session.scalars(sa.select(column).where(column.is_not(None), column != ""))
        }
        stored = {one.key for one in self._storage.objects()}
        left = sorted(key for key in stored - referred if not key.startswith(_KEPT))
        yield from (f"the file {key} is left over" for key in left)
        yield from (f"the file {key} is gone" for key in sorted(referred - stored))

    def _rounds(self, session: Session) -> list[Round]:
        return list(session.scalars(sa.select(Round).order_by(Round.number)))


def left_behind(home: Path, pids: list[int], allowed: Collection[int]) -> list[str]:
    """What servers of these pids, none of which runs any more, left on the machine and in their data dir.

    Of this process's descendants, those `allowed` may go on.
    """
    found = [
        f"the file {path} is left over"
        for path in home.rglob("*")
        if path.is_file() and _is_temporary(path.relative_to(home))
    ]
    for process in psutil.Process().children(recursive=True):
        try:
            others = process.name() in ("postgres", "rclone") or process.pid in allowed
            if process.status() != psutil.STATUS_ZOMBIE and not others:
                found.append(f"the process {process.pid} is left over: {process.cmdline()}")
        except psutil.NoSuchProcess:
            continue
    prefixes = tuple(f"predictd-{pid}-" for pid in pids)
    for folder in Path("/sys/fs/cgroup").glob("**/predictd-*"):
        if folder.name.startswith(prefixes):
            found.append(f"the control group {folder} is left over")
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    found += [f"the mount {line} is left over" for line in mounts if f" {home}/" in line]
    return found


def _is_temporary(path: Path) -> bool:
    """Of a path below the data dir, whether it lies where things are only for a while."""
    return path.parts[0] == "tmp" or path.parts[:2] in (("storage", ".drafts"), ("storage", "incoming"))


def whole_history(session: Session) -> list[str]:
    """All histories as text, for whoever reads a failure."""
    lines = []
    for run in session.scalars(sa.select(Run).order_by(Run.inserted_at)):
        steps = " > ".join(f"{one.status} ({one.description})" for one in run.statuses)
        lines.append(f"{run.id} {run.type} attempt {run.attempt}: {steps}")
    return lines
