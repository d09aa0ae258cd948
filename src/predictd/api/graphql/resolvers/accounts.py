"""The account, its tokens and its public profile."""

from typing import Any

from ariadne import MutationType, QueryType

from predictd.api.context import Context
from predictd.api.graphql.resolvers.models import model_object, profile_object
from predictd.api.graphql.resolvers.objects import Info, Object, context_of
from predictd.db.accounts import find_account, list_tokens, revoke_token
from predictd.db.models import list_models
from predictd.db.tables import Account, Token
from predictd.domain.errors import InvalidInputError, NotFoundError
from predictd.domain.names import CLASSIC
from predictd.domain.scopes import SCOPES

query = QueryType()
mutation = MutationType()

BY_THE_ORGANISER = "Accounts are made by this server's organiser: predictd account create NAME prints an API token."
EMAIL_PREFERENCES = (
    "modelUploadReceipt",
    "pickleRoundOpen",
    "pickleRoundStatus",
    "diagnostics",
    "submission",
    "roundOpen",
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
        "apiTokens": lambda info: [token_object(token) for token in list_tokens(context.session, account)],
        "models": lambda info: [model_object(context, model) for model in list_models(context.session, account)],
        "emailPreferences": {name: account.email_preferences.get(name, True) for name in EMAIL_PREFERENCES},
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
    assert context.token is not None
    return {**token_object(context.token), "accountUsername": account.username}


@query.field("apiTokenScopes")
def resolve_api_token_scopes(_: Any, info: Info) -> list[Object]:
    """The scopes that a token can have."""
    return [{"name": name, "description": description} for name, description in SCOPES.items()]


@mutation.field("createUser")
def resolve_create_user(_: Any, info: Info, **arguments: Any) -> None:
    """Accounts are the organiser's to make."""
    raise InvalidInputError(BY_THE_ORGANISER)


@mutation.field("login")
def resolve_login(_: Any, info: Info, **arguments: Any) -> None:
    """There are no passwords: clients use API tokens."""
    raise InvalidInputError(f"This server has no passwords; use an API token. {BY_THE_ORGANISER}")


@mutation.field("logout")
def resolve_logout(_: Any, info: Info) -> bool:
    """There are no sessions to end."""
    return True


@mutation.field("createApiToken")
def resolve_create_api_token(_: Any, info: Info, **arguments: Any) -> None:
    """Tokens are made on the server, since there is no password to prove who asks."""
    raise InvalidInputError(
        "This server has no passwords, so tokens are made on its command line: predictd token create ACCOUNT."
    )


@mutation.field("revokeApiToken")
def resolve_revoke_api_token(_: Any, info: Info, publicId: str) -> Object:
    """End one of the account's own tokens."""
    context = context_of(info)
    account = context.account("read_user_info")
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
        stored.email_preferences = {**stored.email_preferences, **chosen}
        stored.updated_at = context.now
    return True
