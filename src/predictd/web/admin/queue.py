"""Admin page of the queue: pending and running runs, recent errors, cancel, and requeue."""

from collections.abc import Sequence

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from predictd.admin.run_actions import requeue_run
from predictd.db.models import Account, Model, Run
from predictd.db.queue_stats import WorkerSlot, list_errors, list_pending, list_running
from predictd.domain.states import RunState
from predictd.http.services import Services
from predictd.uploads.cancellation import cancel_run
from predictd.web.admin.permissions import admin_form, admin_page, check_confirmed
from predictd.web.request import PageRequest

MAX_RUNNING = 200
MAX_WAITING = 50
MAX_ERRORS = 30


def queue_routes(services: Services) -> list[Route]:
    """Return the routes of this page."""
    return [
        admin_page(services, "/admin/queue", show_queue),
        admin_form(services, "/admin/queue/{id}/cancel", cancel, show_queue),
        admin_form(services, "/admin/queue/{id}/requeue", requeue, show_queue),
    ]


def show_queue(request: PageRequest) -> Response:
    """Show the queue."""
    session = request.session
    running = list_running(session, MAX_RUNNING)
    pending = session.scalars(
        sa.select(Run)
        .where(Run.state == RunState.PENDING)
        .order_by(Run.priority, Run.rank, Run.inserted_at, Run.position)
        .limit(MAX_WAITING)
        .options(sa.orm.joinedload(Run.pickle), sa.orm.joinedload(Run.round))
    ).all()
    errors = list_errors(session, MAX_ERRORS)
    runs = [*running, *pending, *(run for _, run in errors)]
    vitals = request.services.vitals
    return request.render(
        "admin/queue.html",
        counts=list_pending(session, request.now),
        running=[(run, WorkerSlot.of(run.lease_owner)) for run in running],
        pending=pending,
        errors=errors,
        owners=_owners(session, runs),
        models=_models(session, runs),
        server_id=vitals.server_id if vitals is not None else "",
        workers=vitals.workers if vitals is not None else 0,
    )


def cancel(request: PageRequest) -> Response:
    """Cancel a run."""
    check_confirmed(request)
    with request.write() as session:
        cancel_run(session, request.path_param("id"), request.now)
    return request.redirect("/admin/queue", "canceled")


def requeue(request: PageRequest) -> Response:
    """Requeue a run."""
    with request.write() as session:
        requeue_run(session, request.path_param("id"), request.now)
    request.services.wake()
    return request.redirect("/admin/queue", "requeued")


def _owners(session: sa.orm.Session, runs: Sequence[Run]) -> dict[str, Account]:
    """Return the account of each run, by run."""
    ids = {run.account_id for run in runs if run.account_id}
    accounts = {account.id: account for account in session.scalars(sa.select(Account).where(Account.id.in_(ids)))}
    return {run.id: accounts[run.account_id] for run in runs if run.account_id in accounts}


def _models(session: sa.orm.Session, runs: Sequence[Run]) -> dict[str, str]:
    """Return the names of the models that the pickles of the runs were uploaded for, by model."""
    ids = {run.pickle.model_id for run in runs if run.pickle is not None and run.pickle.model_id}
    rows = session.execute(sa.select(Model.id, Model.name).where(Model.id.in_(ids)))
    return {row[0]: row[1] for row in rows}
