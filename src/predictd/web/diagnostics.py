"""Diagnostics: the list, the report of one or several, and exports."""

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

from predictd.db.models import Diagnostics, Model, Pickle
from predictd.domain.errors import ConflictError, NotFoundError
from predictd.domain.states import DiagnosticsStatus
from predictd.http.services import Services
from predictd.reports import Model as ReportModel
from predictd.reports import Report, page
from predictd.reports.page import content_of
from predictd.scoring.metrics import Diagnostics as Metrics
from predictd.scoring.metrics import compare
from predictd.uploads.diagnostics import description_of, status_of
from predictd.web.dispatch import download_route, page_route
from predictd.web.forms import form_route
from predictd.web.ratings import ratings_of
from predictd.web.request import PageRequest
from predictd.web.responses import attachment
from predictd.web.server_sent_events import cursor_of

MAX_COMPARED = 6
MAX_LISTED = 200


def diagnostics_routes(services: Services) -> list[Route]:
    """Return the routes of these pages."""
    return [
        page_route(services, "/diagnostics", show_diagnostics_list),
        page_route(services, "/diagnostics/compare", show_comparison),
        page_route(services, "/diagnostics/{id}", show_diagnostics),
        download_route(services, "/diagnostics/{id}/json", export_json),
        download_route(services, "/diagnostics/{id}/csv", export_csv),
        download_route(services, "/diagnostics/{id}/html", export_html),
        form_route(services, "/diagnostics/{id}/delete", delete_one, show_diagnostics),
    ]


def show_diagnostics_list(request: PageRequest) -> Response:
    """Show the diagnostics of the account, newest first."""
    cursor = cursor_of(request.session)
    rows = request.session.scalars(
        sa.select(Diagnostics)
        .where(Diagnostics.account_id == request.account.id)
        .order_by(Diagnostics.inserted_at.desc())
        .limit(MAX_LISTED)
    ).all()
    return request.render(
        "diagnostics_list.html",
        rows=[(row, name_of(request, row), status_of(row), _model(request, row)) for row in rows],
        cursor=cursor,
    )


def show_diagnostics(request: PageRequest) -> Response:
    """Show the report, or the progress if the diagnostics are not finished."""
    diagnostics = _find(request, request.path_param("id"))
    status = status_of(diagnostics)
    cursor = cursor_of(request.session)
    report = _report(request, [diagnostics]) if status is DiagnosticsStatus.DONE and diagnostics.figures else None
    if report is not None:
        [model] = report.models
        ratings = ratings_of(request.session, diagnostics, model.diagnostics)
        report = replace(report, models=(replace(model, ratings=ratings),))
    return request.render(
        "diagnostics.html",
        diagnostics=diagnostics,
        name=name_of(request, diagnostics),
        model=_model(request, diagnostics),
        status=status,
        description=description_of(diagnostics) or "",
        # The report escapes all values that it shows.
        content=Markup(content_of(report)) if report is not None else "",  # noqa: S704
        data=report.data if report is not None else "",
        cursor=cursor,
    )


def show_comparison(request: PageRequest) -> Response:
    """Compare diagnostics with the first of the selection."""
    ids = list(dict.fromkeys(request.http.query_params.getlist("id")))
    if not 2 <= len(ids) <= MAX_COMPARED:
        raise ConflictError(f"{len(ids)} diagnostics are selected. Select 2 to {MAX_COMPARED} to compare.")
    selected = [_find(request, diagnostics_id) for diagnostics_id in ids]
    pending = [name_of(request, diagnostics) for diagnostics in selected if not diagnostics.figures]
    if pending:
        raise ConflictError(f"The diagnostics of {', '.join(pending)} are not finished. Compare them later.")
    report = _report(request, selected)
    return request.render("comparison.html", report=report, content=Markup(content_of(report)))  # noqa: S704


def export_json(request: PageRequest) -> Response:
    """Return all metrics as JSON, like `predictd diagnostics --json`."""
    diagnostics, report = _find_finished(request)
    content = json.dumps(report.wire(), indent=2)
    return attachment(Response(content, media_type="application/json"), f"{_stem(diagnostics)}.json")


def export_csv(request: PageRequest) -> Response:
    """Return the scores of each era as CSV."""
    diagnostics, report = _find_finished(request)
    eras = report.models[0].diagnostics.wire()["perEraDiagnostics"]
    text = io.StringIO()
    if eras:
        writer = csv.DictWriter(text, fieldnames=list(eras[0]))
        writer.writeheader()
        writer.writerows(eras)
    return attachment(PlainTextResponse(text.getvalue(), media_type="text/csv"), f"{_stem(diagnostics)}.csv")


def export_html(request: PageRequest) -> Response:
    """Return the report as one HTML file."""
    diagnostics, report = _find_finished(request)
    return attachment(HTMLResponse(page(report)), f"{_stem(diagnostics)}.html")


def delete_one(request: PageRequest) -> Response:
    """Delete the diagnostics and stop their run."""
    request.uploads.delete_diagnostics(request.account, [request.path_param("id")], request.now)
    return request.redirect("/diagnostics", "diagnostics-deleted")


def name_of(request: PageRequest, diagnostics: Diagnostics) -> str:
    """Return the display name: the label of the pickle or the filename, after the name of the model."""
    pickle = request.session.get(Pickle, diagnostics.pickle_id) if diagnostics.pickle_id else None
    model = _model(request, diagnostics)
    name = (pickle.label if pickle is not None else None) or diagnostics.filename
    return f"{model.name}: {name}" if model is not None else name


def _model(request: PageRequest, diagnostics: Diagnostics) -> Model | None:
    return request.session.get(Model, diagnostics.model_id) if diagnostics.model_id else None


def _find(request: PageRequest, diagnostics_id: str) -> Diagnostics:
    diagnostics = request.session.get(Diagnostics, diagnostics_id, options=[undefer(Diagnostics.figures)])
    if diagnostics is None or diagnostics.account_id != request.account.id:
        raise NotFoundError("Diagnostics not found.")
    return diagnostics


def _find_finished(request: PageRequest) -> tuple[Diagnostics, Report]:
    diagnostics = _find(request, request.path_param("id"))
    if not diagnostics.figures:
        raise NotFoundError("The diagnostics are not finished. Try again after they finish.")
    return diagnostics, _report(request, [diagnostics])


def _report(request: PageRequest, selected: Sequence[Diagnostics]) -> Report:
    models = tuple(
        ReportModel(
            name=name_of(request, diagnostics),
            diagnostics=Metrics.from_wire(diagnostics.figures or {}, suspicion=diagnostics.message),
        )
        for diagnostics in selected
    )
    versions = dict.fromkeys(row.data_version.name for row in selected if row.data_version is not None)
    comparisons = tuple(
        compare(models[0].diagnostics, other.diagnostics, names=(models[0].name, other.name)) for other in models[1:]
    )
    return Report(models=models, comparisons=comparisons, data=", ".join(versions))


def _stem(diagnostics: Diagnostics) -> str:
    return f"diagnostics-{diagnostics.filename.rpartition('.')[0]}"
