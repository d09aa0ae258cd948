"""Who did what: recorded from what a transaction changes, so that no way in can forget it.

Whoever lets somebody in says who they are with `acting`; `Database.write` then records, in the same transaction, those
changes of rows that `WATCHED` names. What the platform does by itself (runs, the calendar) has no actor and is not
recorded. No column that holds a secret is named here.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.orm import Session, UOWTransaction

from predictd.db.audit_table import AuditEntry
from predictd.db.models import (
    Account,
    Base,
    DataVersion,
    Model,
    PasswordLink,
    Round,
    Runtime,
    Token,
    Trigger,
    Upload,
    WebSession,
)
from predictd.db.notice_tables import WebhookEndpoint


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who acts.

    Attributes:
        way: how they came in: web, api, mcp or command line.
        at: when.
        account: who is signed in, if anybody; asked only when there is something to record.
        user: the user of the machine, for the command line.
        address: where the request comes from.
    """

    way: str
    at: datetime
    account: Callable[[], Account | None] = lambda: None
    user: str = ""
    address: str = ""


_ACTOR: ContextVar[Actor | None] = ContextVar("actor", default=None)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """As long as this lasts, what this thread changes is done by that actor."""
    before = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(before)


Named = Callable[[Any, Any], str]


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What is recorded of the rows of a table.

    Attributes:
        kind: what an object is called.
        made: the action of a new row; empty if that is not recorded.
        deleted: the action of a deleted one.
        changed: by column, the action of a change from one value to another; an empty one is not recorded.
        name: the object's name for people.
        told: of a new row, what of it stands in the detail.
        values: the columns of which old and new value stand in the detail.
        owner: the account that an object is about, where the object recorded is not the row but the account.
    """

    kind: str
    made: str = ""
    deleted: str = ""
    changed: Mapping[str, str | Named] = field(default_factory=dict)
    name: Callable[[Any], str] = lambda row: str(row.name)
    told: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    owner: Callable[[Any], Account] | None = None


def _either(if_set: str, otherwise: str) -> Named:
    return lambda _, new: if_set if new else otherwise


WATCHED: dict[type[Base], Watched] = {
    Account: Watched(
        kind="account",
        made="account.create",
        changed={
            "password_hash": "account.password",
            "email": "account.email",
            "is_organiser": _either("account.organiser", "account.no_organiser"),
            "suspended_at": _either("account.suspend", "account.reactivate"),
        },
        name=lambda row: row.username,
    ),
    WebSession: Watched(kind="account", made="sign_in", owner=lambda row: row.account),
    PasswordLink: Watched(kind="account", made="account.password_link", owner=lambda row: row.account),
    Token: Watched(
        kind="token", made="token.create", changed={"revoked_at": _either("token.revoke", "")}, told=("scopes",)
    ),
    Model: Watched(
        kind="model",
        made="model.create",
        changed={
            "name": "model.rename",
            "archived_at": _either("model.archive", "model.unarchive"),
            "pickle_id": _either("model.assign", "model.unassign"),
            "submission_webhook": _either("model.webhook", "model.no_webhook"),
            "meta_model_weight": "model.weight",
            "fallback": "model.fallback",
        },
        values=("name", "pickle_id", "meta_model_weight", "fallback"),
    ),
    WebhookEndpoint: Watched(
        kind="webhook",
        made="webhook.create",
        changed={"deleted_at": _either("webhook.delete", ""), "events": "webhook.events"},
        # What follows the host may be a secret.
        name=lambda row: urlsplit(row.url).hostname or "",
        told=("events",),
    ),
    Upload: Watched(
        kind="upload",
        changed={"registered_at": lambda _, new: "upload.register" if new else ""},
        name=lambda row: row.filename,
        told=("kind",),
    ),
    Round: Watched(
        kind="round",
        made="round.open",
        changed={
            "is_closed": _either("round.close", ""),
            "score_days": "round.score",
            "resolved_at": _either("round.resolve", ""),
        },
        name=lambda row: str(row.number),
        values=("score_days",),
    ),
    DataVersion: Watched(
        kind="data version",
        made="data.import",
        changed={
            "is_default": _either("data.default", ""),
            "is_deprecated": _either("data.deprecate", "data.restore"),
        },
    ),
    Runtime: Watched(
        kind="runtime",
        made="runtime.add",
        deleted="runtime.remove",
        changed={
            "is_default": _either("runtime.default", ""),
            "is_deprecated": _either("runtime.deprecate", "runtime.restore"),
        },
        name=lambda row: f"{row.name} ({row.tag})",
    ),
    Trigger: Watched(
        kind="run",
        changed={
            "state": lambda old, new: {
                "error": "run.stop",
                "model_failed": "run.cancel",
                "pending": "run.put_back",
            }.get(str(new), "")
        },
        name=lambda row: str(row.type),
        values=("state",),
    ),
}


def _actions() -> list[str]:
    """Every action, for a list to choose from; what depends on the values is asked with some."""
    found = {"sign_in.failed", "deployment.export", "deployment.retention"}
    for watched in WATCHED.values():
        found |= {watched.made, watched.deleted}
        for named in watched.changed.values():
            tried = (None, "error", "model_failed", "pending")
            found |= {named} if isinstance(named, str) else {named(None, new) for new in tried}
    return sorted(found - {""})


ACTIONS = _actions()


def watch(session: Session) -> None:
    """Gather what the session changes, if somebody acts."""
    if _ACTOR.get() is not None:
        session.info["audit"] = []
        session.info["audit_made"] = set()
        sa.event.listen(session, "after_flush", _gather)


def record_changes(session: Session) -> None:
    """Write down what was gathered; the last thing that a transaction does."""
    actor = _ACTOR.get()
    if actor is None or "audit" not in session.info:
        return
    session.flush()
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for row, action, detail in session.info["audit"]:
        watched = WATCHED[type(row)]
        about = watched.owner(row) if watched.owner is not None else row
        entry = _entry(actor, action, watched.kind, _key(about), WATCHED[type(about)].name(about), {})
        if not entry["who"] and isinstance(about, Account):
            # Who signs in or up is nobody before it.
            entry |= {"who": about.username, "account_id": about.id}
        owner = getattr(row, "account", None) if about is row else None
        if owner is not None and owner.id != entry["account_id"]:
            entry["detail"]["account"] = owner.username
        entry = merged.setdefault((action, entry["object_id"]), entry)
        entry["detail"] |= detail
    if merged:
        session.execute(sa.insert(AuditEntry), list(merged.values()))


def record(session: Session, action: str, kind: str, key: str, name: str, **detail: Any) -> None:
    """Write down an act that changes nothing, such as an attempt that failed; nothing where nobody acts."""
    actor = _ACTOR.get()
    if actor is not None:
        session.execute(sa.insert(AuditEntry), [_entry(actor, action, kind, key, name, detail)])


def _entry(actor: Actor, action: str, kind: str, key: str, name: str, detail: dict[str, Any]) -> dict[str, Any]:
    account = actor.account()
    return {
        "at": actor.at,
        "way": actor.way,
        "account_id": account.id if account is not None else None,
        "who": account.username if account is not None else actor.user[:100],
        "action": action,
        "object_kind": kind,
        "object_id": key[:64],
        "object_name": name[:300],
        "detail": detail,
        "address": actor.address[:64],
    }


def _gather(session: Session, _: UOWTransaction) -> None:
    gathered: list[tuple[Base, str, dict[str, Any]]] = session.info["audit"]
    made: set[Base] = session.info["audit_made"]
    for row in session.new:
        made.add(row)
        watched = WATCHED.get(type(row))
        if watched is not None and watched.made:
            gathered.append((row, watched.made, {name: getattr(row, name) for name in watched.told}))
    for row in session.deleted:
        watched = WATCHED.get(type(row))
        if watched is not None and watched.deleted:
            gathered.append((row, watched.deleted, {}))
    for row in session.dirty:
        # What is still being made is recorded as made.
        if row not in made and type(row) in WATCHED:
            gathered.extend(_changes(row, WATCHED[type(row)]))


def _changes(row: Base, watched: Watched) -> Iterator[tuple[Base, str, dict[str, Any]]]:
    state = sa.inspect(row)
    for column, named in watched.changed.items():
        history = state.attrs[column].history
        if not history.has_changes():
            continue
        old, new = (history.deleted or [None])[0], (history.added or [None])[0]
        action = named if isinstance(named, str) else named(old, new)
        if action:
            detail = {name: getattr(row, name) for name in watched.told}
            if column in watched.values:
                detail[column] = [old, new]
            if column == "submission_webhook" and new:
                # What follows the host may be a secret.
                detail["host"] = urlsplit(str(new)).hostname
            yield row, action, detail


def _key(row: Base) -> str:
    identity = sa.inspect(row).identity
    return str(identity[0]) if identity else ""
