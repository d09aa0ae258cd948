"""Queries and changes of models."""

import math
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, joinedload

from predictd.db.models import Account, Model, Pickle
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError
from predictd.domain.names import check_model_name, check_tournament


def is_name_available(session: Session, name: str, tournament: int) -> bool:
    """Return whether no model of the tournament has this name, ignoring case."""
    return find_model(session, name, tournament) is None


def find_model(session: Session, name: str, tournament: int) -> Model | None:
    """Return the model with this name, ignoring case."""
    return session.scalar(select(Model).where(Model.tournament == tournament, Model.name_key == name.lower()))


def add_model(session: Session, account: Account, name: str, tournament: int, now: datetime, max_models: int) -> Model:
    """Add a model to the account, which may have up to `max_models`.

    Raises:
        InvalidInputError: the name breaks the rules, or there is no such tournament.
        ConflictError: the name is taken, or the account has no slot left.
    """
    check_tournament(tournament)
    check_model_name(name)
    count = session.scalar(select(func.count()).select_from(Model).where(Model.account_id == account.id)) or 0
    if count >= max_models:
        raise ConflictError(f"The account has {count} of {max_models} model slots; rename an archived model instead.")
    _check_free(session, name, tournament)
    model = Model(account_id=account.id, tournament=tournament, name=name, name_key=name.lower(), inserted_at=now)
    session.add(model)
    _flush(session, name)
    return model


def rename_model(session: Session, model: Model, name: str) -> Model:
    """Give the model another name.

    Raises:
        InvalidInputError: the name breaks the rules.
        ConflictError: the name is taken.
    """
    check_model_name(name)
    _check_free(session, name, model.tournament, model)
    model.name, model.name_key = name, name.lower()
    _flush(session, name)
    return model


def set_meta_model_weight(session: Session, model: Model, weight: float) -> None:
    """Set how much the model's submissions count in the meta model of a round.

    Raises:
        InvalidInputError: the weight is negative or not finite.
    """
    if not math.isfinite(weight) or weight < 0:
        raise InvalidInputError(f"The weight {weight} is invalid; enter a number that is 0 or more.")
    model.meta_model_weight = weight
    session.flush()


def _check_free(session: Session, name: str, tournament: int, model: Model | None = None) -> None:
    existing = find_model(session, name, tournament)
    if existing is not None and existing is not model:
        raise _taken(name)


def _flush(session: Session, name: str) -> None:
    # Two servers may check the name at the same time; the unique index decides.
    try:
        session.flush()
    except IntegrityError as error:
        raise _taken(name) from error


def _taken(name: str) -> ConflictError:
    return ConflictError(f"The model name {name!r} is already taken; choose another.")


def get_model(session: Session, account: Account, model_id: str) -> Model:
    """Return the model with this id if it belongs to the account.

    Raises:
        NotFoundError: there is no such model of this account.
    """
    model = session.get(Model, model_id)
    if model is None or model.account_id != account.id:
        raise NotFoundError(f"Model {model_id[:64]!r} not found.")
    return model


def list_models(session: Session, account: Account) -> Sequence[Model]:
    """Return the models of the account with their pickles in one query, oldest first."""
    query = select(Model).where(Model.account_id == account.id).order_by(Model.inserted_at)
    pickle = joinedload(Model.pickle)
    return session.scalars(
        query.options(pickle.joinedload(Pickle.runtime), pickle.joinedload(Pickle.data_version))
    ).all()


def search_models(
    session: Session, account: Account, *, archived: bool, name: str, limit: int, offset: int
) -> Sequence[Model]:
    """Return a page of the active or archived models whose name contains `name`, oldest first."""
    query = select(Model).where(Model.account_id == account.id, Model.archived_at.is_not(None) == archived)
    if name:
        query = query.where(Model.name_key.contains(name.lower(), autoescape=True))
    return session.scalars(query.order_by(Model.inserted_at, Model.name_key).limit(limit).offset(offset)).all()
