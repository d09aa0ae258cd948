"""The queue of messages: which go as one e-mail, who may send them, when they are tried again and given up."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage

import pytest
from sqlalchemy import select

from conftest import ROOT
from predictd.db import Database
from predictd.db.accounts import create_account
from predictd.db.catalog import register_data_version, register_runtime
from predictd.db.models import Account, Pickle, Round, Run
from predictd.db.notification_tables import Delivery, Notification
from predictd.domain.errors import SetupError
from predictd.domain.notification_types import Channel, DeliveryState, Event
from predictd.domain.reasons import Reason
from predictd.domain.states import RunState, RunType
from predictd.jobs.queue import claim as claim_run
from predictd.jobs.queue import enqueue, retry
from predictd.notifications.deliveries import (
    DeliveryPolicy,
    claim,
    delete_old,
    mark_delivered,
    next_due,
    postpone,
    release_claims,
    retry_later,
)
from predictd.notifications.email_batching import ClaimedEmail, claim_email
from predictd.notifications.email_content import build_event_email, render_email
from predictd.notifications.endpoints import add_endpoint
from predictd.notifications.fanout import fan_out
from predictd.notifications.http_post import post
from predictd.notifications.outbox import notify_round, notify_run
from predictd.notifications.payload import body_of, sign, signed_headers
from predictd.notifications.smtp import Encryption, MailError, parse_mail_server
from receiving import wait_until

NOW = datetime(2026, 1, 6, 13, 0, tzinfo=UTC)
NO_DISK = Reason(code="platform", facts={"detail": "no disk"})
POLICY = DeliveryPolicy(batch_seconds=120, emails_per_hour=3, retry_seconds=10, give_up_seconds=24 * 3600)
HERE = "https://predictd.test"


def later(**time: float) -> datetime:
    return NOW + timedelta(**time)


@pytest.fixture
def database(database_url: Callable[[], str]) -> Iterator[Database]:
    database = Database(database_url())
    database.upgrade()
    yield database
    database.close()


class Scene:
    """An account whose address is confirmed, with runs for an open round."""

    def __init__(self, database: Database, runs: int) -> None:
        self.database = database
        with database.write() as session:
            account = create_account(session, "alice", NOW, "alice@mail.test")
            account.email_confirmed_at = NOW
            self.account = account
            runtime = register_runtime(session, name="P", image="i", tag="t", python="3.12", folder="f", now=NOW)
            version = register_data_version(session, "v5.3", NOW)
            times = dict.fromkeys(("open_time", "close_time", "score_time", "resolve_time"), NOW)
            self.round = Round(tournament=8, number=7, scheduled_at=None, **times)
            session.add(self.round)
            session.flush()
            self.runs = [self._run(session, runtime.id, version.id, number) for number in range(runs)]

    def _run(self, session: object, runtime_id: str, version_id: str, number: int) -> Run:
        pickle = Pickle(
            account_id=self.account.id,
            runtime_id=runtime_id,
            data_version_id=version_id,
            filename=f"model-{number}.pkl",
            storage_key=f"pickle/{number}",
            size_bytes=1,
            validation_status="validated",
            inserted_at=NOW,
            updated_at=NOW,
        )
        session.add(pickle)  # type: ignore[attr-defined]
        session.flush()  # type: ignore[attr-defined]
        return enqueue(session, pickle, RunType.LIVE, self.round.id, NOW, Reason(code="round_opened"))  # type: ignore[arg-type]

    def end(self, runs: list[Run], event: Event, now: datetime) -> None:
        """End runs, and make the messages about it."""
        state = RunState.FAILED if event is Event.RUN_FAILED else RunState.SUCCEEDED
        with self.database.write() as session:
            for run in runs:
                ended = session.get_one(Run, run.id)
                ended.state = state
                notify_run(session, ended, event, now)
        self.fan_out(now)

    def fan_out(self, now: datetime) -> int:
        with self.database.write() as session:
            return fan_out(session, now, address=HERE, sends_mail=True, batch_seconds=POLICY.batch_seconds)

    def claim_email(self, now: datetime, claimed_by: str = "server/one") -> ClaimedEmail | None:
        with self.database.write() as session:
            return claim_email(session, claimed_by, now, 300, policy=POLICY, address=HERE)

    def send(self, now: datetime) -> ClaimedEmail | None:
        """What the courier does with a mail server that takes everything."""
        mail = self.claim_email(now)
        if mail is not None:
            with self.database.write() as session:
                assert mark_delivered(session, "server/one", "Taken", now)
        return mail

    def states(self) -> list[str]:
        with self.database.read() as session:
            return list(session.scalars(select(Delivery.state).order_by(Delivery.inserted_at, Delivery.id)))


def test_fifty_models_of_an_account_are_one_mail_a_round(database: Database) -> None:
    scene = Scene(database, 50)
    for number, run in enumerate(scene.runs[:48]):
        scene.end([run], Event.RUN_SUCCEEDED, later(minutes=number / 2))
    # Two of its runs are on their way still, so the others wait; a failure does not.
    assert scene.send(later(minutes=25)) is None
    scene.end(scene.runs[48:49], Event.RUN_FAILED, later(minutes=25))
    failed = scene.send(later(minutes=27, seconds=1))
    assert failed is not None
    assert (failed.to, failed.content.subject) == ("alice@mail.test", "model-48.pkl failed in round 7")
    scene.end(scene.runs[49:], Event.RUN_SUCCEEDED, later(minutes=30))
    mail = scene.send(later(minutes=33))
    assert mail is not None
    assert mail.content.subject == "Round 7: 49 runs succeeded"
    assert len(mail.content.items) == 49
    assert scene.send(later(minutes=40)) is None
    assert set(scene.states()) == {"delivered"}


def test_that_the_platform_gave_up_is_told_too_and_as_no_fault_of_the_model(database: Database) -> None:
    scene = Scene(database, 1)
    with database.write() as session:
        claimed = claim_run(session, "worker", NOW, 30)
        assert claimed is not None
        retry(session, claimed, NO_DISK, NOW, wait_seconds=0, max_attempts=2)
    assert scene.fan_out(NOW) == 0
    with database.write() as session:
        claimed = claim_run(session, "worker", NOW, 30)
        assert claimed is not None
        retry(session, claimed, NO_DISK, NOW, wait_seconds=0, max_attempts=2)
    assert scene.fan_out(NOW) == 1
    mail = scene.send(later(minutes=3))
    assert mail is not None
    assert mail.content.subject == "model-0.pkl failed in round 7 because of the platform"
    assert mail.content.items[0].lines == ("The platform failed: no disk.",)


def test_a_run_that_never_ends_keeps_the_others_back_for_an_hour_at_most(database: Database) -> None:
    scene = Scene(database, 2)
    scene.end(scene.runs[:1], Event.RUN_SUCCEEDED, NOW)
    assert scene.send(later(minutes=58)) is None
    assert scene.send(later(minutes=61)) is not None


def test_an_account_gets_so_many_mails_an_hour_and_the_rest_as_one(database: Database) -> None:
    scene = Scene(database, 8)
    sent = []
    for number, run in enumerate(scene.runs):
        scene.end([run], Event.RUN_FAILED, later(minutes=5 * number))
        sent.append(scene.send(later(minutes=5 * number + 3)))
    assert [mail is not None for mail in sent] == [True] * 3 + [False] * 5
    assert scene.send(later(minutes=62)) is None
    rest = scene.send(later(minutes=64))
    assert rest is not None
    assert rest.content.subject == "Round 7: 5 runs failed"


def test_a_mail_is_tried_again_as_it_was_and_given_up_after_a_day(database: Database) -> None:
    scene = Scene(database, 2)
    scene.end(scene.runs[:1], Event.RUN_FAILED, NOW)
    first = scene.claim_email(later(minutes=3))
    assert first is not None
    scene.end(scene.runs[1:], Event.RUN_FAILED, later(minutes=3))
    with database.write() as session:
        retry_later(session, "server/one", "down", later(minutes=4), wait_seconds=60, give_up_seconds=24 * 3600)
        postpone(session, Delivery.channel == Channel.EMAIL, later(minutes=4.5))
    assert scene.claim_email(later(minutes=4.2)) is None
    again = scene.claim_email(later(minutes=5, seconds=1))
    assert again is not None
    # The second failure is due by now too, but the mail with this id has one thing to say.
    assert (again.id, again.attempt, again.content.subject) == (first.id, 2, first.content.subject)
    with database.write() as session:
        retry_later(session, "server/one", "down", later(hours=23.9), wait_seconds=3600, give_up_seconds=24 * 3600)
    other = scene.send(later(hours=24))
    assert other is not None
    assert other.id != first.id
    with database.read() as session:
        [given_up] = session.scalars(select(Delivery).where(Delivery.state == DeliveryState.FAILED))
        assert given_up.result == "Given up after 24 hours. down"


def test_what_was_turned_off_while_it_waited_is_not_sent(database: Database) -> None:
    scene = Scene(database, 1)
    scene.end(scene.runs, Event.RUN_FAILED, NOW)
    with database.write() as session:
        session.get_one(Account, scene.account.id).email = "other@mail.test"
    assert scene.send(later(minutes=3)) is None
    assert scene.states() == ["failed"]


def test_a_round_is_told_to_whoever_wants_it_in_one_go_and_forgotten_where_nobody_does(database: Database) -> None:
    scene = Scene(database, 1)
    with database.write() as session:
        for number in range(300):
            account = create_account(session, f"user_{number}", NOW, f"user_{number}@mail.test")
            account.email_confirmed_at = NOW if number % 2 else None
            account.email_preferences = {"roundOpen": number % 3 != 0}
            if number < 4:
                add_endpoint(session, account, "https://me.test/hook", [Event.ROUND_OPEN], NOW)
        notify_round(session, scene.round, NOW)
    assert scene.fan_out(NOW) == 1
    with database.read() as session:
        channels = session.scalars(select(Delivery.channel)).all()
    assert channels.count("webhook") == 4
    assert channels.count("email") == 100 + 1
    with database.write() as session:
        delete_old(session, later(days=31))
        session.get_one(Account, scene.account.id).email_confirmed_at = None
        notify_run(session, session.get_one(Run, scene.runs[0].id), Event.RUN_FAILED, NOW)
    scene.fan_out(NOW)
    with database.read() as session:
        assert [one.event for one in session.scalars(select(Notification))] == ["round_open"]


def test_of_many_senders_each_message_is_had_by_one_until_its_lease_is_over(database: Database) -> None:
    scene = Scene(database, 40)
    with database.write() as session:
        add_endpoint(session, session.get_one(Account, scene.account.id), "https://me.test", [Event.RUN_FAILED], NOW)
    scene.end(scene.runs, Event.RUN_FAILED, NOW)
    had: list[str] = []

    def work(name: str) -> None:
        while True:
            with database.write() as session:
                message = next_due(session, Channel.WEBHOOK, NOW, lock=True)
                if message is None:
                    return
                claim(session, [message], f"{name}/{message.id}", NOW, 60)
                had.append(message.id)

    threads = [threading.Thread(target=work, args=(f"server-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # On PostgreSQL one may find all that is due locked by others, and end before it is.
    work("last")
    assert len(had) == len(set(had)) == 40
    with database.write() as session:
        message = next_due(session, Channel.WEBHOOK, later(seconds=61), lock=True)
        assert message is not None
        lost = message.claimed_by or ""
        claim(session, [message], "other/claim", later(seconds=61), 60)
    with database.write() as session:
        assert not mark_delivered(session, lost, "HTTP 200", later(seconds=62))
        assert mark_delivered(session, "other/claim", "HTTP 200", later(seconds=62))
        left = sum(one.startswith("server-1/") for one in claims(session))
        assert release_claims(session, "server-1", NOW) == left


def claims(session: object) -> list[str]:
    found = select(Delivery.claimed_by).where(Delivery.claimed_by.is_not(None))
    return list(session.scalars(found))  # type: ignore[attr-defined]


def test_waits_grow_differ_and_end() -> None:
    assert [POLICY.wait(failures, 0.5) for failures in (1, 2, 3, 4)] == [10, 30, 90, 270]
    assert (POLICY.wait(1, 0), round(POLICY.wait(1, 1), 6)) == (8, 12)
    assert POLICY.wait(1000, 0.5) == 4 * 3600


def test_a_signature_is_that_of_standard_webhooks() -> None:
    body = b'{"event_type":"ping","data":{"success":true}}'
    signed = sign("whsec_plJ3nmyCDGBKInavdOK15jsl", "msg_loFOjxBNrRLzqYUf", "1731705121", body)
    assert signed == "rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


def test_the_receiver_of_the_documentation_takes_what_is_signed_and_nothing_else() -> None:
    page = (ROOT / "docs" / "users" / "notifications.md").read_text()
    [source] = re.findall(r"(    import base64.*?serve_forever\(\)\n)", page, re.DOTALL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = textwrap.dedent(source).replace("9000", str(port))
    [secret] = re.findall(r'b64decode\("(\S+?)"', program)
    running = subprocess.Popen([sys.executable, "-u", "-c", program], stdout=subprocess.PIPE, text=True)
    url, body = f"http://127.0.0.1:{port}/", body_of(Event.TEST, {"account": "alice"}, NOW)
    good = signed_headers(f"whsec_{secret}", "msg_1", body, datetime.now(UTC))
    try:
        wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        assert post(url, body, good, allow_private=True) == 204
        assert running.stdout is not None
        assert json.loads(running.stdout.readline())["type"] == "test"
        assert post(url, body + b" ", good, allow_private=True) == 401
        old = signed_headers(secret, "msg_1", body, datetime.now(UTC) - timedelta(hours=1))
        assert post(url, body, old, allow_private=True) == 401
    finally:
        running.kill()
        running.wait()


def test_what_a_stranger_wrote_makes_no_header_and_no_markup() -> None:
    name = "evil\r\nBcc: all@mail.test\x1b[31m<script>"
    facts = {
        "run": {"type": "live", "status": "model_failed", "reason": f"{name}\n.\n", "remedy": None, "url": HERE},
        "models": [{"id": "1", "name": name}],
        "round": {"number": 7},
    }
    letter = build_event_email([(Event.RUN_FAILED, facts)], HERE, f"{HERE}/unsubscribe/x")
    mail = render_email(letter, sender="predictd@host.test", to="alice@mail.test", message_id="1@host.test", now=NOW)
    assert mail["Bcc"] is None
    assert "\n" not in mail["Subject"]
    html = mail.get_body(("html",))
    assert html is not None
    assert "<script>" not in html.get_content()
    assert "\x1b" not in mail.as_string()


def test_the_mail_server_is_read_from_its_url() -> None:
    assert parse_mail_server("", "") is None
    found = parse_mail_server("smtp://me%40host.org:p%3Aw@mail.host.org?starttls", "predictd <noreply@host.org>")
    assert found is not None
    assert (found.host, found.port, found.encryption) == ("mail.host.org", 587, Encryption.STARTTLS)
    assert (found.user, found.password, found.domain) == ("me@host.org", "p:w", "host.org")
    assert "p:w" not in repr(found)
    for url in ("mail.host.org", "http://mail.host.org", "smtp://u:secret@h:99999", "smtp://u:secret@h?tls=maybe"):
        with pytest.raises(SetupError) as refused:
            parse_mail_server(url, "noreply@host.org")
        assert "secret" not in refused.value.message
    with pytest.raises(SetupError, match="PREDICTD_MAIL_FROM"):
        parse_mail_server("smtp://localhost", "")


def test_a_mail_server_whose_reply_never_ends_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("predictd.notifications.smtp.TOTAL_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def reply_for_ever() -> None:
            client, _ = listener.accept()
            with client, contextlib.suppress(OSError):
                client.sendall(b"220 mail\r\n")
                while True:
                    client.sendall(b"250-more\r\n")
                    time.sleep(0.01)

        thread = threading.Thread(target=reply_for_ever)
        thread.start()
        mail_server = parse_mail_server(f"smtp://127.0.0.1:{listener.getsockname()[1]}", "predictd <noreply@host.org>")
        assert mail_server is not None
        began = time.monotonic()
        with pytest.raises(MailError):
            mail_server.send(EmailMessage(), "somebody@host.org")
        assert time.monotonic() - began < 10
        thread.join()
