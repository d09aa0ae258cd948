"""The facts of a notification: the `data` of a webhook, and the input of emails; signatures of webhooks.

Texts may quote a model or its owner; they are plain text that templates must escape.
"""

import base64
import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from predictd.db.models import Account, Diagnostics, Model, Pickle, Round, Run
from predictd.db.notification_tables import Notification
from predictd.domain.notification_types import Event

Facts = dict[str, Any]
USER_AGENT = "predictd-webhooks"
_FIGURES = (
    "validationCorrMean",
    "validationCorrSharpe",
    "validationMmcMean",
    "validationMaxDrawdown",
    "validationFeatureNeutralCorrMean",
)


def notification_facts(session: Session, notification: Notification, address: str) -> Facts | None:
    """Return the current facts; None if the object of the event was deleted. `address` is the URL of the server."""
    if notification.event == Event.ROUND_OPEN:
        round_ = session.get(Round, notification.round_id)
        return {"round": _round(round_, address)} if round_ is not None else None
    run = session.get(Run, notification.run_id)
    account = session.get(Account, notification.account_id)
    if run is None or account is None:
        return None
    diagnostics = session.get(Diagnostics, run.diagnostics_id) if run.diagnostics_id else None
    reason = run.statuses[-1].reason
    failure = reason.failure
    notes = [note.message for note in reason.notes]
    facts: Facts = {
        "account": account.username,
        "run": {
            "id": run.id,
            "type": run.type,
            "status": run.state,
            "code": run.failure_code,
            "reason": reason.describe() if failure is None else failure.sentence,
            "remedy": None if failure is None else " ".join([failure.remedy, *notes]),
            "url": f"{address}/runs/{run.id}",
        },
        "pickle": _pickle(run.pickle),
        "models": _models(session, run.pickle, diagnostics),
        "round": _round(run.round, address) if run.round is not None else None,
    }
    if diagnostics is not None:
        figures = diagnostics.figures or {}
        facts["diagnostics"] = {
            "id": diagnostics.id,
            "filename": diagnostics.filename,
            "message": diagnostics.message,
            "figures": {name: figures[name] for name in _FIGURES if figures.get(name) is not None},
            "url": f"{address}/diagnostics/{diagnostics.id}",
        }
    return facts


def display_name(facts: Facts) -> str:
    """Return the display name of the run: its models, or its file."""
    names = [str(model["name"]) for model in facts.get("models") or ()]
    if names:
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    pickle, diagnostics = facts.get("pickle") or {}, facts.get("diagnostics") or {}
    return str(pickle.get("label") or pickle.get("filename") or diagnostics.get("filename") or "a run")


def _round(round_: Round, address: str) -> Facts:
    return {
        "number": round_.number,
        "tournament": round_.tournament,
        "openTime": f"{round_.open_time:%Y-%m-%dT%H:%M:%SZ}",
        "closeTime": f"{round_.close_time:%Y-%m-%dT%H:%M:%SZ}",
        "url": f"{address}/rounds/{round_.number}",
    }


def _pickle(pickle: Pickle | None) -> Facts | None:
    return None if pickle is None else {"id": pickle.id, "filename": pickle.filename, "label": pickle.label}


def _models(session: Session, pickle: Pickle | None, diagnostics: Diagnostics | None) -> list[Facts]:
    """Return the models that the pickle is assigned to, or the one that the file was uploaded for."""
    models = list(pickle.assigned_models) if pickle is not None else []
    uploaded_for = pickle.model_id if pickle is not None else diagnostics.model_id if diagnostics is not None else None
    if not models and uploaded_for is not None:
        model = session.get(Model, uploaded_for)
        models = [model] if model is not None else []
    return [{"id": model.id, "name": model.name} for model in models]


def body_of(event: Event, facts: Facts, happened_at: datetime) -> bytes:
    """Return the JSON body: `type`, `timestamp` of the event, and `data`. It is the same for each attempt."""
    content = {"type": event.type, "timestamp": f"{happened_at:%Y-%m-%dT%H:%M:%SZ}", "data": facts}
    return json.dumps(content, separators=(",", ":")).encode()


def signed_headers(secret: str, message_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """Return the headers of an attempt (standardwebhooks.com); receivers deduplicate by the constant `webhook-id`."""
    timestamp = str(int(now.timestamp()))
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{sign(secret, message_id, timestamp, body)}",
    }


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """Return the HMAC-SHA256 of `ID.TIMESTAMP.BODY` in base64, under the bytes that follow `whsec_` in the secret."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
