"""The threads that send notifications, independent of runs and requests."""

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from predictd.db import Database
from predictd.db.notification_tables import Delivery, WebhookEndpoint
from predictd.domain.notification_types import Channel, Event
from predictd.notifications.deliveries import (
    DeliveryPolicy,
    claim,
    delete_old,
    is_due,
    mark_delivered,
    mark_failed,
    new_claim,
    next_due,
    postpone,
    release_claims,
    retry_later,
)
from predictd.notifications.email_batching import claim_email
from predictd.notifications.email_content import render_email
from predictd.notifications.fanout import fan_out, has_pending_notifications
from predictd.notifications.http_post import PrivateAddressError, WebhookCallError, post
from predictd.notifications.payload import body_of, signed_headers
from predictd.notifications.smtp import MailError, MailRejectedError, MailServer

log = structlog.get_logger()

POLL_SECONDS = 1.0
PAUSE_SECONDS = 15.0
CLEANUP_SECONDS = 3600.0
STOP_SECONDS = 5.0
WEBHOOK_THREADS = 2
# Longer than any attempt: an SMTP session has several replies, each of which may take 20 s.
WEBHOOK_LEASE, MAIL_LEASE = 60.0, 300.0
GONE = 410


class NotificationDispatcher:
    """Creates deliveries for notifications and sends them until it is stopped.

    Args:
        owner: unique id of this server that survives restarts.
        address: URL of the server, for links.
        mail_server: None if no emails are sent.
        allow_private: whether webhooks in private networks are allowed.
        policy: delays and limits of sending.
    """

    def __init__(
        self,
        database: Database,
        *,
        owner: str,
        address: str,
        mail_server: MailServer | None,
        allow_private: bool,
        policy: DeliveryPolicy,
    ) -> None:
        self._database = database
        self._owner = owner
        self._address = address.rstrip("/")
        self._mail_server = mail_server
        self._allow_private = allow_private
        self._policy = policy
        self._mail_failures = 0
        self._forget_at = datetime.min.replace(tzinfo=UTC)
        self._stopping = threading.Event()
        steps: list[tuple[str, Callable[[], bool]]] = [("notices", self._spread)]
        steps += [(f"webhooks-{number}", self._call) for number in range(WEBHOOK_THREADS)]
        if mail_server is not None:
            steps.append(("mails", self._send))
        # Messages in progress are retried after a restart, so the server does not wait long for these threads.
        self._threads = [
            threading.Thread(target=self._loop, args=(step,), name=name, daemon=True) for name, step in steps
        ]

    def start(self) -> None:
        """Release the claims of an earlier process of this server, and start the threads."""
        with self._database.write() as session:
            release_claims(session, self._owner, datetime.now(UTC))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop the threads, and wait briefly for messages in progress."""
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
                log.exception("dispatch_failed")
                wait = PAUSE_SECONDS
            self._stopping.wait(wait)

    def _spread(self) -> bool:
        now = datetime.now(UTC)
        if now >= self._forget_at:
            self._forget_at = now + timedelta(seconds=CLEANUP_SECONDS)
            with self._database.write() as session:
                delete_old(session, now)
        with self._database.read() as session:
            if not has_pending_notifications(session):
                return False
        with self._database.write() as session:
            seen = fan_out(
                session,
                now,
                address=self._address,
                sends_mail=self._mail_server is not None,
                batch_seconds=self._policy.batch_seconds,
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
            message = next_due(session, Channel.WEBHOOK, now, lock=True)
            if message is None:
                return False
            claim(session, [message], claimed_by, now, WEBHOOK_LEASE)
            endpoint = session.get_one(WebhookEndpoint, message.endpoint_id)
            notification = message.notification
            body = body_of(Event(notification.event), notification.facts or {}, notification.inserted_at)
            headers = signed_headers(endpoint.secret, f"msg_{message.id}", body, now)
            url = endpoint.url
        try:
            status = post(url, body, headers, allow_private=self._allow_private)
        except PrivateAddressError as error:
            self._end_call(message, claimed_by, error.message, is_final=True)
        except WebhookCallError as error:
            self._end_call(message, claimed_by, error.cause, is_final=False)
        else:
            is_taken = 200 <= status < 300
            self._end_call(
                message, claimed_by, f"HTTP {status}", is_final=is_taken or status == GONE, is_taken=is_taken
            )
        return True

    def _end_call(
        self, message: Delivery, claimed_by: str, result: str, *, is_final: bool, is_taken: bool = False
    ) -> None:
        now = datetime.now(UTC)
        with self._database.write() as session:
            endpoint = session.get_one(WebhookEndpoint, message.endpoint_id, with_for_update=True)
            if is_taken:
                endpoint.failures = 0
                mark_delivered(session, claimed_by, result, now)
                return
            endpoint.failures += 1
            log.info("webhook_failed", endpoint=endpoint.id, attempt=message.attempt, answer=result)
            if is_final:
                mark_failed(session, claimed_by, result, now)
                return
            wait = self._wait(max(endpoint.failures, message.attempt))
            self._try_again(session, claimed_by, result, now, wait)
            postpone(session, Delivery.endpoint_id == endpoint.id, now + timedelta(seconds=wait))

    def _send(self) -> bool:
        """Send one e-mail."""
        assert self._mail_server is not None
        now = datetime.now(UTC)
        with self._database.read() as session:
            if not is_due(session, Channel.EMAIL, now):
                return False
        claimed_by = new_claim(self._owner)
        with self._database.write() as session:
            mail = claim_email(session, claimed_by, now, MAIL_LEASE, policy=self._policy, address=self._address)
        if mail is None:
            return True
        message = render_email(
            mail.content,
            sender=self._mail_server.sender,
            to=mail.to,
            message_id=f"{mail.id}@{self._mail_server.domain}",
            now=now,
        )
        try:
            result = self._mail_server.send(message, mail.to)
        except MailRejectedError as error:
            with self._database.write() as session:
                if error.is_final:
                    mark_failed(session, claimed_by, error.message, datetime.now(UTC))
                else:
                    self._try_again(session, claimed_by, error.message, datetime.now(UTC), self._wait(mail.attempt))
        except MailError as error:
            self._mail_failures += 1
            log.warning("mail_server_failed", error=error.message, failures=self._mail_failures)
            wait = self._wait(self._mail_failures)
            with self._database.write() as session:
                ended = datetime.now(UTC)
                self._try_again(session, claimed_by, error.message, ended, wait)
                postpone(session, Delivery.channel == Channel.EMAIL, ended + timedelta(seconds=wait))
        else:
            self._mail_failures = 0
            with self._database.write() as session:
                mark_delivered(session, claimed_by, result, datetime.now(UTC))
        return True

    def _wait(self, failures: int) -> float:
        return self._policy.wait(failures, random.random())  # noqa: S311 (it only spreads retries)

    def _try_again(self, session: Session, claimed_by: str, result: str, now: datetime, wait: float) -> None:
        retry_later(session, claimed_by, result, now, wait_seconds=wait, give_up_seconds=self._policy.give_up_seconds)
