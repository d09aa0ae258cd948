"""The account, its tokens and its public profile."""

from typing import Any

from ariadne import MutationType, QueryType

from predictd.api.graphql.resolvers.models import model_object, profile_object
from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.db.accounts import create_token, find_account, list_tokens, revoke_token
from predictd.db.model_queries import list_models
from predictd.db.models import Account, Token
from predictd.db.sessions import create_session, end_session
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC
from predictd.domain.scopes import SCOPES
from predictd.http.context import Context
from predictd.http.password_auth import verify_password
from predictd.http.sign_up import sign_up
from predictd.notifications.preferences import set_wire_preferences, wire_preferences

query = QueryType()
mutation = MutationType()

SIGN_UP_IS_DISABLED = (
    "Sign-up is disabled on this server. Ask an admin, who creates accounts with: predictd account create NAME"
)
LOGIN_FAILED = (
    "The name or password is incorrect, or the account has no password. An admin can set a password with "
    "predictd account password NAME."
)


def account_object(context: Context, account: Account) -> Object:
    """Return the type Account."""
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
            token_object(token) for token in list_tokens(context.session, account) if context.can_manage(token)
        ],
        "models": lambda info: [model_object(context, model) for model in list_models(context.session, account)],
        "emailPreferences": wire_preferences(account),
    }


def token_object(token: Token) -> Object:
    """Return the type ApiToken."""
    return {"name": token.name, "publicId": token.public_id, "scopes": token.scopes}


@query.field("account")
def resolve_account(_: Any, info: Info) -> Object:
    """Return the account of the request."""
    context = context_of(info)
    return account_object(context, context.account("read_user_info", "upload_submission", "read_submission_info"))


@query.field("accountProfile")
def resolve_account_profile(_: Any, info: Info, username: str, tournament: int | None = CLASSIC) -> Object:
    """Return the public profile of an account."""
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
    """Return whether no account has that name."""
    return find_account(context_of(info).session, name) is None


@query.field("apiTokenInfo")
def resolve_api_token_info(_: Any, info: Info) -> Object:
    """Return the token of the request."""
    context = context_of(info)
    account = context.account()
    if context.token is None:
        raise InvalidInputError("The request is authenticated by a session, not by an API token. Send an API token.")
    return {**token_object(context.token), "accountUsername": account.username}


@query.field("apiTokenScopes")
def resolve_api_token_scopes(_: Any, info: Info) -> list[Object]:
    """Return the scopes of tokens."""
    return [{"name": name, "description": description} for name, description in SCOPES.items()]


@mutation.field("createUser")
def resolve_create_user(_: Any, info: Info, email: str, password: str, username: str, **arguments: Any) -> Object:
    """Create an account if the server allows sign-up."""
    context = context_of(info)
    if not context.settings.allow_sign_up:
        raise InvalidInputError(SIGN_UP_IS_DISABLED)
    account = sign_up(
        context.database,
        context.services.rate_limiter,
        context.settings,
        username=username,
        email=email or None,
        password=password,
        address=context.client_address,
        now=context.now,
    )
    context.refresh()
    return account_object(context, context.load(Account, account.id))


@mutation.field("login")
def resolve_login(_: Any, info: Info, email: str, password: str, code: str | None = None) -> Object:
    """Start a session by name or email address; its token goes into the Authorization header."""
    context = context_of(info)
    account = _verify_password(context, email, password)
    with context.write() as session:
        secret = create_session(session, account, context.now)
    return {"token": secret, "username": account.username}


@mutation.field("logout")
def resolve_logout(_: Any, info: Info) -> bool:
    """End the session of the request; API tokens stay valid."""
    context = context_of(info)
    if context.session_secret:
        with context.write() as session:
            end_session(session, context.session_secret)
    return True


@mutation.field("createApiToken")
def resolve_create_api_token(
    _: Any, info: Info, name: str, password: str, scopes: list[str], code: str | None = None
) -> Object:
    """Create a token; the password is required again."""
    context = context_of(info)
    account = context.account()
    _verify_password(context, account.username, password)
    with context.write() as session:
        token = create_token(session, session.get_one(Account, account.id), context.now, name, scopes)
    return {"name": token.name, "publicId": token.public_id, "scopes": token.scopes, "secretKey": token.secret_key}


def _verify_password(context: Context, name: str, password: str) -> Account:
    """Return the account of that name or email address if the password is correct.

    Raises:
        InvalidInputError: the password is incorrect.
        SuspendedError: the account is suspended.
        TooManyAttemptsError: too many attempts failed recently.
    """
    return verify_password(
        context.database,
        context.session,
        context.services.rate_limiter,
        name,
        password,
        address=context.client_address,
        error_message=LOGIN_FAILED,
    )


@mutation.field("revokeApiToken")
def resolve_revoke_api_token(_: Any, info: Info, publicId: str) -> Object:
    """Revoke a token of the account; a request with a token can't revoke one with more scopes."""
    context = context_of(info)
    account = context.account("read_user_info")
    token = context.session.get(Token, publicId)
    if token is not None and token.account_id == account.id and token.revoked_at is None:
        context.check_can_manage(token)
    with context.write() as session:
        return token_object(revoke_token(session, publicId, context.now, account))


@mutation.field("updateEmailPreferences")
def resolve_update_email_preferences(_: Any, info: Info, **preferences: bool | None) -> bool:
    """Set the notification preferences that are given."""
    context = context_of(info)
    account = context.account("read_user_info")
    with context.write() as session:
        stored = session.get_one(Account, account.id)
        changes = {name: value for name, value in preferences.items() if value is not None}
        set_wire_preferences(stored, changes, context.now)
    return True
