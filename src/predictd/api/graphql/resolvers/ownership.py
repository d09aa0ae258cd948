"""Which model a request means."""

from sqlalchemy import select

from predictd.api.context import Context
from predictd.db.models import get_model
from predictd.db.tables import Account, Model
from predictd.domain.errors import InvalidInputError


def own_model(context: Context, account: Account, model_id: str | None) -> Model:
    """The account's model of that id, or its only one where none is given.

    Raises:
        NotFoundError: no such model of this account.
        InvalidInputError: no id, and the account has several models or none.
    """
    if model_id:
        return get_model(context.session, account, model_id)
    models = context.session.scalars(select(Model).where(Model.account_id == account.id).limit(2)).all()
    if len(models) != 1:
        raise InvalidInputError("Name the model: modelId is needed unless the account has exactly one model.")
    return models[0]
