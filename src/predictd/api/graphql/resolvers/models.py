"""Models: creation, settings, profile, and webhook."""

from typing import Any

from ariadne import MutationType, QueryType
from sqlalchemy import select

from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.api.graphql.resolvers.ownership import own_model
from predictd.api.graphql.resolvers.pickles import pickle_object
from predictd.api.graphql.resolvers.scores import (
    daily_performance_object,
    latest_submission_scores,
    user_score_objects,
)
from predictd.api.graphql.resolvers.submissions import list_submissions, submission_object
from predictd.api.submission_webhook import call_webhook
from predictd.db.model_queries import add_model, find_model, get_model, is_name_available, rename_model
from predictd.db.models import Account, Model, Submission
from predictd.db.rounds import list_rounds
from predictd.db.scores import list_reputations
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC, check_url
from predictd.http.context import Context
from predictd.uploads.assignment import set_webhook

query = QueryType()
mutation = MutationType()

READ = ("read_user_info", "read_submission_info", "upload_submission")
WRITE = "upload_submission"
MAX_TEXT_LENGTH = 5000
LATEST_ROUNDS = 10


def model_object(context: Context, model: Model) -> Object:
    """Return the type Model."""
    return {
        "id": model.id,
        "name": model.name,
        "username": model.name,
        "accountId": model.account_id,
        "tournament": model.tournament,
        "description": model.bio,
        "insertedAt": model.inserted_at,
        "archived": model.archived_at is not None,
        "archivedAt": model.archived_at,
        "hidden": False,
        "fallback": model.fallback,
        "computeEnabled": model.submission_webhook is not None,
        "computeLiteEnabled": model.pickle_id is not None,
        "isComputeWeekdayEnabled": model.pickle_id is not None,
        "submissionWebhook": model.submission_webhook,
        "computePickleUpload": lambda info: pickle_object(context, model.pickle) if model.pickle else None,
        "submissions": lambda info: [submission_object(submission) for submission in list_submissions(context, model)],
        "latestSubmission": lambda info: [
            submission_object(submission) for submission in list_submissions(context, model, limit=1)
        ],
        "latestSubmissionV2": lambda info: next(
            (submission_object(submission) for submission in list_submissions(context, model, limit=1)), None
        ),
        "latestSubmissions": lambda info: _latest_by_round(context, model),
    }


def profile_object(context: Context, model: Model) -> Object:
    """Return the type ModelProfile; its scores are null until a round is scored."""
    reputation = next(iter(list_reputations(context.session, model.id, limit=1)), None)
    return {
        "id": model.id,
        "accountId": model.account_id,
        "username": model.name,
        "displayName": model.name,
        "tournament": model.tournament,
        "startDate": model.inserted_at,
        "corr20V2Rep": reputation.corr if reputation else None,
        "corrRep": reputation.corr if reputation else None,
        "mmcRep": reputation.mmc if reputation else None,
        "fncV3Rep": reputation.fnc_v3 if reputation else None,
    }


def _latest_by_round(context: Context, model: Model) -> list[Object]:
    """Return the type LatestSubmission for each of the recent rounds, newest first."""
    objects = []
    for round_ in list_rounds(context.session, model.tournament, LATEST_ROUNDS):
        submission = context.session.scalar(
            select(Submission)
            .where(Submission.model_id == model.id, Submission.round_id == round_.id)
            .order_by(Submission.selected.desc(), Submission.inserted_at.desc())
            .limit(1)
        )
        objects.append(
            {
                "id": submission.id if submission else None,
                "filename": submission.filename if submission else None,
                "status": ("queued" if submission.is_queued else submission.status) if submission else "none",
                "timestamp": submission.inserted_at if submission else None,
                "roundNumber": round_.number,
                "roundOpen": round_.open_time.date(),
                "roundClose": round_.close_time.date(),
                "roundCloseStaking": round_.close_time.date(),
            }
        )
    return objects


@query.field("model")
def resolve_model(_: Any, info: Info, modelId: str | None = None) -> Object:
    """Return a model of the account; its only one if no id is given."""
    context = context_of(info)
    return model_object(context, own_model(context, context.account(*READ), modelId))


@query.field("modelNameAvailable")
def resolve_model_name_available(_: Any, info: Info, name: str, tournament: int) -> bool:
    """Return whether no model of the tournament has that name."""
    return is_name_available(context_of(info).session, name, tournament)


@query.field("v3UserProfile")
def resolve_user_profile(_: Any, info: Info, modelName: str, tournament: int | None = CLASSIC) -> Object:
    """Return the public profile of a model."""
    context = context_of(info)
    model = find_model(context.session, modelName, tournament if tournament is not None else CLASSIC)
    if model is None:
        raise NotFoundError(f"Model {modelName[:64]!r} not found.")
    return {
        "id": model.id,
        "username": model.name,
        "accountName": model.account.username,
        "bio": model.bio,
        "linkText": model.link_text,
        "linkUrl": model.link_url,
        "startDate": model.inserted_at,
        "tournament": model.tournament,
        "isActive": model.archived_at is None,
        "computeEnabled": model.submission_webhook is not None,
        "computeLiteEnabled": model.pickle_id is not None,
        "dailyModelPerformances": lambda info: [
            daily_performance_object(reputation) for reputation in list_reputations(context.session, model.id)
        ],
        "latestSubmissionScores": lambda info: latest_submission_scores(context.session, model),
        "latestUserScores": lambda info: user_score_objects(list_reputations(context.session, model.id, limit=1)),
    }


@mutation.field("addModel")
def resolve_add_model(_: Any, info: Info, name: str, tournament: int) -> Object:
    """Create a model."""
    context = context_of(info)
    account = context.account(WRITE)
    with context.write() as session:
        model_id = add_model(session, account, name, tournament, context.now, context.settings.max_model_slots).id
    return model_object(context, context.load(Model, model_id))


@mutation.field("renameModel")
def resolve_rename_model(_: Any, info: Info, modelId: str, name: str) -> Object:
    """Rename a model."""
    context = context_of(info)
    account = context.account(WRITE)
    with context.write() as session:
        rename_model(session, get_model(session, account, modelId), name)
    return model_object(context, context.load(Model, modelId))


@mutation.field("archiveModel")
def resolve_archive_model(_: Any, info: Info, modelId: str) -> Object:
    """Archive a model, whose pickle rounds no longer run."""
    return _set_archived(context_of(info), modelId, archived=True)


@mutation.field("unarchiveModel")
def resolve_unarchive_model(_: Any, info: Info, modelId: str) -> Object:
    """Restore a model from the archive."""
    return _set_archived(context_of(info), modelId, archived=False)


def _set_archived(context: Context, model_id: str, *, archived: bool) -> Object:
    account = context.account(WRITE)
    with context.write() as session:
        get_model(session, account, model_id).archived_at = context.now if archived else None
    return model_object(context, context.load(Model, model_id))


@mutation.field("setModelFallback")
def resolve_set_fallback(_: Any, info: Info, modelId: str, fallback: bool) -> Object:
    """Set whether the last pickle that succeeded runs when the assigned pickle fails."""
    context = context_of(info)
    account = context.account(WRITE)
    with context.write() as session:
        get_model(session, account, modelId).fallback = fallback
    return model_object(context, context.load(Model, modelId))


@mutation.field("setUserBio")
def resolve_set_user_bio(_: Any, info: Info, value: str, modelId: str | None = None) -> bool:
    """Set the bio of a model, or of the account if no model is given."""
    context = context_of(info)
    account = context.account(WRITE)
    _check_text("bio", value)
    with context.write() as session:
        if modelId:
            get_model(session, account, modelId).bio = value
        else:
            session.get_one(Account, account.id).bio = value
    return True


@mutation.field("setUserLink")
def resolve_set_user_link(
    _: Any, info: Info, linkUrl: str, modelId: str | None = None, linkText: str | None = None
) -> bool:
    """Set the link of a model."""
    context = context_of(info)
    account = context.account(WRITE)
    _check_text("linkText", linkText or "")
    if linkUrl:
        check_url("linkUrl", linkUrl)
    model_id = own_model(context, account, modelId).id
    with context.write() as session:
        model = get_model(session, account, model_id)
        model.link_url, model.link_text = linkUrl, linkText
    return True


@mutation.field("setSubmissionWebhook")
def resolve_set_submission_webhook(
    _: Any, info: Info, modelId: str | None = None, newSubmissionWebhook: str | None = None
) -> str:
    """Set the webhook that is called to request a submission; null removes it."""
    context = context_of(info)
    account = context.account(WRITE)
    model_id = own_model(context, account, modelId).id
    with context.write() as session:
        set_webhook(get_model(session, account, model_id), newSubmissionWebhook)
    return "true"


@mutation.field("triggerModelWebhook")
def resolve_trigger_model_webhook(_: Any, info: Info, modelId: str) -> str:
    """Call the webhook of a model now."""
    context = context_of(info)
    account_id = context.account(WRITE).id
    model = get_model(context.session, context.account(WRITE), modelId)
    url, body = model.submission_webhook, {"modelId": model.id}
    if not url:
        raise InvalidInputError(f"Model {model.name} has no submission webhook. Set one with setSubmissionWebhook.")
    # The call takes seconds, during which other requests need the database connection.
    context.session.rollback()
    call_webhook(account_id, url, body, allow_private=context.settings.allow_private_webhooks)
    return "true"


def _check_text(name: str, value: str) -> None:
    if len(value) > MAX_TEXT_LENGTH:
        raise InvalidInputError(f"The {name} has {len(value)} characters. The limit is {MAX_TEXT_LENGTH}.")
