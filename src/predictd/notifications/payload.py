"""What a notification says: the `data` of a webhook's body, and what an e-mail is written from.

Texts may quote what a model or its owner wrote; they are plain, and whoever shows them escapes them.
"""

from typing import Any

from sqlalchemy.orm import Session

from predictd.db.models import Account, Diagnostics, Model, Pickle, Round, Trigger
from predictd.db.notice_tables import Notification
from predictd.domain.notices import Event

Facts = dict[str, Any]
_FIGURES = (
    "validationCorrMean",
    "validationCorrSharpe",
    "validationMmcMean",
    "validationMaxDrawdown",
    "validationFeatureNeutralCorrMean",
)


def facts_of(session: Session, notification: Notification, address: str) -> Facts | None:
    """The facts of now; None where what happened is gone. `address` is that of the server."""
    if notification.event == Event.ROUND_OPEN:
        round_ = session.get(Round, notification.round_id)
        return {"round": _round(round_, address)} if round_ is not None else None
    trigger = session.get(Trigger, notification.trigger_id)
    account = session.get(Account, notification.account_id)
    if trigger is None or account is None:
        return None
    diagnostics = session.get(Diagnostics, trigger.diagnostics_id) if trigger.diagnostics_id else None
    reason = trigger.statuses[-1].reason
    failure = reason.failure
    notes = [note.message for note in reason.notes]
    facts: Facts = {
        "account": account.username,
        "run": {
            "id": trigger.id,
            "type": trigger.type,
            "status": trigger.state,
            "code": trigger.failure_code,
            "reason": reason.describe() if failure is None else failure.sentence,
            "remedy": None if failure is None else " ".join([failure.remedy, *notes]),
            "url": f"{address}/runs/{trigger.id}",
        },
        "pickle": _pickle(trigger.pickle),
        "models": _models(session, trigger.pickle, diagnostics),
        "round": _round(trigger.round, address) if trigger.round is not None else None,
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


def name_of(facts: Facts) -> str:
    """What a person calls the run: its models, or its file."""
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
    """Those that the pickle is assigned to, else the one that it or the file was uploaded for."""
    models = list(pickle.assigned_models) if pickle is not None else []
    uploaded_for = pickle.model_id if pickle is not None else diagnostics.model_id if diagnostics is not None else None
    if not models and uploaded_for is not None:
        model = session.get(Model, uploaded_for)
        models = [model] if model is not None else []
    return [{"id": model.id, "name": model.name} for model in models]
