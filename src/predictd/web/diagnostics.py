"""Diagnostics: which there are, the charts and figures of one or several, and their export."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa
from markupsafe import Markup
from sqlalchemy.orm import undefer
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.models import Diagnostics, Model, Pickle
from predictd.domain.errors import ConflictError, NotFoundError
from predictd.domain.states import DiagnosticsStatus
from predictd.reports import Model as Measured
from predictd.reports import Report, page
from predictd.reports.page import content_of
from predictd.scoring.metrics import Diagnostics as Figures
from predictd.scoring.metrics import compare
from predictd.uploads.diagnostics import delete_diagnostics, description_of, status_of
from predictd.web.downloads import attachment
from predictd.web.events import cursor_of
from predictd.web.ratings import ratings_of
from predictd.web.visits import Visit, download_route, form_route, page_route

MOST_COMPARED = 6
MOST_LISTED = 200


def diagnostics_routes(services: Services) -> list[Route]:
    """The routes of these pages."""
    return [
        page_route(services, "/diagnostics", show_all),
        page_route(services, "/diagnostics/compare", show_comparison),
        page_route(services, "/diagnostics/{id}", show_one),
        download_route(services, "/diagnostics/{id}/json", export_json),
        download_route(services, "/diagnostics/{id}/csv", export_csv),
        download_route(services, "/diagnostics/{id}/html", export_html),
        form_route(services, "/diagnostics/{id}/delete", delete, show_one),
    ]


def show_all(visit: Visit) -> Response:
    """All of the account, newest first, to open one or to compare several."""
    cursor = cursor_of(visit.session)
    found = visit.session.scalars(
        sa.select(Diagnostics)
        .where(Diagnostics.account_id == visit.account.id)
        .order_by(Diagnostics.inserted_at.desc())
        .limit(MOST_LISTED)
    ).all()
    rows = [(one, name_of(visit, one), status_of(one), _model(visit, one)) for one in found]
    return visit.page("diagnostics_list.html", rows=rows, cursor=cursor)


def show_one(visit: Visit) -> Response:
    """Charts and figures, or how far they are."""
    found = _found(visit, visit.part("id"))
    status = status_of(found)
    cursor = cursor_of(visit.session)
    report = _report(visit, [found]) if status is DiagnosticsStatus.DONE and found.figures else None
    if report is not None:
        [model] = report.models
        report = replace(report, models=(replace(model, ratings=ratings_of(visit.session, found, model.diagnostics)),))
    return visit.page(
        "diagnostics.html",
        diagnostics=found,
        name=name_of(visit, found),
        model=_model(visit, found),
        status=status,
        told=description_of(found) or "",
        # The report escapes whatever is not its own.
        content=Markup(content_of(report)) if report is not None else "",  # noqa: S704
        data=report.data if report is not None else "",
        cursor=cursor,
    )


def show_comparison(visit: Visit) -> Response:
    """Several side by side, the first of which the others are compared with."""
    ids = list(dict.fromkeys(visit.request.query_params.getlist("of")))
    if not 2 <= len(ids) <= MOST_COMPARED:
        raise ConflictError(f"{len(ids)} diagnostics are selected. Select 2 to {MOST_COMPARED} to compare.")
    found = [_found(visit, one) for one in ids]
    pending = [name_of(visit, one) for one in found if not one.figures]
    if pending:
        raise ConflictError(f"The diagnostics of {', '.join(pending)} are not finished. Compare them later.")
    report = _report(visit, found)
    return visit.page("comparison.html", report=report, content=Markup(content_of(report)))  # noqa: S704


def export_json(visit: Visit) -> Response:
    """All of it as `predictd diagnostics --json` has it."""
    found, report = _done(visit)
    content = json.dumps(report.wire(), indent=2)
    return attachment(Response(content, media_type="application/json"), f"{_stem(found)}.json")


def export_csv(visit: Visit) -> Response:
    """The scores of each era."""
    found, report = _done(visit)
    eras = report.models[0].diagnostics.wire()["perEraDiagnostics"]
    text = io.StringIO()
    if eras:
        writer = csv.DictWriter(text, fieldnames=list(eras[0]))
        writer.writeheader()
        writer.writerows(eras)
    return attachment(PlainTextResponse(text.getvalue(), media_type="text/csv"), f"{_stem(found)}.csv")


def export_html(visit: Visit) -> Response:
    """The report as one file."""
    found, report = _done(visit)
    return attachment(HTMLResponse(page(report)), f"{_stem(found)}.html")


def delete(visit: Visit) -> Response:
    """Delete them, and stop what runs for them."""
    with visit.write() as session:
        keys = delete_diagnostics(session, visit.account, [visit.part("id")], visit.now)
    for key in keys:
        visit.services.storage.delete(key)
    return visit.go("/diagnostics", "diagnostics-deleted")


def name_of(visit: Visit, diagnostics: Diagnostics) -> str:
    """What to call them: the label of the pickle, else the file, with the model in front."""
    pickle = visit.session.get(Pickle, diagnostics.pickle_id) if diagnostics.pickle_id else None
    model = _model(visit, diagnostics)
    own = (pickle.label if pickle is not None else None) or diagnostics.filename
    return f"{model.name}: {own}" if model is not None else own


def _model(visit: Visit, diagnostics: Diagnostics) -> Model | None:
    return visit.session.get(Model, diagnostics.model_id) if diagnostics.model_id else None


def _found(visit: Visit, key: str) -> Diagnostics:
    found = visit.session.get(Diagnostics, key, options=[undefer(Diagnostics.figures)])
    if found is None or found.account_id != visit.account.id:
        raise NotFoundError("Diagnostics not found.")
    return found


def _done(visit: Visit) -> tuple[Diagnostics, Report]:
    found = _found(visit, visit.part("id"))
    if not found.figures:
        raise NotFoundError("The diagnostics are not finished. Try again after they finish.")
    return found, _report(visit, [found])


def _report(visit: Visit, found: Sequence[Diagnostics]) -> Report:
    models = tuple(
        Measured(
            name=name_of(visit, one),
            diagnostics=Figures.from_wire(one.figures or {}, suspicion=one.message),
        )
        for one in found
    )
    versions = dict.fromkeys(one.data_version.name for one in found if one.data_version is not None)
    comparisons = tuple(
        compare(models[0].diagnostics, other.diagnostics, names=(models[0].name, other.name)) for other in models[1:]
    )
    return Report(models=models, comparisons=comparisons, data=", ".join(versions))


def _stem(diagnostics: Diagnostics) -> str:
    return f"diagnostics-{diagnostics.filename.rpartition('.')[0]}"
