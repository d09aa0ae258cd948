"""The threads that tell people: beside the server, never in the way of a run or a request."""

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from predictd.db import Database
from predictd.db.notice_tables import Delivery, WebhookEndpoint
from predictd.domain.notices import Channel, Event
from predictd.notifications.deliveries import (
    Pace,
    claim,
    deliver,
    forget_old,
    give_up,
    is_due,
    new_claim,
    oldest,
    put_off,
    release,
    try_again,
)
from predictd.notifications.email_batching import claim_mail
from predictd.notifications.email_content import write
from predictd.notifications.fanout import is_anything_to_spread, spread
from predictd.notifications.http_post import PrivateAddressError, UncallableError, post
from predictd.notifications.signatures import body_of, signed_headers
from predictd.notifications.smtp import MailError, MailServer, RefusedMailError

log = structlog.get_logger()

POLL_SECONDS = 1.0
PAUSE_SECONDS = 15.0
FORGET_SECONDS = 3600.0
STOP_SECONDS = 5.0
WEBHOOK_THREADS = 2
# More than one attempt can take: a mail is a conversation of several answers, each of which may take 20 s.
WEBHOOK_LEASE, MAIL_LEASE = 60.0, 300.0
GONE = 410


class Courier:
    """Makes messages of what happened and sends them until it is stopped.

    Args:
        owner: name of this server that outlives a restart; no other running server has it.
        address: that of the server, for links.
        mail: the mail server, None where no e-mail is sent.
        to_private: whether webhooks may lie in private networks.
    """

    def __init__(
        self, database: Database, *, owner: str, address: str, mail: MailServer | None, to_private: bool, pace: Pace
    ) -> None:
        self._database = database
        self._owner = owner
        self._address = address.rstrip("/")
        self._mail = mail
        self._to_private = to_private
        self._pace = pace
        self._mail_failures = 0
        self._forget_at = datetime.min.replace(tzinfo=UTC)
        self._stopping = threading.Event()
        steps: list[tuple[str, Callable[[], bool]]] = [("notices", self._spread)]
        steps += [(f"webhooks-{number}", self._call) for number in range(WEBHOOK_THREADS)]
        if mail is not None:
            steps.append(("mails", self._send))
        # A message that is on its way when the server ends is another attempt later, so nothing waits for them long.
        self._threads = [
            threading.Thread(target=self._loop, args=(step,), name=name, daemon=True) for name, step in steps
        ]

    def start(self) -> None:
        """Take up what an earlier process of this server left, and begin."""
        with self._database.write() as session:
            release(session, self._owner, datetime.now(UTC))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing more, and wait a moment for what is on its way."""
        self._stopping.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _loop(self, step: Callable[[], bool]) -> None:
        while not self._stopping.is_set():
            wait = POLL_SECONDS
            try:
                if step():
                    wait = 0
            except Exception:
                log.exception("telling_failed")
                wait = PAUSE_SECONDS
            self._stopping.wait(wait)

    def _spread(self) -> bool:
        now = datetime.now(UTC)
        if now >= self._forget_at:
            self._forget_at = now + timedelta(seconds=FORGET_SECONDS)
            with self._database.write() as session:
                forget_old(session, now)
        with self._database.read() as session:
            if not is_anything_to_spread(session):
                return False
        with self._database.write() as session:
            seen = spread(
                session,
                now,
                address=self._address,
                sends_mail=self._mail is not None,
                gather_seconds=self._pace.gather_seconds,
            )
        return seen > 0

    def _call(self) -> bool:
        """Send one webhook."""
        now = datetime.now(UTC)
        with self._database.read() as session:
            if not is_due(session, Channel.WEBHOOK, now):
                return False
        claimed_by = new_claim(self._owner)
        with self._database.write() as session:
            message = oldest(session, Channel.WEBHOOK, now, lock=True)
            if message is None:
                return False
            claim(session, [message], claimed_by, now, WEBHOOK_LEASE)
            endpoint = session.get_one(WebhookEndpoint, message.endpoint_id)
            happened = message.notification
            body = body_of(Event(happened.event), happened.facts or {}, happened.inserted_at)
            headers = signed_headers(endpoint.secret, f"msg_{message.id}", body, now)
            url = endpoint.url
        try:
            status = post(url, body, headers, allow_private=self._to_private)
        except PrivateAddressError as error:
            self._end_call(message, claimed_by, error.message, is_final=True)
        except UncallableError as error:
            self._end_call(message, claimed_by, error.why, is_final=False)
        else:
            is_taken = 200 <= status < 300
            self._end_call(
                message, claimed_by, f"HTTP {status}", is_final=is_taken or status == GONE, is_taken=is_taken
            )
        return True

    def _end_call(
        self, message: Delivery, claimed_by: str, answer: str, *, is_final: bool, is_taken: bool = False
    ) -> None:
        now = datetime.now(UTC)
        with self._database.write() as session:
            endpoint = session.get_one(WebhookEndpoint, message.endpoint_id, with_for_update=True)
            if is_taken:
                endpoint.failures = 0
                deliver(session, claimed_by, answer, now)
                return
            endpoint.failures += 1
            log.info("webhook_failed", endpoint=endpoint.id, attempt=message.attempt, answer=answer)
            if is_final:
                give_up(session, claimed_by, answer, now)
                return
            wait = self._wait(max(endpoint.failures, message.attempt))
            self._try_again(session, claimed_by, answer, now, wait)
            put_off(session, Delivery.endpoint_id == endpoint.id, now + timedelta(seconds=wait))

    def _send(self) -> bool:
        """Send one e-mail."""
        assert self._mail is not None
        now = datetime.now(UTC)
        with self._database.read() as session:
            if not is_due(session, Channel.EMAIL, now):
                return False
        claimed_by = new_claim(self._owner)
        with self._database.write() as session:
            mail = claim_mail(session, claimed_by, now, MAIL_LEASE, pace=self._pace, address=self._address)
        if mail is None:
            return True
        written = write(
            mail.letter, sender=self._mail.sender, to=mail.to, message_id=f"{mail.id}@{self._mail.domain}", now=now
        )
        try:
            answer = self._mail.send(written, mail.to)
        except RefusedMailError as error:
            with self._database.write() as session:
                if error.is_final:
                    give_up(session, claimed_by, error.message, datetime.now(UTC))
                else:
                    self._try_again(session, claimed_by, error.message, datetime.now(UTC), self._wait(mail.attempt))
        except MailError as error:
            self._mail_failures += 1
            log.warning("mail_server_failed", error=error.message, failures=self._mail_failures)
            wait = self._wait(self._mail_failures)
            with self._database.write() as session:
                ended = datetime.now(UTC)
                self._try_again(session, claimed_by, error.message, ended, wait)
                put_off(session, Delivery.channel == Channel.EMAIL, ended + timedelta(seconds=wait))
        else:
            self._mail_failures = 0
            with self._database.write() as session:
                deliver(session, claimed_by, answer, datetime.now(UTC))
        return True

    def _wait(self, failures: int) -> float:
        return self._pace.wait(failures, random.random())  # noqa: S311 (it only spreads retries)

    def _try_again(self, session: Session, claimed_by: str, answer: str, now: datetime, wait: float) -> None:
        try_again(session, claimed_by, answer, now, wait_seconds=wait, give_up_seconds=self._pace.give_up_seconds)
