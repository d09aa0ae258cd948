"""Diagnostics of pickles and of uploaded files."""

from typing import Any

from ariadne import MutationType, QueryType
from sqlalchemy.orm import undefer

from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.api.graphql.resolvers.ownership import own_rows
from predictd.api.graphql.resolvers.pickles import upload_auth
from predictd.db.model_queries import get_model
from predictd.db.models import Diagnostics
from predictd.domain.names import CLASSIC, check_tournament
from predictd.domain.states import DiagnosticsStatus
from predictd.uploads.diagnostics import description_of, diagnose_file, status_of
from predictd.uploads.incoming import UploadKind
from predictd.uploads.quota_checks import check_queue

query = QueryType()
mutation = MutationType()

READ = ("read_submission_info", "upload_submission")
WRITE = "upload_submission"


def diagnostics_object(diagnostics: Diagnostics) -> Object:
    """Return the type V2Diagnostics."""
    status = status_of(diagnostics)
    figures = diagnostics.figures or {"erasMissing": [], "perEraDiagnostics": []}
    return {
        **figures,
        "id": diagnostics.id,
        "filename": diagnostics.filename,
        "status": status,
        "message": description_of(diagnostics) if status is DiagnosticsStatus.FAILED else diagnostics.message,
        "tournament": CLASSIC,
        "computePickleUploadId": diagnostics.pickle_id,
        "processSecs": diagnostics.process_seconds,
        "insertedAt": diagnostics.inserted_at,
        "updatedAt": diagnostics.updated_at,
    }


@query.field("diagnostics")
def resolve_diagnostics(
    _: Any,
    info: Info,
    id: str | None = None,
    modelId: str | None = None,
) -> list[Object]:
    """Return the account's diagnostics, newest first: all, one, or those of a model."""
    context = context_of(info)
    account = context.account(*READ)
    rows = own_rows(context, account, Diagnostics, id, modelId, undefer(Diagnostics.figures))
    return [diagnostics_object(row) for row in rows]


@query.field("diagnosticsUploadAuth")
def resolve_diagnostics_upload_auth(
    _: Any, info: Info, filename: str, tournament: int, modelId: str | None = None
) -> Object:
    """Return a unique filename and the URL to PUT the validation predictions to."""
    context = context_of(info)
    account = context.account(WRITE)
    check_tournament(tournament)
    return upload_auth(context, account, UploadKind.DIAGNOSTICS, filename, modelId)


@mutation.field("createDiagnostics")
def resolve_create_diagnostics(
    _: Any, info: Info, filename: str, tournament: int, modelId: str | None = None
) -> Object:
    """Register an uploaded file of validation predictions and start its diagnostics."""
    context = context_of(info)
    account = context.account(WRITE)
    check_tournament(tournament)
    with context.write() as session:
        if modelId:
            get_model(session, account, modelId)
        check_queue(session, context.storage, account, context.settings.quotas, diagnostics=True)
        diagnostics_id = diagnose_file(
            session, context.storage, account, filename, modelId, context.now, context.settings.quotas
        ).id
    context.services.wake()
    return diagnostics_object(context.load(Diagnostics, diagnostics_id))


@mutation.field("deleteDiagnostics")
def resolve_delete_diagnostics(_: Any, info: Info, v2DiagnosticsIds: list[str | None]) -> str:
    """Delete diagnostics with their files."""
    context = context_of(info)
    account = context.account(WRITE)
    context.uploads.delete_diagnostics(account, [key for key in v2DiagnosticsIds if key], context.now)
    context.refresh()
    return "true"
