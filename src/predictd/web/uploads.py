"""Uploading a pickle: it is sent, looked into, and run once its owner has seen what was found."""

from pathlib import Path

from anyio import CapacityLimiter
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.model_queries import get_model
from predictd.db.models import Model
from predictd.domain.findings import Level, verdict
from predictd.domain.names import CLASSIC
from predictd.uploads.assignment import refuse_webhook
from predictd.uploads.incoming import UploadAuth, UploadKind, authorise_upload, discard_upload, receive_file
from predictd.uploads.quotas import check_queue, room_for_upload
from predictd.uploads.registration import register_pickle
from predictd.uploads.upload_check import check_upload
from predictd.web.headers import secured
from predictd.web.visits import Visit, file_route, form_route, page_route
from predictd.worker.hashes import hash_pickle

SOURCE = "web"
# Looking into large pickles takes seconds of a processor.
MOST_CHECKED_AT_A_TIME = 2


def upload_routes(services: Services) -> list[Route]:
    """The routes of these pages."""
    few = CapacityLimiter(MOST_CHECKED_AT_A_TIME)
    most_bytes = services.settings.max_pickle_bytes
    return [
        page_route(services, "/models/{id}/upload", show_upload),
        file_route(services, "/models/{id}/upload", receive, show_upload, most_bytes),
        form_route(services, "/models/{id}/upload/begin", begin),
        page_route(services, "/models/{id}/upload/{filename}", show_check, few),
        form_route(services, "/models/{id}/upload/{filename}", show_check, show_upload, few),
        form_route(services, "/models/{id}/upload/{filename}/run", run, show_upload),
        form_route(services, "/models/{id}/upload/{filename}/discard", discard, show_upload),
    ]


def show_upload(visit: Visit) -> Response:
    """The form for the file."""
    return visit.page(
        "upload.html",
        model=_model(visit),
        most_mb=visit.services.settings.max_pickle_mb,
        address=visit.services.settings.public_url.rstrip("/") or str(visit.request.base_url).rstrip("/"),
    )


def begin(visit: Visit) -> Response:
    """A filename and the address to PUT the bytes to."""
    auth = _authorised(visit, visit.form.get("filename", ""))
    return secured(JSONResponse({"filename": auth.filename, "url": auth.url}))


def receive(visit: Visit, file: Path, filename: str) -> Response:
    """The same in one step, for browsers without scripts: the form with the file; on to its check."""
    auth = _authorised(visit, filename)
    with visit.write() as session:
        quotas = visit.services.settings.quotas
        receive_file(session, visit.services.storage, visit.account, auth.filename, file, visit.now, quotas)
    return visit.go(f"/models/{visit.part('id')}/upload/{auth.filename}")


def show_check(visit: Visit) -> Response:
    """What the file seems to be, and what to run it with; nothing is made of it yet."""
    model, filename, settings = _model(visit), visit.part("filename"), visit.services.settings
    check = check_upload(
        visit.session,
        visit.services.storage,
        visit.account,
        filename,
        model_id=model.id,
        runtime=visit.form.get("runtime") or None,
        data_version=visit.form.get("version") or None,
        runtimes_home=settings.runtimes_home,
        most_bytes=settings.max_pickle_bytes,
        now=visit.now,
    )
    return visit.page(
        "upload_check.html",
        model=model,
        filename=filename,
        check=check,
        failed=check.of_level(Level.FAIL),
        warned=check.of_level(Level.WARN),
        passed=check.of_level(Level.PASS),
        verdict=verdict(check.findings, check.runtime.name) if check.findings is not None else "",
        label=visit.form.get("label", ""),
    )


def run(visit: Visit) -> Response:
    """Register what arrived and start its validation; on to the run."""
    quotas = visit.services.settings.quotas
    with visit.write() as session:
        check_queue(session, visit.services.storage, visit.account, quotas)
        pickle = register_pickle(
            session,
            visit.services.storage,
            visit.account,
            visit.part("filename"),
            tournament=CLASSIC,
            model_id=visit.part("id"),
            runtime=visit.form.get("runtime") or None,
            data_version=visit.form.get("version") or None,
            source=SOURCE,
            now=visit.now,
            quotas=quotas,
        )
        pickle.label = visit.form.get("label", "").strip()[:200] or None
        session.flush()
        run_id = pickle.triggers[0].id
    visit.services.wake()
    hash_pickle(visit.services.database, visit.services.storage, pickle)
    return visit.go(f"/runs/{run_id}")


def discard(visit: Visit) -> Response:
    """Forget what arrived."""
    model = _model(visit)
    with visit.write() as session:
        discard_upload(session, visit.services.storage, visit.account, visit.part("filename"))
    return visit.go(f"/models/{model.id}", "discarded")


def _model(visit: Visit) -> Model:
    return get_model(visit.session, visit.account, visit.part("id"))


def _authorised(visit: Visit, filename: str) -> UploadAuth:
    settings = visit.services.settings
    with visit.write() as session:
        model = get_model(session, visit.account, visit.part("id"))
        refuse_webhook(model)
        room = room_for_upload(
            session,
            visit.storage,
            visit.account,
            UploadKind.PICKLE,
            settings.quotas,
            visit.now,
            max_bytes=settings.max_pickle_bytes,
        )
        return authorise_upload(
            session,
            visit.storage,
            visit.account,
            UploadKind.PICKLE,
            filename,
            model.id,
            now=visit.now,
            max_bytes=room,
            url_seconds=settings.url_seconds,
        )
