"""Whose run comes first when many wait, and what one account may have of a server."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from sqlalchemy import select

from conftest import GraphQLErrors, Server, User
from predictd.db import Database
from predictd.db.accounts import create_account, list_accounts
from predictd.db.catalog import register_data_version, register_runtime
from predictd.db.models import Model, Pickle, Round, Run, Submission
from predictd.db.types import new_id
from predictd.domain.errors import BusyError, LimitReachedError
from predictd.domain.limits import Limits
from predictd.domain.quotas import Quotas
from predictd.domain.reasons import Reason
from predictd.domain.runs import RunReport
from predictd.domain.states import RunState, RunType
from predictd.jobs.queue import Claim, advance, claim, enqueue, record_usage
from predictd.jobs.scheduling import Priority, deprioritize_late_runs
from predictd.storage import FolderStorage
from predictd.uploads.assignment import assign, queue_round_runs
from predictd.uploads.incoming import UploadKind
from predictd.uploads.quota_checks import available_upload_bytes, check_queue
from predictd.uploads.submissions import StoredPredictions
from predictd.worker.finalize import complete_run

NOW = datetime(2026, 1, 6, 13, 0, tzinfo=UTC)


@dataclass
class Platform:
    """A database with accounts, their models and an open round, without a server."""

    database: Database
    round_id: str = ""

    def add(self, username: str, *seconds: float) -> list[str]:
        """An account with a model for each forecast; answers the ids of the pickles."""
        with self.database.write() as session:
            account = create_account(session, username, NOW)
            runtime = register_runtime(
                session, name="Python", image="image", tag="tag", python="3.12", folder="folder", now=NOW
            )
            version = register_data_version(session, "v5.3", NOW)
            pickles = [
                Pickle(
                    id=new_id(),
                    account_id=account.id,
                    runtime_id=runtime.id,
                    data_version_id=version.id,
                    filename=f"{username}_{number}",
                    storage_key=f"pickle/{username}_{number}",
                    size_bytes=1,
                    validation_status="validated",
                    forecast_seconds=expected,
                    inserted_at=NOW,
                    updated_at=NOW,
                )
                for number, expected in enumerate(seconds)
            ]
            session.add_all(pickles)
            session.flush()
            for one in pickles:
                session.add(
                    Model(
                        account_id=account.id,
                        tournament=8,
                        name=one.filename,
                        name_key=one.filename,
                        pickle_id=one.id,
                        inserted_at=NOW,
                    )
                )
            return [one.id for one in pickles]

    def open_round(self, now: datetime = NOW, number: int = 1) -> int:
        with self.database.write() as session:
            ends = now + timedelta(hours=1)
            round_ = Round(
                tournament=8, number=number, open_time=now, close_time=ends, score_time=ends, resolve_time=ends
            )
            session.add(round_)
            session.flush()
            self.round_id = round_.id
            return queue_round_runs(session, round_, now)

    def queue(self, pickle_id: str, kind: RunType, now: datetime = NOW) -> None:
        with self.database.write() as session:
            round_id = self.round_id if kind is RunType.LIVE else None
            enqueue(session, session.get_one(Pickle, pickle_id), kind, round_id, now, Reason(code="round_opened"))

    def claim(self, now: datetime = NOW, **how: object) -> Claim | None:
        with self.database.write() as session:
            return claim(session, "worker", now, 30, **how)  # type: ignore[arg-type]

    def name(self, claimed: Claim | None) -> str | None:
        """The filename of the claimed pickle."""
        if claimed is None:
            return None
        with self.database.read() as session:
            return session.scalars(select(Pickle.filename).join(Run).where(Run.id == claimed.run_id)).one()

    def owner(self, claimed: Claim) -> str:
        return str(self.name(claimed)).partition("_")[0]

    def end(self, claimed: Claim) -> bool:
        with self.database.write() as session:
            return advance(session, claimed, RunState.FAILED, Reason(code="exited"), NOW)

    def next_names(self, now: datetime = NOW, **how: object) -> list[str]:
        """What is run one after the other until nothing is left."""
        names = []
        while (name := self.name(self.claim(now, **how))) is not None:
            names.append(name)
        return names


@pytest.fixture
def platform(database_url: Callable[[], str]) -> Iterator[Platform]:
    database = Database(database_url())
    database.upgrade()
    yield Platform(database)
    database.close()


def test_every_account_has_its_first_run_before_any_has_its_second_and_the_long_ones_begin(platform: Platform) -> None:
    platform.add("many", 1, 50, 3, 2)
    platform.add("two", 10, 20)
    platform.add("one", 5)
    platform.open_round()
    assert platform.next_names() == ["many_1", "two_1", "one_0", "two_0", "many_2", "many_3", "many_0"]


def test_one_that_comes_late_keeps_its_place_and_a_flood_pushes_nobody_out(platform: Platform) -> None:
    platform.add("early", *[1] * 30)
    [late] = platform.add("late", 1)
    [flood, *_] = platform.add("flood", 1)
    with platform.database.write() as session:
        session.query(Model).filter(Model.name.in_(["late_0", "flood_0"])).update({"pickle_id": None})
    assert platform.open_round() == 30
    for number in range(100):
        platform.queue(flood, RunType.LIVE, NOW + timedelta(seconds=1, milliseconds=number))
    platform.queue(late, RunType.LIVE, NOW + timedelta(seconds=2))
    order = platform.next_names(NOW + timedelta(minutes=1))
    assert order[0].startswith("early")
    assert order.index("late_0") == 2
    # Turn by turn with the flood, which therefore ends long after them.
    assert max(order.index(f"early_{number}") for number in range(30)) <= 61
    assert order[-1] == "flood_0"


def test_what_a_run_took_is_the_forecast_of_the_next(platform: Platform) -> None:
    platform.add("alice", 1, 2)
    platform.open_round()
    first = platform.claim()
    assert platform.name(first) == "alice_1"
    second = platform.claim()
    assert second is not None
    with platform.database.write() as session:
        record_usage(session, second, RunReport(stages={"import": 1.0, "predict": 8.0}))
    platform.open_round(NOW + timedelta(days=1), number=2)
    assert platform.next_names(NOW + timedelta(days=1)) == ["alice_0", "alice_1"]


def test_rounds_come_before_validations_which_have_one_turn_in_five(platform: Platform) -> None:
    platform.add("runs", 4, 3, 2, 1)
    uploads = platform.add("uploads", *[1] * 4)
    with platform.database.write() as session:
        session.query(Model).filter(Model.name.startswith("uploads")).update({"pickle_id": None})
    for pickle_id in uploads:
        platform.queue(pickle_id, RunType.VALIDATION, NOW - timedelta(minutes=1))
    platform.open_round()
    assert [platform.name(platform.claim()) for _ in range(2)] == ["runs_0", "runs_1"]
    assert platform.name(platform.claim(first=Priority.VALIDATION)) == "uploads_0"
    assert platform.next_names() == ["runs_2", "runs_3", "uploads_1", "uploads_2", "uploads_3"]


def test_a_run_that_can_not_be_in_time_any_more_lets_the_others_pass_but_is_run(platform: Platform) -> None:
    platform.add("long", 600)
    platform.add("short", 5)
    platform.open_round()
    shortly_before = NOW + timedelta(minutes=55)
    with platform.database.write() as session:
        assert deprioritize_late_runs(session, shortly_before) == 1
    assert platform.next_names(shortly_before) == ["short_0", "long_0"]


def test_an_account_at_its_limit_is_passed_over_and_never_exceeds_it(platform: Platform) -> None:
    platform.add("many", *[1] * 16)
    [few, *_] = platform.add("few", 1, 1, 1)
    platform.open_round()
    # Diagnostics, which may take an hour, keep nobody's runs from a round.
    for _ in range(3):
        platform.queue(few, RunType.DIAGNOSTICS)
    diagnoses = [platform.claim(first=Priority.DIAGNOSTICS, account_runs=2) for _ in range(2)]
    assert [one.type for one in diagnoses if one is not None] == [RunType.DIAGNOSTICS] * 2
    claims: list[Claim] = []
    while (claimed := platform.claim(account_runs=2)) is not None:
        claims.append(claimed)
    assert Counter(map(platform.owner, claims)) == {"many": 2, "few": 2}
    assert platform.end(claims.pop())
    assert platform.end(claims.pop())

    running: Counter[str] = Counter(map(platform.owner, claims))
    most: Counter[str] = Counter()
    lock = threading.Lock()

    def work() -> None:
        while (claimed := platform.claim(account_runs=2)) is not None:
            owner = platform.owner(claimed)
            with lock:
                running[owner] += 1
                most[owner] = max(most[owner], running[owner])
            time.sleep(0.02)
            with lock:
                running[owner] -= 1
            platform.end(claimed)

    for _ in range(8):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert most["many"] <= 2
    assert most["few"] <= 2
    for claimed in claims:
        platform.end(claimed)
    # The third of the diagnostics still waits.
    assert [platform.owner(one) for one in iter(lambda: platform.claim(account_runs=20), None)][-1] == "few"


def test_taking_the_next_of_ten_thousand_runs_is_quick(platform: Platform) -> None:
    for number in range(10):
        platform.add(f"account{number}", *[1] * 1000)
    began = time.monotonic()
    assert platform.open_round() == 10_000
    assert time.monotonic() - began < 20
    taken = []
    for _ in range(200):
        began = time.monotonic()
        assert platform.claim(account_runs=300) is not None
        taken.append(time.monotonic() - began)
    # Some 2 ms on a quiet machine; reading through all of them would take far longer.
    assert sorted(taken)[100] < 0.1, sorted(taken)


def test_limits_of_an_account_name_themselves_and_the_remedy(
    new_server: Callable[..., Server], pickles: dict[str, bytes]
) -> None:
    server = new_server(account_uploads_per_hour=4, account_pickles=2, account_storage_gb=0.001, workers=1)
    user = server.user("alice")
    small = pickles["one_argument"]
    send(user, small)
    with pytest.raises(GraphQLErrors, match="larger than the 99"):
        send(user, bytes(1_100_000))
    send(user, small)
    with pytest.raises(GraphQLErrors, match=r"has 2 pickles, which is the limit \(2\). Ask an admin"):
        send(user, small)
    other = 'query { submissionUploadAuth(filename: "p.csv", tournament: 8) { url } }'
    user.ask(other)
    with pytest.raises(GraphQLErrors, match=r"4 uploads in the last hour, which is the limit \(4\). Wait"):
        user.ask(other)


def test_an_account_or_a_server_with_too_many_runs_waiting_takes_no_more_of_them(
    platform: Platform, tmp_path: Path
) -> None:
    storage = FolderStorage.open(tmp_path, "http://127.0.0.1")
    platform.add("alice", *[1] * 20)
    platform.add("bob", 1)
    platform.open_round()
    with platform.database.read() as session:
        alice, bob = list_accounts(session)
        check_queue(session, storage, alice, Quotas(account_queue=21, queue=22))
        with pytest.raises(LimitReachedError, match=r"has 20 pending runs, which is the limit \(20\). Wait"):
            check_queue(session, storage, alice, Quotas(account_queue=20))
        check_queue(session, storage, bob, Quotas(account_queue=20))
        with pytest.raises(BusyError, match=r"has 21 pending runs, which is the limit \(21\)"):
            check_queue(session, storage, bob, Quotas(queue=21))


def test_a_disk_that_is_nearly_full_takes_no_uploads(platform: Platform, tmp_path: Path) -> None:
    platform.add("alice")
    storage = FolderStorage.open(tmp_path, "http://127.0.0.1")
    with platform.database.read() as session:
        [alice] = list_accounts(session)
        with pytest.raises(BusyError, match="must stay free, so it accepts no uploads now"):
            available_upload_bytes(
                session, storage, alice, UploadKind.PICKLE, Quotas(free_bytes=10**15), NOW, max_bytes=1000
            )


def send(user: User, content: bytes) -> None:
    """Upload and register; a refusal of the transfer is told as an error of it."""
    query = 'query { computePickleUploadAuth(filename: "model.pkl") { filename url } }'
    auth = user.ask(query)["computePickleUploadAuth"]
    answer = requests.put(auth["url"], data=content, timeout=60)
    if answer.status_code != 200:
        raise GraphQLErrors([{"message": answer.text}])
    user.register(auth["filename"])


@pytest.mark.parametrize("comes_first", ["assignment", "end of the run"])
def test_a_pickle_that_is_assigned_while_its_run_ends_submits_once_for_the_model(
    platform: Platform, comes_first: str
) -> None:
    [pickle_id] = platform.add("alice", 1)
    with platform.database.write() as session:
        first = session.scalars(select(Model)).one()
        second = Model(
            account_id=first.account_id, tournament=8, name="second", name_key="second", inserted_at=NOW, pickle_id=None
        )
        session.add(second)
        session.flush()
        model_ids = {first.id, second.id}
    platform.open_round()
    claimed = platform.claim()
    assert claimed is not None
    with platform.database.write() as session:
        assert advance(session, claimed, RunState.VALIDATING, Reason(code="checking_predictions"), NOW)
    predictions = StoredPredictions(key="predictions/x.csv", filename="predictions.csv", row_count=1)
    holds_lock = threading.Event()

    def assign_it() -> None:
        with platform.database.write() as session:
            pickle = session.get_one(Pickle, pickle_id)
            assign(session, session.get_one(Model, second.id), pickle, NOW)
            holds_lock.set()
            time.sleep(0.5)

    def end_it() -> None:
        with platform.database.write() as session:
            assert complete_run(session, claimed, predictions, RunReport().use(Limits()), NOW)
            holds_lock.set()
            time.sleep(0.5)

    steps = [assign_it, end_it] if comes_first == "assignment" else [end_it, assign_it]
    threads = [threading.Thread(target=step) for step in steps]
    threads[0].start()
    assert holds_lock.wait(30)
    threads[1].start()
    for thread in threads:
        thread.join()
    with platform.database.read() as session:
        submitted = {submission.model_id for submission in session.scalars(select(Submission))}
        waiting = session.scalars(select(Run.id).where(Run.state == RunState.PENDING)).all()
    # Either the run submits for both models, or another run is queued for the second.
    assert (submitted, len(waiting)) == ((model_ids, 0) if comes_first == "assignment" else ({first.id}, 1))
