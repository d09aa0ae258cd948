"""Diagnostics of uploaded files. The file is kept; its figures are null until they are computed."""

from typing import Any

from ariadne import MutationType, QueryType
from sqlalchemy import delete, select

from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.api.graphql.resolvers.ownership import own_rows
from predictd.api.graphql.resolvers.pickles import upload_auth
from predictd.db.models import get_model
from predictd.db.tables import Diagnostics
from predictd.domain.errors import NotFoundError
from predictd.domain.names import CLASSIC, check_tournament
from predictd.domain.states import DiagnosticsStatus
from predictd.engine.uploads import UploadKind, take_upload

query = QueryType()
mutation = MutationType()

READ = ("read_submission_info", "upload_submission")
WRITE = "upload_submission"


def diagnostics_object(diagnostics: Diagnostics) -> Object:
    """The type V2Diagnostics."""
    return {
        "id": diagnostics.id,
        "filename": diagnostics.filename,
        "status": diagnostics.status,
        "message": diagnostics.message,
        "tournament": CLASSIC,
        "computePickleUploadId": diagnostics.pickle_id,
        "insertedAt": diagnostics.inserted_at,
        "updatedAt": diagnostics.updated_at,
        "erasMissing": [],
        "perEraDiagnostics": [],
    }


@query.field("diagnostics")
def resolve_diagnostics(
    _: Any,
    info: Info,
    id: str | None = None,
    modelId: str | None = None,
) -> list[Object]:
    """The account's diagnostics, newest first: all, one, or those of a model."""
    context = context_of(info)
    account = context.account(*READ)
    return [diagnostics_object(one) for one in own_rows(context, account, Diagnostics, id, modelId)]


@query.field("diagnosticsUploadAuth")
def resolve_diagnostics_upload_auth(
    _: Any, info: Info, filename: str, tournament: int, modelId: str | None = None
) -> Object:
    """A unique filename and the URL to PUT the validation predictions to."""
    context = context_of(info)
    account = context.account(WRITE)
    check_tournament(tournament)
    if modelId:
        get_model(context.session, account, modelId)
    limit = context.settings.max_submission_bytes
    return upload_auth(context, account, UploadKind.DIAGNOSTICS, filename, modelId, max_bytes=limit)


@mutation.field("createDiagnostics")
def resolve_create_diagnostics(
    _: Any, info: Info, filename: str, tournament: int, modelId: str | None = None
) -> Object:
    """Register an uploaded file of validation predictions."""
    context = context_of(info)
    account = context.account(WRITE)
    check_tournament(tournament)
    with context.write() as session:
        if modelId:
            get_model(session, account, modelId)
        taken = take_upload(session, context.storage, account, UploadKind.DIAGNOSTICS, filename, context.now)
        diagnostics = Diagnostics(
            account_id=account.id,
            model_id=modelId or taken.upload.model_id or None,
            filename=filename,
            storage_key=taken.key,
            status=DiagnosticsStatus.PENDING,
            inserted_at=context.now,
            updated_at=context.now,
        )
        session.add(diagnostics)
        session.flush()
        diagnostics_id = diagnostics.id
    return diagnostics_object(context.load(Diagnostics, diagnostics_id))


@mutation.field("deleteDiagnostics")
def resolve_delete_diagnostics(_: Any, info: Info, v2DiagnosticsIds: list[str | None]) -> str:
    """Delete diagnostics with their files."""
    context = context_of(info)
    account = context.account(WRITE)
    ids = [one for one in v2DiagnosticsIds if one]
    with context.write() as session:
        found = session.scalars(
            select(Diagnostics).where(Diagnostics.account_id == account.id, Diagnostics.id.in_(ids))
        ).all()
        missing = set(ids) - {one.id for one in found}
        if missing:
            raise NotFoundError(f"Diagnostics {', '.join(sorted(missing))[:200]} not found; nothing was deleted.")
        session.execute(delete(Diagnostics).where(Diagnostics.id.in_(ids)))
        keys = [one.storage_key for one in found]
    for key in keys:
        context.storage.delete(key)
    return "true"
