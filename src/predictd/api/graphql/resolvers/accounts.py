"""The account, its tokens and its public profile."""

from typing import Any

from ariadne import MutationType, QueryType

from predictd.api.graphql.resolvers.models import model_object, profile_object
from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.db.accounts import create_token, find_account, list_tokens, revoke_token
from predictd.db.model_queries import list_models
from predictd.db.models import Account, Token
from predictd.db.sessions import begin_session, end_session
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC
from predictd.domain.scopes import SCOPES
from predictd.http.context import Context
from predictd.http.password_auth import prove
from predictd.http.sign_up import sign_up
from predictd.notifications.preferences import set_wire_preferences, wire_preferences

query = QueryType()
mutation = MutationType()

SIGN_UP_IS_DISABLED = (
    "Sign-up is disabled on this server. Ask an admin, who creates accounts with: predictd account create NAME"
)
NOT_PROVEN = (
    "The name or password is incorrect, or the account has no password. An admin can set a password with "
    "predictd account password NAME."
)


def account_object(context: Context, account: Account) -> Object:
    """The type Account."""
    return {
        "id": account.id,
        "username": account.username,
        "email": account.email,
        "displayName": account.display_name,
        "bio": account.bio,
        "status": account.status,
        "insertedAt": account.inserted_at,
        "updatedAt": account.updated_at,
        "mfaEnabled": False,
        "maxModelSlots": context.settings.max_model_slots,
        "apiTokens": lambda info: [
            token_object(token) for token in list_tokens(context.session, account) if context.may_manage(token)
        ],
        "models": lambda info: [model_object(context, model) for model in list_models(context.session, account)],
        "emailPreferences": wire_preferences(account),
    }


def token_object(token: Token) -> Object:
    """The type ApiToken."""
    return {"name": token.name, "publicId": token.public_id, "scopes": token.scopes}


@query.field("account")
def resolve_account(_: Any, info: Info) -> Object:
    """The account whose token it is."""
    context = context_of(info)
    return account_object(context, context.account("read_user_info", "upload_submission", "read_submission_info"))


@query.field("accountProfile")
def resolve_account_profile(_: Any, info: Info, username: str, tournament: int | None = CLASSIC) -> Object:
    """What everybody may see of an account."""
    context = context_of(info)
    account = find_account(context.session, username)
    if account is None:
        raise NotFoundError(f"Account {username[:64]!r} not found.")
    models = [model for model in list_models(context.session, account) if model.archived_at is None]
    return {
        "id": account.id,
        "username": account.username,
        "displayName": account.display_name,
        "bio": account.bio,
        "startDate": account.inserted_at,
        "isActive": account.status != "DELETED",
        "tournament": tournament,
        "models": [profile_object(context, model) for model in models if model.tournament == tournament],
    }


@query.field("accountNameAvailable")
def resolve_account_name_available(_: Any, info: Info, name: str) -> bool:
    """Whether no account has that name."""
    return find_account(context_of(info).session, name) is None


@query.field("apiTokenInfo")
def resolve_api_token_info(_: Any, info: Info) -> Object:
    """The token that the request carries."""
    context = context_of(info)
    account = context.account()
    if context.token is None:
        raise InvalidInputError("The request is authenticated by a session, not by an API token. Send an API token.")
    return {**token_object(context.token), "accountUsername": account.username}


@query.field("apiTokenScopes")
def resolve_api_token_scopes(_: Any, info: Info) -> list[Object]:
    """The scopes that a token can have."""
    return [{"name": name, "description": description} for name, description in SCOPES.items()]


@mutation.field("createUser")
def resolve_create_user(_: Any, info: Info, email: str, password: str, username: str, **arguments: Any) -> Object:
    """A new account, where the server allows sign-up."""
    context = context_of(info)
    if not context.settings.sign_up:
        raise InvalidInputError(SIGN_UP_IS_DISABLED)
    account = sign_up(
        context.database,
        context.services.attempts,
        context.settings,
        username=username,
        email=email or None,
        password=password,
        address=context.client_address,
        now=context.now,
    )
    context.session.rollback()
    return account_object(context, context.load(Account, account.id))


@mutation.field("login")
def resolve_login(_: Any, info: Info, email: str, password: str, code: str | None = None) -> Object:
    """Begin a session, by the name of the account or its e-mail address; its token stands in the same header."""
    context = context_of(info)
    account = _proven(context, email, password)
    with context.write() as session:
        secret = begin_session(session, account, context.now, hours=context.settings.session_hours)
    return {"token": secret, "username": account.username}


@mutation.field("logout")
def resolve_logout(_: Any, info: Info) -> bool:
    """End the session that the request carries; an API token is not ended by it."""
    context = context_of(info)
    if context.session_secret:
        with context.write() as session:
            end_session(session, context.session_secret)
    return True


@mutation.field("createApiToken")
def resolve_create_api_token(
    _: Any, info: Info, name: str, password: str, scopes: list[str], code: str | None = None
) -> Object:
    """A new token of the account that asks, which proves itself by its password once more."""
    context = context_of(info)
    account = context.account()
    _proven(context, account.username, password)
    with context.write() as session:
        token = create_token(session, session.get_one(Account, account.id), context.now, name, scopes)
    return {"name": token.name, "publicId": token.public_id, "scopes": token.scopes, "secretKey": token.secret_key}


def _proven(context: Context, name: str, password: str) -> Account:
    """The account of that name or address whose password it is.

    Raises:
        InvalidInputError: it is not, or no account of this server has a password.
        SuspendedError: it is, but the account is suspended.
        TooManyAttemptsError: too many were wrong of late.
    """
    return prove(
        context.database,
        context.session,
        context.services.attempts,
        name,
        password,
        address=context.client_address,
        refusal=NOT_PROVEN,
    )


@mutation.field("revokeApiToken")
def resolve_revoke_api_token(_: Any, info: Info, publicId: str) -> Object:
    """End one of the account's own tokens; with a token, only one that can do nothing that it can't do itself."""
    context = context_of(info)
    account = context.account("read_user_info")
    token = context.session.get(Token, publicId)
    if token is not None and token.account_id == account.id and token.revoked_at is None:
        context.check_may_manage(token)
    with context.write() as session:
        return token_object(revoke_token(session, publicId, context.now, account))


@mutation.field("updateEmailPreferences")
def resolve_update_email_preferences(_: Any, info: Info, **preferences: bool | None) -> bool:
    """Keep which notifications the account wants; what is not named stays as it is."""
    context = context_of(info)
    account = context.account("read_user_info")
    with context.write() as session:
        stored = session.get_one(Account, account.id)
        chosen = {name: value for name, value in preferences.items() if value is not None}
        set_wire_preferences(stored, chosen, context.now)
    return True
