"""The audit log: who changed what, derived from the rows that a transaction changes.

Each interface authenticates the actor and calls `act_as`; `Database.write` then records, in the same transaction, the
changes that `AUDITED_TABLES` lists. Changes by the platform itself (runs, the calendar) have no actor and are not
recorded. No column that holds a secret is listed here.
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
    Run,
    Runtime,
    Token,
    Upload,
    WebSession,
)
from predictd.db.notification_tables import WebhookEndpoint


@dataclass(frozen=True, kw_only=True)
class Actor:
    """The person who makes a change.

    Attributes:
        interface: web, api, mcp or command line.
        at: time of the request.
        account: returns the signed-in account, if any; called only when there is something to record.
        user: operating system user, for the command line.
        address: IP address of the client.
    """

    interface: str
    at: datetime
    account: Callable[[], Account | None] = lambda: None
    user: str = ""
    address: str = ""


_ACTOR: ContextVar[Actor | None] = ContextVar("actor", default=None)


@contextmanager
def act_as(actor: Actor) -> Iterator[None]:
    """Attribute the changes of this thread to the actor inside this block."""
    token = _ACTOR.set(actor)
    try:
        yield
    finally:
        _ACTOR.reset(token)


ActionOfChange = Callable[[Any, Any], str]


@dataclass(frozen=True, kw_only=True)
class AuditedTable:
    """What is recorded of the rows of a table.

    Attributes:
        kind: kind of object.
        created: action of a new row; empty if it is not recorded.
        deleted: action of a deleted row; empty if it is not recorded.
        changed: action by changed column; changes with an empty action are not recorded.
        name: returns the display name of the object.
        detail: columns that are copied to the detail of the entry.
        values: columns whose old and new values are copied to the detail.
        owner: returns the account to record as the object instead of the row.
    """

    kind: str
    created: str = ""
    deleted: str = ""
    changed: Mapping[str, str | ActionOfChange] = field(default_factory=dict)
    name: Callable[[Any], str] = lambda row: str(row.name)
    detail: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    owner: Callable[[Any], Account] | None = None


def _action_by_value(if_set: str, otherwise: str) -> ActionOfChange:
    return lambda _, new: if_set if new else otherwise


AUDITED_TABLES: dict[type[Base], AuditedTable] = {
    Account: AuditedTable(
        kind="account",
        created="account.create",
        changed={
            "password_hash": "account.password",
            "email": "account.email",
            "is_admin": _action_by_value("account.grant_admin", "account.revoke_admin"),
            "suspended_at": _action_by_value("account.suspend", "account.reactivate"),
        },
        name=lambda row: row.username,
    ),
    WebSession: AuditedTable(kind="account", created="sign_in", owner=lambda row: row.account),
    PasswordLink: AuditedTable(kind="account", created="account.password_link", owner=lambda row: row.account),
    Token: AuditedTable(
        kind="token",
        created="token.create",
        changed={"revoked_at": _action_by_value("token.revoke", "")},
        detail=("scopes",),
    ),
    Model: AuditedTable(
        kind="model",
        created="model.create",
        changed={
            "name": "model.rename",
            "archived_at": _action_by_value("model.archive", "model.unarchive"),
            "pickle_id": _action_by_value("model.assign", "model.unassign"),
            "submission_webhook": _action_by_value("model.set_webhook", "model.remove_webhook"),
            "meta_model_weight": "model.weight",
            "fallback": "model.fallback",
        },
        values=("name", "pickle_id", "meta_model_weight", "fallback"),
    ),
    WebhookEndpoint: AuditedTable(
        kind="webhook",
        created="webhook.create",
        changed={"deleted_at": _action_by_value("webhook.delete", ""), "events": "webhook.events"},
        # The part after the host may be a secret.
        name=lambda row: urlsplit(row.url).hostname or "",
        detail=("events",),
    ),
    Upload: AuditedTable(
        kind="upload",
        changed={"registered_at": lambda _, new: "upload.register" if new else ""},
        name=lambda row: row.filename,
        detail=("kind",),
    ),
    Round: AuditedTable(
        kind="round",
        created="round.open",
        changed={
            "is_closed": _action_by_value("round.close", ""),
            "score_days": "round.score",
            "resolved_at": _action_by_value("round.resolve", ""),
        },
        name=lambda row: str(row.number),
        values=("score_days",),
    ),
    DataVersion: AuditedTable(
        kind="data version",
        created="data.import",
        changed={
            "is_default": _action_by_value("data.default", ""),
            "is_deprecated": _action_by_value("data.deprecate", "data.restore"),
        },
    ),
    Runtime: AuditedTable(
        kind="runtime",
        created="runtime.add",
        deleted="runtime.remove",
        changed={
            "is_default": _action_by_value("runtime.default", ""),
            "is_deprecated": _action_by_value("runtime.deprecate", "runtime.restore"),
        },
        name=lambda row: f"{row.name} ({row.tag})",
    ),
    Run: AuditedTable(
        kind="run",
        changed={
            "state": lambda old, new: {
                "error": "run.stop",
                "model_failed": "run.cancel",
                "pending": "run.requeue",
            }.get(str(new), "")
        },
        name=lambda row: str(row.type),
        values=("state",),
    ),
}


def _actions() -> list[str]:
    """Return all actions; functions of the values are called with each possible value."""
    actions = {"sign_in.failed", "deployment.export", "deployment.retention"}
    for table in AUDITED_TABLES.values():
        actions |= {table.created, table.deleted}
        for action in table.changed.values():
            values = (None, "error", "model_failed", "pending")
            actions |= {action} if isinstance(action, str) else {action(None, new) for new in values}
    return sorted(actions - {""})


ACTIONS = _actions()


def start_recording(session: Session) -> None:
    """Record the changes of the session if there is an actor."""
    if _ACTOR.get() is not None:
        session.info["audit"] = []
        session.info["audit_made"] = set()
        sa.event.listen(session, "after_flush", _collect)


def record_changes(session: Session) -> None:
    """Write the audit entries; must be the last step of the transaction."""
    actor = _ACTOR.get()
    if actor is None or "audit" not in session.info:
        return
    session.flush()
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for row, action, detail in session.info["audit"]:
        table = AUDITED_TABLES[type(row)]
        subject = table.owner(row) if table.owner is not None else row
        entry = _entry(actor, action, table.kind, _key(subject), AUDITED_TABLES[type(subject)].name(subject), {})
        if not entry["who"] and isinstance(subject, Account):
            # Nobody is signed in yet while somebody signs in or up.
            entry |= {"who": subject.username, "account_id": subject.id}
        owner = getattr(row, "account", None) if subject is row else None
        if owner is not None and owner.id != entry["account_id"]:
            entry["detail"]["account"] = owner.username
        entry = merged.setdefault((action, entry["object_id"]), entry)
        entry["detail"] |= detail
    if merged:
        session.execute(sa.insert(AuditEntry), list(merged.values()))


def record_event(session: Session, action: str, kind: str, key: str, name: str, **detail: Any) -> None:
    """Record an event that changes no row, such as a failed sign-in; does nothing without an actor."""
    actor = _ACTOR.get()
    if actor is not None:
        session.execute(sa.insert(AuditEntry), [_entry(actor, action, kind, key, name, detail)])


def _entry(actor: Actor, action: str, kind: str, key: str, name: str, detail: dict[str, Any]) -> dict[str, Any]:
    account = actor.account()
    return {
        "at": actor.at,
        "interface": actor.interface,
        "account_id": account.id if account is not None else None,
        "who": account.username if account is not None else actor.user[:100],
        "action": action,
        "object_kind": kind,
        "object_id": key[:64],
        "object_name": name[:300],
        "detail": detail,
        "address": actor.address[:64],
    }


def _collect(session: Session, _: UOWTransaction) -> None:
    changes: list[tuple[Base, str, dict[str, Any]]] = session.info["audit"]
    created: set[Base] = session.info["audit_made"]
    for row in session.new:
        created.add(row)
        table = AUDITED_TABLES.get(type(row))
        if table is not None and table.created:
            changes.append((row, table.created, {name: getattr(row, name) for name in table.detail}))
    for row in session.deleted:
        table = AUDITED_TABLES.get(type(row))
        if table is not None and table.deleted:
            changes.append((row, table.deleted, {}))
    for row in session.dirty:
        # A row that this transaction created is recorded as created only.
        if row not in created and type(row) in AUDITED_TABLES:
            changes.extend(_changes(row, AUDITED_TABLES[type(row)]))


def _changes(row: Base, table: AuditedTable) -> Iterator[tuple[Base, str, dict[str, Any]]]:
    state = sa.inspect(row)
    for column, action_of in table.changed.items():
        history = state.attrs[column].history
        if not history.has_changes():
            continue
        old, new = (history.deleted or [None])[0], (history.added or [None])[0]
        action = action_of if isinstance(action_of, str) else action_of(old, new)
        if action:
            detail = {name: getattr(row, name) for name in table.detail}
            if column in table.values:
                detail[column] = [old, new]
            if column == "submission_webhook" and new:
                # The part after the host may be a secret.
                detail["host"] = urlsplit(str(new)).hostname
            yield row, action, detail


def _key(row: Base) -> str:
    identity = sa.inspect(row).identity
    return str(identity[0]) if identity else ""
