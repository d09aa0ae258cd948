"""The queue: what waits, what runs where, what the platform failed at; cancelling and putting back."""

from collections.abc import Iterable

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from predictd.admin.run_actions import put_back_run
from predictd.api.app import Services
from predictd.db.models import Account, Diagnostics, Model, Trigger
from predictd.db.queue_stats import Place, list_errors, list_running, list_waiting
from predictd.domain.states import TriggerState
from predictd.uploads.cancellation import cancel_run
from predictd.web.admin.permissions import admin_form, admin_page, check_confirmed
from predictd.web.visits import Visit

MOST_RUNNING = 200
MOST_WAITING = 50
MOST_ERRORS = 30


def queue_routes(services: Services) -> list[Route]:
    """The routes of this page."""
    return [
        admin_page(services, "/admin/queue", show_queue),
        admin_form(services, "/admin/queue/{id}/cancel", cancel, show_queue),
        admin_form(services, "/admin/queue/{id}/requeue", requeue, show_queue),
    ]


def show_queue(visit: Visit) -> Response:
    """The whole page."""
    session = visit.session
    running = list_running(session, MOST_RUNNING)
    waiting = session.scalars(
        sa.select(Trigger)
        .where(Trigger.state == TriggerState.PENDING)
        .order_by(Trigger.priority, Trigger.rank, Trigger.inserted_at, Trigger.place)
        .limit(MOST_WAITING)
        .options(sa.orm.joinedload(Trigger.pickle), sa.orm.joinedload(Trigger.round))
    ).all()
    errors = list_errors(session, MOST_ERRORS)
    shown = [*running, *waiting, *(run for _, run in errors)]
    vitals = visit.services.vitals
    return visit.page(
        "admin/queue.html",
        counts=list_waiting(session, visit.now),
        running=[(run, Place.of(run.lease_owner)) for run in running],
        waiting=waiting,
        errors=errors,
        owners=_owners(session, shown),
        models=_models(session, shown),
        own=vitals.server_id if vitals is not None else "",
        workers=vitals.workers if vitals is not None else 0,
    )


def cancel(visit: Visit) -> Response:
    """End a run."""
    check_confirmed(visit)
    with visit.write() as session:
        cancel_run(session, visit.part("id"), visit.now)
    return visit.go("/admin/queue", "canceled")


def requeue(visit: Visit) -> Response:
    """Queue a run again."""
    with visit.write() as session:
        put_back_run(session, visit.part("id"), visit.now)
    visit.services.wake()
    return visit.go("/admin/queue", "requeued")


def _owners(session: sa.orm.Session, runs: Iterable[Trigger]) -> dict[str, Account]:
    """The account of each run."""
    of_run = {run.id: run.pickle.account_id for run in runs if run.pickle is not None}
    of_file = {run.diagnostics_id: run.id for run in runs if run.pickle is None and run.diagnostics_id}
    rows = session.execute(sa.select(Diagnostics.id, Diagnostics.account_id).where(Diagnostics.id.in_(list(of_file))))
    of_run |= {of_file[row[0]]: row[1] for row in rows}
    accounts = {one.id: one for one in session.scalars(sa.select(Account).where(Account.id.in_(set(of_run.values()))))}
    return {run_id: accounts[account_id] for run_id, account_id in of_run.items() if account_id in accounts}


def _models(session: sa.orm.Session, runs: Iterable[Trigger]) -> dict[str, str]:
    """The name of the model that the pickle of each run was uploaded for, by the id of the model."""
    ids = {run.pickle.model_id for run in runs if run.pickle is not None and run.pickle.model_id}
    rows = session.execute(sa.select(Model.id, Model.name).where(Model.id.in_(ids)))
    return {row[0]: row[1] for row in rows}
