"""Uploading a pickle: a page whose script sends the file to a presigned address, then goes on to its run."""

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from predictd.api.app import Services
from predictd.db.catalogue import list_data_versions, list_runtimes
from predictd.db.models import get_model
from predictd.domain.names import CLASSIC
from predictd.engine.hashes import hash_pickle
from predictd.engine.registration import register_pickle
from predictd.engine.slots import refuse_webhook
from predictd.engine.uploads import UploadKind, authorise_upload
from predictd.web.headers import secured
from predictd.web.visits import Visit, form_route, page_route

SOURCE = "web"


def upload_routes(services: Services) -> list[Route]:
    """The routes of this page."""
    return [
        page_route(services, "/models/{id}/upload", show_upload),
        form_route(services, "/models/{id}/upload/begin", begin),
        form_route(services, "/models/{id}/upload/finish", finish),
    ]


def show_upload(visit: Visit) -> Response:
    """The form."""
    model = get_model(visit.session, visit.account, visit.part("id"))
    return visit.page(
        "upload.html",
        model=model,
        runtimes=list_runtimes(visit.session),
        versions=list_data_versions(visit.session),
        most_mb=visit.services.settings.max_pickle_mb,
        address=visit.services.settings.public_url.rstrip("/") or str(visit.request.base_url).rstrip("/"),
    )


def begin(visit: Visit) -> Response:
    """A filename and the address to PUT the bytes to."""
    settings = visit.services.settings
    with visit.write() as session:
        model = get_model(session, visit.account, visit.part("id"))
        refuse_webhook(model)
        auth = authorise_upload(
            session,
            visit.storage,
            visit.account,
            UploadKind.PICKLE,
            visit.form.get("filename", ""),
            model.id,
            now=visit.now,
            max_bytes=settings.max_pickle_bytes,
            url_seconds=settings.url_seconds,
        )
    return secured(JSONResponse({"filename": auth.filename, "url": auth.url}))


def finish(visit: Visit) -> Response:
    """Register what arrived and start its validation; answers the address of the run."""
    with visit.write() as session:
        pickle = register_pickle(
            session,
            visit.services.storage,
            visit.account,
            visit.form.get("filename", ""),
            tournament=CLASSIC,
            model_id=visit.part("id"),
            runtime=visit.form.get("runtime") or None,
            data_version=visit.form.get("version") or None,
            source=SOURCE,
            now=visit.now,
        )
        pickle.label = visit.form.get("label", "").strip()[:200] or None
        session.flush()
        run_id = pickle.triggers[0].id
    visit.services.wake()
    hash_pickle(visit.services.database, visit.services.storage, pickle)
    return secured(JSONResponse({"location": f"/runs/{run_id}"}))
