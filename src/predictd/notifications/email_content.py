"""E-mails: what they say, as plain text and as simple HTML, and how to end them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from predictd.domain.notices import Event
from predictd.domain.states import TriggerState
from predictd.domain.text import single_line
from predictd.notifications.payload import Facts, name_of

WITHOUT_ROUND = "No round is open now; it runs when the next one opens."
MOST_SUBJECT = 120
MOST_SHOWN = 100
_CALLED = {
    "validationCorrMean": "Mean CORR",
    "validationCorrSharpe": "CORR Sharpe",
    "validationMmcMean": "Mean MMC",
    "validationMaxDrawdown": "Largest drawdown",
    "validationFeatureNeutralCorrMean": "Mean FNC",
}
_MANY = {
    Event.ROUND_OPEN: ("round has opened", "rounds have opened"),
    Event.RUN_FAILED: ("run failed", "runs failed"),
    Event.RUN_SUCCEEDED: ("run succeeded", "runs succeeded"),
    Event.DIAGNOSTICS_READY: ("diagnostics are ready", "diagnostics are ready"),
}


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing that happened, for a person."""

    title: str
    lines: tuple[str, ...] = ()
    remedy: str = ""
    url: str = ""
    called: str = ""


@dataclass(frozen=True, kw_only=True)
class Letter:
    """An e-mail before it is written: its subject, what happened, and the links below it."""

    subject: str
    items: tuple[Item, ...]
    settings_url: str
    unsubscribe_url: str = ""


def item_of(event: Event, facts: Facts) -> Item:
    """What a person is told of it."""
    if event is Event.ROUND_OPEN:
        round_ = facts["round"]
        closes = datetime.fromisoformat(round_["closeTime"])
        return Item(
            title=f"Round {round_['number']} is open until {closes:%A %H:%M} UTC",
            lines=("The pickles in your models' slots are run for it by themselves.",),
            url=round_["url"],
            called="The round",
        )
    run = facts["run"]
    if event is Event.DIAGNOSTICS_READY:
        found = facts["diagnostics"]
        figures = tuple(f"{_CALLED[name]}: {value:.4f}" for name, value in found["figures"].items())
        message = (str(found["message"]),) if found["message"] else ()
        title = f"{name_of(facts)}: diagnostics are ready"
        return Item(title=title, lines=message + figures, url=found["url"], called="The diagnostics")
    ended = {
        "validation": ("is validated", "failed its validation"),
        "diagnostics": ("has diagnostics", "failed in diagnostics"),
    }.get(run["type"])
    round_ = facts["round"]
    if ended is None:
        where = f" in round {round_['number']}" if round_ is not None else ""
        ended = (f"succeeded{where}", f"failed{where}")
    reason, how = run["reason"], ended[event is Event.RUN_FAILED]
    if run["status"] == TriggerState.ERROR:
        # On the wire both are errors: that the platform gave up, and that there is no round for what is validated.
        how, reason = (f"{how}, by no fault of its own", reason) if event is Event.RUN_FAILED else (how, WITHOUT_ROUND)
    return Item(
        title=f"{name_of(facts)} {how}",
        lines=(reason,) if reason else (),
        remedy=run["remedy"] or "",
        url=run["url"],
        called="The run and its log",
    )


def title_of(event: Event, facts: Facts) -> str:
    """What happened, in a line."""
    others = {Event.CONFIRMATION: "Link to confirm the address", Event.TEST: "Test"}
    return others.get(event) or item_of(event, facts).title


def subject_of(happened: Sequence[tuple[Event, Facts]]) -> str:
    """What happened, in a line: of one thing all, of several how many of each."""
    if len(happened) == 1:
        return item_of(*happened[0]).title
    counts = Counter(event for event, _ in happened)
    numbers = {facts["round"]["number"] for _, facts in happened if facts.get("round")}
    told = ", ".join(
        f"{counts[event]} {_MANY[event][counts[event] > 1]}" for event in sorted(counts, key=list(_MANY).index)
    )
    return f"Round {numbers.pop()}: {told}" if len(numbers) == 1 else told


def news(happened: Sequence[tuple[Event, Facts]], settings_url: str, unsubscribe_url: str) -> Letter:
    """The e-mail about what happened; failures come first."""
    order = [Event.RUN_FAILED, Event.DIAGNOSTICS_READY, Event.RUN_SUCCEEDED, Event.ROUND_OPEN]
    items = [item_of(event, facts) for event, facts in sorted(happened, key=lambda one: order.index(one[0]))]
    if len(items) > MOST_SHOWN:
        items = [*items[:MOST_SHOWN], Item(title=f"And {len(items) - MOST_SHOWN} more", url=settings_url)]
    return Letter(
        subject=subject_of(happened), items=tuple(items), settings_url=settings_url, unsubscribe_url=unsubscribe_url
    )


def confirmation(username: str, url: str, settings_url: str) -> Letter:
    """The e-mail that asks whether the address is its reader's."""
    item = Item(
        title="Confirm your e-mail address",
        lines=(
            f"The account {username} wants its notifications sent to this address. If that is you, follow the link.",
            "If it is not, do nothing: without it, nothing else is sent to you.",
        ),
        url=url,
        called="Confirm",
    )
    return Letter(subject="Confirm your e-mail address", items=(item,), settings_url=settings_url)


def trial(username: str, settings_url: str) -> Letter:
    """The e-mail that somebody sends to see whether it arrives."""
    item = Item(title="E-mail works", lines=(f"This is the test that the account {username} asked for.",))
    return Letter(subject="A test of your notifications", items=(item,), settings_url=settings_url)


def write(letter: Letter, *, sender: str, to: str, message_id: str, now: datetime) -> EmailMessage:
    """The e-mail itself, with the headers of one-click unsubscription (RFC 8058)."""
    message = EmailMessage()
    message["Subject"] = _line(f"[predictd] {letter.subject}", MOST_SUBJECT)
    message["From"] = sender
    message["To"] = to
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{message_id}>"
    message["Auto-Submitted"] = "auto-generated"
    if letter.unsubscribe_url:
        message["List-Unsubscribe"] = f"<{letter.unsubscribe_url}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(_environment().get_template("mail.txt").render(letter=letter))
    message.add_alternative(_environment().get_template("mail.html").render(letter=letter), subtype="html")
    return message


def _line(text: str, most: int = 1000) -> str:
    """On one line, printable and bounded: what a stranger wrote must make no header and steer no terminal."""
    line = single_line(text)
    return line if len(line) <= most else line[: most - 1] + "…"


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
