"""Submissions and uploads of predictions."""

from collections.abc import Sequence
from typing import Any

from ariadne import MutationType, QueryType
from sqlalchemy import select

from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.api.graphql.resolvers.ownership import own_model, own_rows
from predictd.api.graphql.resolvers.pickles import download_auth, find_own_run, upload_auth
from predictd.api.graphql.resolvers.rounds import round_object
from predictd.db.models import Model, Submission
from predictd.domain.errors import NotFoundError
from predictd.domain.names import check_tournament
from predictd.http.context import Context
from predictd.uploads.incoming import UploadKind
from predictd.uploads.prediction_uploads import submit_file

query = QueryType()
mutation = MutationType()

READ = ("read_submission_info", "upload_submission", "download_submission")
WRITE = "upload_submission"


def list_submissions(context: Context, model: Model, limit: int | None = None) -> Sequence[Submission]:
    """Return the submissions of a model, newest first."""
    submissions = select(Submission).where(Submission.model_id == model.id).order_by(Submission.inserted_at.desc())
    return context.session.scalars(submissions.limit(limit) if limit is not None else submissions).all()


def submission_object(submission: Submission) -> Object:
    """Return the type V2Submission."""
    return {
        "id": submission.id,
        "filename": submission.filename,
        "status": submission.status,
        "selected": submission.selected,
        "insertedAt": submission.inserted_at,
        "triggerId": submission.run_id,
        "round": lambda info: round_object(submission.round),
        "notes": submission.notes,
        "submittedCount": submission.row_count,
        "filteredCount": submission.row_count,
        "tickersAcceptedCount": submission.row_count,
        "tickersSubmittedCount": submission.row_count,
        "hasDiagnostics": False,
        "dataDatestamp": submission.data_datestamp,
        "sourcePlatform": submission.source,
    }


@query.field("submissions")
def resolve_submissions(
    _: Any,
    info: Info,
    id: str | None = None,
    modelId: str | None = None,
) -> list[Object]:
    """Return the account's submissions, newest first: all, one, or those of a model."""
    context = context_of(info)
    account = context.account(*READ)
    return [submission_object(row) for row in own_rows(context, account, Submission, id, modelId)]


@query.field("submissionUploadAuth")
def resolve_submission_upload_auth(
    _: Any, info: Info, filename: str, tournament: int, modelId: str | None = None
) -> Object:
    """Return a unique filename and the URL to PUT the predictions to."""
    context = context_of(info)
    account = context.account(WRITE)
    check_tournament(tournament)
    return upload_auth(context, account, UploadKind.SUBMISSION, filename, modelId)


@query.field("submissionDownloadAuth")
def resolve_submission_download_auth(
    _: Any,
    info: Info,
    id: str,
) -> Object:
    """Return the URL of the file of a submission."""
    context = context_of(info)
    account = context.account("download_submission")
    submission = context.session.get(Submission, id)
    if submission is None or submission.account_id != account.id:
        raise NotFoundError(f"Submission {id[:64]!r} not found.")
    return download_auth(context, submission.storage_key, submission.filename)


@mutation.field("createSubmission")
def resolve_create_submission(
    _: Any,
    info: Info,
    filename: str,
    tournament: int,
    modelId: str | None = None,
    triggerId: str | None = None,
    source: str | None = None,
    version: int | None = None,
    dataDatestamp: int | None = None,
) -> Object:
    """Check uploaded predictions and submit them to the open round, or store them as late."""
    context = context_of(info)
    account = context.account(WRITE)
    check_tournament(tournament)
    model = own_model(context, account, modelId)
    is_own = bool(triggerId) and find_own_run(context, account, triggerId or "") is not None
    submission_id = submit_file(
        context.database,
        context.storage,
        account,
        model.id,
        filename,
        now=context.now,
        run_id=triggerId if is_own else None,
        source=source[:100] if source else None,
        data_datestamp=dataDatestamp,
        quotas=context.settings.quotas,
    )
    context.refresh()
    return submission_object(context.load(Submission, submission_id))
