"""The models of an account: the list, the page of a model, and the actions on it."""

from collections.abc import Sequence

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from predictd.db.model_queries import add_model, get_model, rename_model, search_models
from predictd.db.models import Model, Pickle, Run
from predictd.db.rounds import latest_round, status_of
from predictd.domain.names import CLASSIC
from predictd.domain.states import ValidationStatus
from predictd.http.services import Services
from predictd.uploads.assignment import set_webhook
from predictd.web.dispatch import page_route
from predictd.web.forms import form_route
from predictd.web.overview import overviews, runs_of
from predictd.web.request import PageRequest
from predictd.web.rounds import upcoming_windows
from predictd.web.server_sent_events import cursor_of

MAX_RUNS = 30
MAX_ASSIGNABLE = 100
MAX_ROWS = 50
# Longer lists have a search field.
MIN_SEARCHABLE = 12


def model_routes(services: Services) -> list[Route]:
    """Return the routes of these pages."""
    return [
        page_route(services, "/models", show_models),
        form_route(services, "/models", create, show_models),
        page_route(services, "/models/{id}", show_model),
        *(
            form_route(services, f"/models/{{id}}/{action}", handler, show_model)
            for action, handler in {
                "run": run_now,
                "assign": assign_pickle,
                "unassign": unassign_pickle,
                "rename": rename,
                "archive": archive,
                "unarchive": unarchive,
                "webhook": save_webhook,
                "fallback": save_fallback,
            }.items()
        ),
    ]


def show_models(request: PageRequest) -> Response:
    """Show the active models, or the archived models."""
    account, offset = request.account, request.offset
    is_archive = request.query_param("archived") == "yes"
    search = request.query_param("q")
    cursor = cursor_of(request.session)
    models = search_models(
        request.session, account, archived=is_archive, name=search, limit=MAX_ROWS + 1, offset=offset
    )
    count_rows = request.session.execute(
        sa.select(Model.archived_at.is_not(None), sa.func.count())
        .where(Model.account_id == account.id)
        .group_by(Model.archived_at.is_not(None))
    )
    counts = {bool(row[0]): row[1] for row in count_rows}
    round_ = latest_round(request.session, CLASSIC, request.now)
    return request.render(
        "models.html",
        rows=overviews(request.session, models[:MAX_ROWS], request.now),
        is_archive=is_archive,
        search=search,
        count=counts.get(is_archive, 0),
        archived_count=counts.get(True, 0),
        is_searchable=counts.get(is_archive, 0) > MIN_SEARCHABLE,
        offset=offset,
        previous_offset=max(offset - MAX_ROWS, 0) if offset else None,
        next_offset=offset + MAX_ROWS if len(models) > MAX_ROWS else None,
        round=round_,
        next_window=next(iter(upcoming_windows(request, 1)), None),
        round_status=status_of(round_, request.now) if round_ is not None else None,
        name=request.form.get("name", ""),
        cursor=cursor,
    )


def create(request: PageRequest) -> Response:
    """Create a model and redirect to the upload page."""
    account = request.account
    max_models = request.services.settings.max_model_slots
    with request.write() as session:
        model = add_model(session, account, request.form.get("name", "").strip(), CLASSIC, request.now, max_models)
    return request.redirect(f"/models/{model.id}/upload")


def show_model(request: PageRequest) -> Response:
    """Show a model: its pickles, its runs, and the forms to change it."""
    model = get_model(request.session, request.account, request.path_param("id"))
    cursor = cursor_of(request.session)
    pickles = _pickles(request, model)
    pickle_ids = [pickle.id for pickle in pickles]
    runs = runs_of(request.session, sa.and_(Run.pickle_id.in_(pickle_ids), Run.diagnostics_id.is_(None)), MAX_RUNS)
    assignable = _assignable_pickles(request, model, pickle_ids)
    return request.render("model.html", model=model, pickles=pickles, assignable=assignable, runs=runs, cursor=cursor)


def run_now(request: PageRequest) -> Response:
    """Run the assigned pickle now and redirect to the run."""
    run = request.uploads.run(request.account, request.now, model_id=request.path_param("id"))
    return request.redirect(f"/runs/{run.id}")


def assign_pickle(request: PageRequest) -> Response:
    """Assign a validated pickle to the model."""
    model_id = request.path_param("id")
    request.uploads.assign(request.account, model_id, request.form.get("pickle", ""), request.now)
    return request.redirect(f"/models/{model_id}", "assigned")


def unassign_pickle(request: PageRequest) -> Response:
    """Unassign the pickle of the model."""
    model_id = request.path_param("id")
    request.uploads.unassign(request.account, model_id)
    return request.redirect(f"/models/{model_id}", "unassigned")


def rename(request: PageRequest) -> Response:
    """Rename the model."""
    with request.write() as session:
        model = get_model(session, request.account, request.path_param("id"))
        rename_model(session, model, request.form.get("name", "").strip())
    return request.redirect(f"/models/{model.id}", "renamed")


def archive(request: PageRequest) -> Response:
    """Archive the model."""
    with request.write() as session:
        model = get_model(session, request.account, request.path_param("id"))
        model.archived_at = request.now
    return request.redirect(f"/models/{model.id}", "archived")


def unarchive(request: PageRequest) -> Response:
    """Restore the model from the archive."""
    with request.write() as session:
        model = get_model(session, request.account, request.path_param("id"))
        model.archived_at = None
    return request.redirect(f"/models/{model.id}", "unarchived")


def save_webhook(request: PageRequest) -> Response:
    """Set the webhook that is called to request a submission; an empty URL removes it."""
    with request.write() as session:
        model = get_model(session, request.account, request.path_param("id"))
        set_webhook(model, request.form.get("url", "").strip() or None)
    return request.redirect(f"/models/{model.id}", "webhook")


def save_fallback(request: PageRequest) -> Response:
    """Set whether the last pickle that succeeded runs when the assigned pickle fails."""
    with request.write() as session:
        get_model(session, request.account, request.path_param("id")).fallback = request.form.get("fallback") == "on"
    return request.redirect(f"/models/{request.path_param('id')}", "fallback")


def _pickles(request: PageRequest, model: Model) -> Sequence[Pickle]:
    """Return the pickles that were uploaded for the model or are assigned to it, newest first."""
    is_of_model = sa.or_(Pickle.model_id == model.id, Pickle.id == model.pickle_id)
    pickles = request.session.scalars(
        sa.select(Pickle)
        .where(Pickle.account_id == request.account.id, is_of_model)
        .order_by(Pickle.inserted_at.desc())
        .options(sa.orm.joinedload(Pickle.runtime), sa.orm.joinedload(Pickle.data_version))
    )
    return pickles.all()


def _assignable_pickles(request: PageRequest, model: Model, pickle_ids: Sequence[str]) -> Sequence[Pickle]:
    """Return the validated pickles of the account that were uploaded for other models, newest first."""
    if model.submission_webhook or model.archived_at:
        return ()
    return request.session.scalars(
        sa.select(Pickle)
        .where(
            Pickle.account_id == request.account.id,
            Pickle.validation_status == ValidationStatus.VALIDATED,
            Pickle.id.not_in(pickle_ids),
        )
        .order_by(Pickle.inserted_at.desc())
        .limit(MAX_ASSIGNABLE)
        .options(sa.orm.joinedload(Pickle.runtime))
    ).all()
