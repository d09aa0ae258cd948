"""Upload of a pickle: receive the file, show its check, and run it."""

from pathlib import Path

from anyio import CapacityLimiter
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from predictd.db.model_queries import get_model
from predictd.db.models import Model
from predictd.domain.findings import Level, verdict
from predictd.http.services import Services
from predictd.uploads.incoming import UploadAuth, UploadKind, discard_upload, receive_file
from predictd.uploads.upload_check import check_upload
from predictd.web.dispatch import page_route
from predictd.web.forms import file_route, form_route
from predictd.web.request import PageRequest
from predictd.web.responses import secured

SOURCE = "web"
# The check of a large pickle takes seconds of CPU time.
MAX_CONCURRENT_CHECKS = 2


def upload_routes(services: Services) -> list[Route]:
    """Return the routes of these pages."""
    limiter = CapacityLimiter(MAX_CONCURRENT_CHECKS)
    max_bytes = services.settings.max_pickle_bytes
    return [
        page_route(services, "/models/{id}/upload", show_upload),
        file_route(services, "/models/{id}/upload", receive_upload, show_upload, max_bytes),
        form_route(services, "/models/{id}/upload/begin", request_upload_url),
        page_route(services, "/models/{id}/upload/{filename}", show_check, limiter),
        form_route(services, "/models/{id}/upload/{filename}", show_check, show_upload, limiter),
        form_route(services, "/models/{id}/upload/{filename}/run", run_upload, show_upload, limiter),
        form_route(services, "/models/{id}/upload/{filename}/discard", discard_file, show_upload),
    ]


def show_upload(request: PageRequest) -> Response:
    """Show the form for the file."""
    return request.render(
        "upload.html",
        model=_model(request),
        max_mb=request.services.settings.max_pickle_mb,
        address=request.base_url,
    )


def request_upload_url(request: PageRequest) -> Response:
    """Return a unique filename and the URL to PUT the file to, as JSON."""
    auth = _upload_auth(request, request.form.get("filename", ""))
    return secured(JSONResponse({"filename": auth.filename, "url": auth.url}))


def receive_upload(request: PageRequest, file: Path, filename: str) -> Response:
    """Receive the file with the form, for browsers without scripts, and redirect to its check."""
    auth = _upload_auth(request, filename)
    with request.write() as session:
        quotas = request.services.settings.quotas
        receive_file(session, request.services.storage, request.account, auth.filename, file, request.now, quotas)
    return request.redirect(f"/models/{request.path_param('id')}/upload/{auth.filename}")


def show_check(request: PageRequest) -> Response:
    """Show the check of an uploaded file, and the runtimes and data versions to run it with."""
    model, filename, settings = _model(request), request.path_param("filename"), request.services.settings
    check = check_upload(
        request.session,
        request.services.storage,
        request.account,
        filename,
        model_id=model.id,
        runtime=request.form.get("runtime") or None,
        data_version=request.form.get("version") or None,
        runtimes_home=settings.runtimes_home,
        max_bytes=settings.max_pickle_bytes,
        now=request.now,
    )
    return request.render(
        "upload_check.html",
        model=model,
        filename=filename,
        check=check,
        failed=check.of_level(Level.FAIL),
        warned=check.of_level(Level.WARN),
        passed=check.of_level(Level.PASS),
        verdict=verdict(check.findings, check.runtime.name) if check.findings is not None else "",
        label=request.form.get("label", ""),
    )


def run_upload(request: PageRequest) -> Response:
    """Register the uploaded file, start its validation, and redirect to the run."""
    run = request.uploads.register(
        request.account,
        request.path_param("filename"),
        request.now,
        model_id=request.path_param("id"),
        runtime=request.form.get("runtime"),
        data_version=request.form.get("version"),
        source=SOURCE,
        label=request.form.get("label"),
    )
    return request.redirect(f"/runs/{run.id}")


def discard_file(request: PageRequest) -> Response:
    """Delete the uploaded file."""
    model = _model(request)
    with request.write() as session:
        discard_upload(session, request.services.storage, request.account, request.path_param("filename"))
    return request.redirect(f"/models/{model.id}", "discarded")


def _model(request: PageRequest) -> Model:
    return get_model(request.session, request.account, request.path_param("id"))


def _upload_auth(request: PageRequest, filename: str) -> UploadAuth:
    model_id = request.path_param("id")
    return request.uploads.authorize(request.account, UploadKind.PICKLE, filename, model_id, request.now)
