"""The content of emails, as plain text and HTML, with unsubscribe links."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from predictd.domain.notification_types import Event
from predictd.domain.states import RunState
from predictd.domain.text import single_line
from predictd.notifications.payload import Facts, display_name

NO_OPEN_ROUND_TEXT = "No round is open now; the pickle runs when the next round opens."
MAX_SUBJECT_LENGTH = 120
MAX_ITEMS = 100
_METRIC_LABELS = {
    "validationCorrMean": "Mean CORR",
    "validationCorrSharpe": "CORR Sharpe",
    "validationMmcMean": "Mean MMC",
    "validationMaxDrawdown": "Largest drawdown",
    "validationFeatureNeutralCorrMean": "Mean FNC",
}
_EVENT_NOUNS = {
    Event.ROUND_OPEN: ("round has opened", "rounds have opened"),
    Event.RUN_FAILED: ("run failed", "runs failed"),
    Event.RUN_SUCCEEDED: ("run succeeded", "runs succeeded"),
    Event.DIAGNOSTICS_READY: ("diagnostics are ready", "diagnostics are ready"),
}


@dataclass(frozen=True, kw_only=True)
class EmailItem:
    """One event in an email."""

    title: str
    lines: tuple[str, ...] = ()
    remedy: str = ""
    url: str = ""
    link_text: str = ""


@dataclass(frozen=True, kw_only=True)
class EmailContent:
    """The subject, events and footer links of an email."""

    subject: str
    items: tuple[EmailItem, ...]
    settings_url: str
    unsubscribe_url: str = ""


def item_of(event: Event, facts: Facts) -> EmailItem:
    """Return the text of an event."""
    if event is Event.ROUND_OPEN:
        round_ = facts["round"]
        closes = datetime.fromisoformat(round_["closeTime"])
        return EmailItem(
            title=f"Round {round_['number']} is open until {closes:%A %H:%M} UTC",
            lines=("The pickles assigned to your models run automatically.",),
            url=round_["url"],
            link_text="View round",
        )
    run = facts["run"]
    if event is Event.DIAGNOSTICS_READY:
        diagnostics = facts["diagnostics"]
        figures = tuple(f"{_METRIC_LABELS[name]}: {value:.4f}" for name, value in diagnostics["figures"].items())
        message = (str(diagnostics["message"]),) if diagnostics["message"] else ()
        title = f"{display_name(facts)}: diagnostics are ready"
        return EmailItem(title=title, lines=message + figures, url=diagnostics["url"], link_text="View diagnostics")
    outcomes = {
        "validation": ("is validated", "failed its validation"),
        "diagnostics": ("has diagnostics", "failed in diagnostics"),
    }.get(run["type"])
    round_ = facts["round"]
    if outcomes is None:
        where = f" in round {round_['number']}" if round_ is not None else ""
        outcomes = (f"succeeded{where}", f"failed{where}")
    reason, outcome = run["reason"], outcomes[event is Event.RUN_FAILED]
    if run["status"] == RunState.ERROR:
        # Both are errors on the wire: the platform gave up, or no round is open for the validated pickle.
        outcome, reason = (
            (f"{outcome} because of the platform", reason)
            if event is Event.RUN_FAILED
            else (outcome, NO_OPEN_ROUND_TEXT)
        )
    return EmailItem(
        title=f"{display_name(facts)} {outcome}",
        lines=(reason,) if reason else (),
        remedy=run["remedy"] or "",
        url=run["url"],
        link_text="View run and log",
    )


def title_of(event: Event, facts: Facts) -> str:
    """Return the event in one line."""
    titles = {Event.CONFIRMATION: "Link to confirm the address", Event.TEST: "Test"}
    return titles.get(event) or item_of(event, facts).title


def subject_of(occurrences: Sequence[tuple[Event, Facts]]) -> str:
    """Return a one-line summary: the event, or the number of events of each kind."""
    if len(occurrences) == 1:
        return item_of(*occurrences[0]).title
    counts = Counter(event for event, _ in occurrences)
    numbers = {facts["round"]["number"] for _, facts in occurrences if facts.get("round")}
    summary = ", ".join(
        f"{counts[event]} {_EVENT_NOUNS[event][counts[event] > 1]}"
        for event in sorted(counts, key=list(_EVENT_NOUNS).index)
    )
    return f"Round {numbers.pop()}: {summary}" if len(numbers) == 1 else summary


def build_event_email(
    occurrences: Sequence[tuple[Event, Facts]], settings_url: str, unsubscribe_url: str
) -> EmailContent:
    """Build the email about events, failures first."""
    order = [Event.RUN_FAILED, Event.DIAGNOSTICS_READY, Event.RUN_SUCCEEDED, Event.ROUND_OPEN]
    items = [
        item_of(event, facts) for event, facts in sorted(occurrences, key=lambda occurrence: order.index(occurrence[0]))
    ]
    if len(items) > MAX_ITEMS:
        items = [*items[:MAX_ITEMS], EmailItem(title=f"And {len(items) - MAX_ITEMS} more", url=settings_url)]
    return EmailContent(
        subject=subject_of(occurrences), items=tuple(items), settings_url=settings_url, unsubscribe_url=unsubscribe_url
    )


def build_confirmation_email(username: str, url: str, settings_url: str) -> EmailContent:
    """Build the email that confirms an address."""
    item = EmailItem(
        title="Confirm your e-mail address",
        lines=(
            f"The account {username} requested notifications to this address. If it is yours, follow the link.",
            "If not, ignore this email; you will get no others.",
        ),
        url=url,
        link_text="Confirm address",
    )
    return EmailContent(subject="Confirm your e-mail address", items=(item,), settings_url=settings_url)


def build_test_email(username: str, settings_url: str) -> EmailContent:
    """Build a test email."""
    item = EmailItem(title="E-mail works", lines=(f"This is the test email that the account {username} requested.",))
    return EmailContent(subject="Test of your notifications", items=(item,), settings_url=settings_url)


def render_email(content: EmailContent, *, sender: str, to: str, message_id: str, now: datetime) -> EmailMessage:
    """Render the email, with the headers of one-click unsubscription (RFC 8058)."""
    message = EmailMessage()
    message["Subject"] = _line(f"[predictd] {content.subject}", MAX_SUBJECT_LENGTH)
    message["From"] = sender
    message["To"] = to
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{message_id}>"
    message["Auto-Submitted"] = "auto-generated"
    if content.unsubscribe_url:
        message["List-Unsubscribe"] = f"<{content.unsubscribe_url}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(_environment().get_template("mail.txt").render(content=content))
    message.add_alternative(_environment().get_template("mail.html").render(content=content), subtype="html")
    return message


def _line(text: str, max_length: int = 1000) -> str:
    """Return the text on one line, printable and bounded: untrusted text must not inject headers or control codes."""
    line = single_line(text)
    return line if len(line) <= max_length else line[: max_length - 1] + "…"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("predictd.notifications"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["line"] = _line
    return environment
