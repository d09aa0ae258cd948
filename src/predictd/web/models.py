"""The models of an account: the table, a model's own page, and what can be done with it."""

from collections.abc import Sequence

import sqlalchemy as sa
from starlette.responses import Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.model_queries import add_model, get_model, page_of_models, rename_model
from predictd.db.models import Model, Pickle, Trigger
from predictd.db.rounds import latest_round, status_of
from predictd.domain.errors import ConflictError
from predictd.domain.names import CLASSIC
from predictd.domain.states import ValidationStatus
from predictd.uploads.assignment import assign, get_pickle, set_webhook, trigger_now, unassign
from predictd.uploads.quotas import check_queue
from predictd.web.events import cursor_of
from predictd.web.overview import overviews, runs_of
from predictd.web.rounds import coming_windows
from predictd.web.visits import Visit, form_route, page_route

LAST_RUNS = 30
MOST_OTHERS = 100
MOST_ROWS = 50
# From so many models on there is a search.
LONG = 12


def model_routes(services: Services) -> list[Route]:
    """The routes of these pages."""
    return [
        page_route(services, "/models", show_models),
        form_route(services, "/models", create, show_models),
        page_route(services, "/models/{id}", show_model),
        *(
            form_route(services, f"/models/{{id}}/{name}", take, show_model)
            for name, take in {
                "trigger": trigger,
                "assign": assign_pickle,
                "unassign": take_off,
                "rename": rename,
                "archive": archive,
                "unarchive": unarchive,
                "webhook": keep_webhook,
                "fallback": keep_fallback,
            }.items()
        ),
    ]


def show_models(visit: Visit) -> Response:
    """The table of the models in use, or of the archived ones."""
    account, at = visit.account, visit.offset
    is_archive = visit.asked("archived") == "yes"
    wanted = visit.asked("q")
    cursor = cursor_of(visit.session)
    found = page_of_models(visit.session, account, archived=is_archive, name=wanted, limit=MOST_ROWS + 1, offset=at)
    counts = visit.session.execute(
        sa.select(Model.archived_at.is_not(None), sa.func.count())
        .where(Model.account_id == account.id)
        .group_by(Model.archived_at.is_not(None))
    )
    in_all = {bool(row[0]): row[1] for row in counts}
    round_ = latest_round(visit.session, CLASSIC, visit.now)
    return visit.page(
        "models.html",
        rows=overviews(visit.session, found[:MOST_ROWS], visit.now),
        is_archive=is_archive,
        wanted=wanted,
        count=in_all.get(is_archive, 0),
        archived_count=in_all.get(True, 0),
        is_long=in_all.get(is_archive, 0) > LONG,
        at=at,
        before=max(at - MOST_ROWS, 0) if at else None,
        after=at + MOST_ROWS if len(found) > MOST_ROWS else None,
        round=round_,
        next=next(iter(coming_windows(visit, 1)), None),
        round_status=status_of(round_, visit.now) if round_ is not None else None,
        name=visit.form.get("name", ""),
        cursor=cursor,
    )


def create(visit: Visit) -> Response:
    """A new slot; the next thing to do is to upload a pickle for it."""
    account = visit.account
    most = visit.services.settings.max_model_slots
    with visit.write() as session:
        model = add_model(session, account, visit.form.get("name", "").strip(), CLASSIC, visit.now, most)
    return visit.go(f"/models/{model.id}/upload")


def show_model(visit: Visit) -> Response:
    """A model: its pickles, its runs, and the forms to change it."""
    model = get_model(visit.session, visit.account, visit.part("id"))
    cursor = cursor_of(visit.session)
    pickles = _pickles(visit, model)
    ids = [one.id for one in pickles]
    runs = runs_of(visit.session, sa.and_(Trigger.pickle_id.in_(ids), Trigger.diagnostics_id.is_(None)), LAST_RUNS)
    others = _others(visit, model, ids)
    return visit.page("model.html", model=model, pickles=pickles, others=others, runs=runs, cursor=cursor)


def trigger(visit: Visit) -> Response:
    """Run the assigned pickle now; on to the run."""
    with visit.write() as session:
        model = get_model(session, visit.account, visit.part("id"))
        if model.pickle_id is None:
            raise ConflictError(f"Model {model.name} has no assigned pickle. Upload or assign a pickle first.")
        pickle = get_pickle(session, visit.account, model.pickle_id)
        check_queue(session, visit.services.storage, visit.account, visit.services.settings.quotas)
        run = trigger_now(session, pickle, visit.now, validation=False, tournament=CLASSIC)
    visit.services.wake()
    return visit.go(f"/runs/{run.id}")


def assign_pickle(visit: Visit) -> Response:
    """Put a validated pickle into the slot."""
    with visit.write() as session:
        model = get_model(session, visit.account, visit.part("id"))
        assign(session, model, get_pickle(session, visit.account, visit.form.get("pickle", "")), visit.now)
    visit.services.wake()
    return visit.go(f"/models/{model.id}", "assigned")


def take_off(visit: Visit) -> Response:
    """Empty the slot."""
    with visit.write() as session:
        model = get_model(session, visit.account, visit.part("id"))
        unassign(session, model)
    return visit.go(f"/models/{model.id}", "unassigned")


def rename(visit: Visit) -> Response:
    """Another name."""
    with visit.write() as session:
        model = get_model(session, visit.account, visit.part("id"))
        rename_model(session, model, visit.form.get("name", "").strip())
    return visit.go(f"/models/{model.id}", "renamed")


def archive(visit: Visit) -> Response:
    """Out of use."""
    with visit.write() as session:
        model = get_model(session, visit.account, visit.part("id"))
        model.archived_at = visit.now
    return visit.go(f"/models/{model.id}", "archived")


def unarchive(visit: Visit) -> Response:
    """In use again."""
    with visit.write() as session:
        model = get_model(session, visit.account, visit.part("id"))
        model.archived_at = None
    return visit.go(f"/models/{model.id}", "unarchived")


def keep_webhook(visit: Visit) -> Response:
    """The address that is called to have the model submitted; empty takes it off."""
    with visit.write() as session:
        model = get_model(session, visit.account, visit.part("id"))
        set_webhook(model, visit.form.get("url", "").strip() or None)
    return visit.go(f"/models/{model.id}", "webhook")


def keep_fallback(visit: Visit) -> Response:
    """Whether the last good pickle runs for a round when the assigned one has failed."""
    with visit.write() as session:
        get_model(session, visit.account, visit.part("id")).fallback = visit.form.get("fallback") == "on"
    return visit.go(f"/models/{visit.part('id')}", "fallback")


def _pickles(visit: Visit, model: Model) -> Sequence[Pickle]:
    """Those uploaded for the model, newest first, and before them one that came from elsewhere."""
    mine = sa.or_(Pickle.model_id == model.id, Pickle.id == model.pickle_id)
    found = visit.session.scalars(
        sa.select(Pickle)
        .where(Pickle.account_id == visit.account.id, mine)
        .order_by(Pickle.inserted_at.desc())
        .options(sa.orm.joinedload(Pickle.runtime), sa.orm.joinedload(Pickle.data_version))
    )
    return found.all()


def _others(visit: Visit, model: Model, ids: Sequence[str]) -> Sequence[Pickle]:
    """Validated pickles of the account that were uploaded for other models, newest first: one may serve several."""
    if model.submission_webhook or model.archived_at:
        return ()
    return visit.session.scalars(
        sa.select(Pickle)
        .where(
            Pickle.account_id == visit.account.id,
            Pickle.validation_status == ValidationStatus.VALIDATED,
            Pickle.id.not_in(ids),
        )
        .order_by(Pickle.inserted_at.desc())
        .limit(MOST_OTHERS)
        .options(sa.orm.joinedload(Pickle.runtime))
    ).all()
