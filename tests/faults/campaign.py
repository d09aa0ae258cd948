"""A campaign: accounts upload and rounds open while faults strike; at its end all must be as if none had."""

import contextlib
import ctypes
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import sqlalchemy as sa

from conftest import RUNTIMES
from faults.checks import Findings, left_behind, whole_history
from faults.kinds import FAULTS
from faults.plan import ACCOUNTS, Moment, Plan, Upload
from faults.system import PatientUser, System
from predictd.db import Database
from predictd.db.models import Round, Run
from predictd.domain.states import RunState, RunType
from predictd.server.deployment import open_deployment
from predictd.settings import Settings

_FINAL = [state for state in RunState if state.is_final]
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_SECONDS = 0.1
# Without progress for so long while nothing strikes, something is stuck.
_STUCK_SECONDS = 90
_CLEAN_SECONDS = 30


@dataclass(kw_only=True)
class Outcome:
    """What came of a campaign: how long it took, what struck, and what should not be so."""

    plan: Plan
    seconds: float = 0.0
    struck: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    runs: int = 0
    attempts: int = 0
    restarts: int = 0


class Stuck(Exception):
    """Nothing goes on any more."""


class Campaign:
    """Runs a plan on a system of its own in `folder`; `say` is told what goes on."""

    def __init__(self, plan: Plan, folder: Path, *, system: Mapping[str, bool], say: Callable[[str], None]) -> None:
        self._plan = plan
        self._folder = folder
        self._say = say
        self._outcome = Outcome(plan=plan)
        self._kinds: dict[str, str] = {}
        self._done = threading.Event()
        self._is_struck = threading.Event()
        self._known_ended = 0
        self._broken: list[BaseException] = []
        wanted = {need: True for moment in plan.moments for need in FAULTS[moment.fault].needs} | dict(system)
        self._system = System(folder, **wanted)
        self._database = Database(self._system.database_url)

    def run(self) -> Outcome:
        """All of it; whatever is wrong is among the findings."""
        began = time.monotonic()
        with _adopting(), contextlib.ExitStack() as stack:
            stack.callback(self._system.close)
            stack.callback(self._database.close)
            try:
                self._run()
            except (AssertionError, Stuck) as error:
                self._outcome.findings.append(f"{type(error).__name__}: {error}")
                self._done.set()
        self._outcome.restarts = self._system.restarts
        self._outcome.seconds = time.monotonic() - began
        return self._outcome

    def _run(self) -> None:
        pickles = self._make_pickles()
        self._system.start()
        users = {name: self._system.user(name) for name in ACCOUNTS}
        striking = threading.Thread(target=self._guarded, args=(self._strike,), name="striking")
        striking.start()
        try:
            self._open_round(1)
            uploading = [
                threading.Thread(target=self._guarded, args=(self._upload, users[name], pickles), name=name)
                for name in ACCOUNTS
            ]
            for thread in uploading:
                thread.start()
            for thread in uploading:
                thread.join()
            self._check_threads()
            for number in range(2, self._plan.rounds + 1):
                self._wait(RunType.VALIDATION, RunType.LIVE)
                self._open_round(number)
            self._wait()
            striking.join()
            self._check_threads()
            self._wait()
        finally:
            self._done.set()
            striking.join()
        self._look_back()

    def _guarded(self, do: Callable[..., None], *arguments: object) -> None:
        try:
            do(*arguments)
        except BaseException as error:  # noqa: BLE001 (told by whoever waits for the thread)
            self._broken.append(error)

    def _check_threads(self) -> None:
        for error in self._broken:
            raise AssertionError(f"{type(error).__name__}: {error}") from error

    def _make_pickles(self) -> dict[str, bytes]:
        folder = self._folder / "pickles"
        folder.mkdir()
        python = next(RUNTIMES.glob("numerai_predict_py_3_12-*/bin/python"))
        subprocess.run([python, Path(__file__).with_name("models.py"), folder], check=True)
        return {path.stem: path.read_bytes() for path in folder.glob("*.pkl")}

    def _upload(self, user: PatientUser, pickles: dict[str, bytes]) -> None:
        """All uploads of one account; what is shared is assigned to more models once it is validated."""
        mine = [upload for upload in self._plan.uploads if upload.account == user.username]
        shared: list[tuple[Upload, str]] = []
        for upload in mine:
            pickle_id = user.deliver(pickles[upload.kind], user.make_model(upload.model))
            self._kinds[pickle_id] = upload.kind
            if upload.shared_by:
                shared.append((upload, pickle_id))
        for upload, pickle_id in shared:
            self._wait_for(lambda one=pickle_id: user.pickle(one)["validationStatus"] == "validated", "a validation")
            for number in range(upload.shared_by):
                model_id = user.make_model(f"{upload.model}_{number}")
                query = "mutation($m: ID, $p: ID) { assignPickleToModel(modelId: $m, pickleId: $p) }"
                user.ask(query, m=model_id, p=pickle_id)

    def _open_round(self, number: int) -> None:
        def open_it() -> bool:
            newest = self._newest_round()
            # While the database is away, nobody knows whether the last try has opened it.
            if newest is None:
                return False
            if newest < number:
                with contextlib.suppress(subprocess.SubprocessError):
                    self._system.predictd("round", "open", "--length", "100h")
            return self._newest_round() == number

        self._wait_for(open_it, f"round {number}")
        self._say(f"round {number} of {self._plan.rounds} is open")

    def _newest_round(self) -> int | None:
        return self._read(sa.select(sa.func.coalesce(sa.func.max(Round.number), 0)))

    def _read(self, query: sa.Select[tuple[int]]) -> int | None:
        """The one value, None also while the database is away."""
        try:
            with self._database.read() as session:
                return session.scalar(query)
        except sa.exc.SQLAlchemyError:
            return None

    def _ended(self) -> int:
        """How many triggers have; while the database is away, how many had."""
        ended = self._read(sa.select(sa.func.count()).where(Run.state.in_(_FINAL)))
        self._known_ended = ended if ended is not None else self._known_ended
        return self._known_ended

    def _wait(self, *kinds: RunType) -> None:
        """Until every trigger has ended, or every one of these kinds."""
        unended = sa.select(sa.func.count()).where(Run.state.not_in(_FINAL), Run.type.in_(kinds or RunType))
        self._wait_for(lambda: self._read(unended) == 0, "the runs")

    def _wait_for(self, is_so: Callable[[], bool], what: str) -> None:
        ended, since = -1, time.monotonic()
        while not is_so():
            self._check_threads()
            now_ended = self._ended()
            if now_ended != ended or self._is_struck.is_set():
                ended, since = now_ended, time.monotonic()
            if time.monotonic() - since > _STUCK_SECONDS:
                raise Stuck(f"waited for {what}; {ended} runs have ended")
            time.sleep(_LOOK_SECONDS)

    def _strike(self) -> None:
        for moment in self._plan.moments:
            while self._ended() < moment.progress * self._plan.runs and not self._done.is_set():
                time.sleep(0.02)
            if self._done.wait(moment.seconds):
                return
            self._strike_once(moment)

    def _strike_once(self, moment: Moment) -> None:
        fault, random_ = FAULTS[moment.fault], random.Random(moment.seed)
        self._is_struck.set()
        try:
            did = fault.strike(self._system, random_)
            held = random_.uniform(*fault.holds)
            told = f"at {self._ended()} of {self._plan.runs} runs: {did or 'nothing to strike'}"
            if fault.holds[1]:
                told += f", for {held:.1f} s"
            self._outcome.struck.append(told)
            self._say(told)
            time.sleep(held)
            fault.heal(self._system)
            self._system.wait_until_ready()
        finally:
            self._is_struck.clear()

    def _look_back(self) -> None:
        """What is left, first of processes, then, after the sweep of a day later, of files."""
        system, outcome = self._system, self._outcome
        if system.clock is not None:
            system.clock.set(0.0)
        code = system.stop()
        if code != 0:
            outcome.findings.append(f"the server ended with {code} when it was stopped")
        outcome.findings += [one for one in self._left_behind() if "the file" not in one]
        system.resume(abandoned_hours=1e-6)
        findings = self._findings()
        deadline = time.monotonic() + _CLEAN_SECONDS
        while any("left over" in one for one in findings) and time.monotonic() < deadline:
            time.sleep(0.5)
            findings = self._findings()
        outcome.findings += findings
        system.stop()
        outcome.findings += self._left_behind()
        outcome.runs = self._ended()
        outcome.attempts = self._read(sa.select(sa.func.sum(Run.attempt))) or 0
        with self._database.read() as session:
            (self._folder / "history.txt").write_text("\n".join(whole_history(session)))

    def _left_behind(self) -> list[str]:
        system = self._system
        machines = [system.ray.head, *system.ray.nodes] if system.ray is not None else []
        allowed = {one.process.pid for one in machines if one.process is not None}
        allowed |= {process.pid for one in machines for process in one.processes()}
        return left_behind(system.home, system.pids, allowed)

    def _findings(self) -> list[str]:
        system = self._system
        settings = Settings(
            data_dir=system.home, database_url=system.database_url, storage_url=system.storage_url, auto_upgrade=False
        )
        deployment = open_deployment(settings)
        try:
            return Findings(deployment.database, deployment.storage, self._plan, self._kinds).all()
        finally:
            deployment.database.close()


@contextmanager
def _adopting() -> Iterator[None]:
    """Orphans of the server become children of this process, where they are seen."""
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def run_campaign(
    plan: Plan,
    *,
    system: Mapping[str, bool] = MappingProxyType({}),
    say: Callable[[str], None] = lambda _: None,
    keep: Path | None = None,
) -> Outcome:
    """Run the plan in a new folder, which is removed unless something is wrong; `keep` is where it lies then.

    `system` is what it stands on besides what the faults need, as keyword arguments of System.
    """
    folder = Path(tempfile.mkdtemp(prefix="predictd-faults-", dir=keep))
    outcome = Campaign(plan, folder, system=system, say=say).run()
    if outcome.findings and keep is not None:
        outcome.findings.append(f"the server's log and its data are in {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def parse_faults(text: str) -> Sequence[str]:
    """Names with commas between; `all` and `none` are names too."""
    if text == "none":
        return ()
    names = list(FAULTS) if text == "all" else text.split(",")
    unknown = set(names) - set(FAULTS)
    if unknown:
        raise ValueError(f"unknown fault {', '.join(sorted(unknown))}; known are {', '.join(FAULTS)}")
    return names
