"""Lookup of an account's own objects."""

from collections.abc import Sequence
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm.interfaces import ORMOption

from predictd.db.model_queries import get_model
from predictd.db.models import Account, Diagnostics, Model, Submission
from predictd.domain.errors import InvalidInputError
from predictd.http.context import Context

ModelRow = TypeVar("ModelRow", Submission, Diagnostics)


def own_model(context: Context, account: Account, model_id: str | None) -> Model:
    """Return the account's model of that id, or its only model if no id is given.

    Raises:
        NotFoundError: there is no such model of this account.
        InvalidInputError: no id, and the account has several models or none.
    """
    if model_id:
        return get_model(context.session, account, model_id)
    models = context.session.scalars(select(Model).where(Model.account_id == account.id).limit(2)).all()
    if len(models) != 1:
        raise InvalidInputError("modelId is required unless the account has exactly one model.")
    return models[0]


def own_rows(
    context: Context,
    account: Account,
    table: type[ModelRow],
    key: str | None,
    model_id: str | None,
    *options: ORMOption,
) -> Sequence[ModelRow]:
    """Return the account's rows of a table, newest first: all, the one of an id, or those of a model.

    `options` are loader options.

    Raises:
        NotFoundError: there is no such model of this account.
    """
    query = select(table).where(table.account_id == account.id).order_by(table.inserted_at.desc()).options(*options)
    if key:
        query = query.where(table.id == key)
    if model_id:
        query = query.where(table.model_id == get_model(context.session, account, model_id).id)
    return context.session.scalars(query).all()
