"""Which messages go as one e-mail, when, and what it says.

All that is due for an account goes in one mail. A success in a round waits for the account's other runs for it, an hour
at most, and no account gets more than so many mails an hour: what is beyond that is gathered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Account, Pickle, Trigger
from predictd.db.notice_tables import Delivery
from predictd.domain.notices import CHOICES, Channel, DeliveryState, Event
from predictd.domain.states import ACTIVE, TriggerType
from predictd.notifications.deliveries import Pace, claim, oldest
from predictd.notifications.email_content import Letter, confirmation, news, trial
from predictd.notifications.preferences import wants_email
from predictd.notifications.signed_tokens import confirmation_token, secret_of, unsubscribe_token

ROUND_SECONDS = 3600.0
NOT_WANTED = "Not sent: it was turned off, or another address was set, before it went out."


@dataclass(frozen=True, kw_only=True)
class Mail:
    """One e-mail that is claimed; `id` is the same for each attempt."""

    id: str
    to: str
    letter: Letter
    attempt: int


def claim_mail(
    session: Session, claimed_by: str, now: datetime, lease_seconds: float, *, pace: Pace, address: str
) -> Mail | None:
    """Take the messages of the e-mail that is to go first; None if it is to wait, or if nothing is due.

    A set that was tried before is tried again as it was, so that its id means the same.
    """
    first = oldest(session, Channel.EMAIL, now)
    if first is None:
        return None
    # The account is locked before its messages, by every server, or two could wait for each other.
    account = session.get_one(Account, first.account_id, with_for_update={"key_share": True}, populate_existing=True)
    session.refresh(first)
    if first.state != DeliveryState.PENDING or first.not_before > now:
        return None
    messages = _wanted(session, account, _set_of(session, first), now)
    if first.mail_id is None and messages:
        if first.notification.event in CHOICES:
            messages = _ready(session, account, messages, now, pace)
        for message in messages:
            message.mail_id = messages[0].id
    if not messages:
        session.flush()
        return None
    claim(session, messages, claimed_by, now, lease_seconds)
    letter = _letter(account, messages, now, address)
    return Mail(id=messages[0].mail_id or "", to=messages[0].target, letter=letter, attempt=messages[0].attempt)


def _set_of(session: Session, first: Delivery) -> list[Delivery]:
    """What goes along with it."""
    if first.mail_id is None and first.notification.event not in CHOICES:
        return [first]
    same = Delivery.mail_id == first.mail_id if first.mail_id is not None else Delivery.mail_id.is_(None)
    found = session.scalars(
        sa.select(Delivery)
        .where(
            Delivery.account_id == first.account_id,
            Delivery.channel == Channel.EMAIL,
            Delivery.state == DeliveryState.PENDING,
            same,
        )
        .order_by(Delivery.inserted_at, Delivery.id)
        .execution_options(populate_existing=True)
    ).all()
    return [one for one in found if first.mail_id is not None or one.notification.event in CHOICES]


def _wanted(session: Session, account: Account, messages: Sequence[Delivery], now: datetime) -> list[Delivery]:
    """Those that the account wants still; the others end."""
    kept = []
    for message in messages:
        event = Event(message.notification.event)
        is_known = account.email_confirmed_at is not None or event is Event.CONFIRMATION
        if is_known and message.target == account.email and wants_email(account.email_preferences, event):
            kept.append(message)
            continue
        message.state, message.answer, message.ended_at = DeliveryState.FAILED, NOT_WANTED, now
    session.flush()
    return kept


def _ready(session: Session, account: Account, messages: list[Delivery], now: datetime, pace: Pace) -> list[Delivery]:
    """Those that are to go now; the others are put off."""
    free_at = _free_at(session, account, now, pace)
    if free_at is not None:
        for message in messages:
            message.not_before = free_at
        return []
    running = _running_rounds(session, account)
    ready = []
    for message in messages:
        is_success = message.notification.event == Event.RUN_SUCCEEDED
        is_for_round = (message.notification.facts or {}).get("run", {}).get("type") == TriggerType.LIVE
        may_wait = message.inserted_at > now - timedelta(seconds=ROUND_SECONDS)
        if is_success and is_for_round and may_wait and message.notification.round_id in running:
            message.not_before = now + timedelta(seconds=pace.gather_seconds)
        else:
            ready.append(message)
    return ready


def _free_at(session: Session, account: Account, now: datetime, pace: Pace) -> datetime | None:
    """When the account may get its next mail, None for now."""
    sent = session.execute(
        sa.select(sa.func.max(Delivery.ended_at))
        .where(
            Delivery.account_id == account.id,
            Delivery.channel == Channel.EMAIL,
            Delivery.state == DeliveryState.DELIVERED,
            Delivery.ended_at > now - timedelta(hours=1),
        )
        .group_by(Delivery.mail_id)
    ).scalars()
    times = sorted(time for time in sent if time is not None)
    return times[-pace.mails_per_hour] + timedelta(hours=1) if len(times) >= pace.mails_per_hour else None


def _running_rounds(session: Session, account: Account) -> set[str | None]:
    """The rounds for which runs of the account are on their way."""
    found = session.scalars(
        sa.select(Trigger.round_id)
        .join(Pickle, Pickle.id == Trigger.pickle_id)
        .where(Pickle.account_id == account.id, Trigger.state.in_(ACTIVE), Trigger.round_id.is_not(None))
        .distinct()
    )
    return set(found)


def _letter(account: Account, messages: Sequence[Delivery], now: datetime, address: str) -> Letter:
    settings_url = f"{address}/account/notifications"
    event = Event(messages[0].notification.event)
    if event is Event.CONFIRMATION:
        url = f"{address}/account/confirm/{confirmation_token(account, now)}"
        return confirmation(account.username, url, settings_url)
    if event is Event.TEST:
        return trial(account.username, settings_url)
    notifications = sorted((one.notification for one in messages), key=lambda one: one.inserted_at)
    happened = [(Event(one.event), one.facts or {}) for one in notifications]
    about = [event for event in CHOICES if any(event is told for told, _ in happened)]
    secret_of(account)
    return news(happened, settings_url, f"{address}/unsubscribe/{unsubscribe_token(account, about)}")
