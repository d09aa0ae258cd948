"""Where a model's diagnostics stand beside those of the others."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy.orm import Session

from predictd.db import Database
from predictd.db.accounts import create_account
from predictd.db.model_queries import add_model
from predictd.db.models import Account, DataVersion, Diagnostics
from predictd.reports import Model, Report
from predictd.reports.page import content_of
from predictd.scoring.metrics import Diagnostics as Figures
from predictd.scoring.metrics import diagnose
from predictd.web.ratings import ratings_of

NOW = datetime(2026, 1, 6, 13, 0, tzinfo=UTC)


@pytest.fixture
def session(database_url: Callable[[], str]) -> Iterator[Session]:
    database = Database(database_url())
    database.upgrade()
    with database.write() as session:
        session.add_all(DataVersion(id=name, name=name, inserted_at=NOW) for name in ("v1", "v2"))
        create_account(session, "alice", NOW)
        yield session
    database.close()


def figures(corr: float) -> Figures:
    """Those of a model whose CORR is about that in each era."""
    values = np.array([corr - 0.001, corr + 0.001, corr])
    return diagnose(eras=["1", "2", "3"], corr=values, feature_corr_max=np.abs(values))


def diagnosed(session: Session, name: str, corr: float, *, version: str = "v1", days: int = 0) -> Diagnostics:
    account = session.query(Account).one()
    known = session.query(Diagnostics).filter(Diagnostics.filename == name).first()
    model_id = known.model_id if known is not None else add_model(session, account, name, 8, NOW, 50).id
    at = NOW + timedelta(days=days)
    made = Diagnostics(
        account_id=account.id,
        model_id=model_id,
        data_version_id=version,
        filename=name,
        figures=figures(corr).wire(),
        inserted_at=at,
        updated_at=at,
    )
    session.add(made)
    session.flush()
    return made


def test_a_model_is_rated_by_the_newest_figures_of_each_other_model_on_the_same_data(session: Session) -> None:
    mine = diagnosed(session, "mine", 0.03)
    for number in range(4):
        diagnosed(session, f"other_{number}", 0.01 * (number + 1))
    diagnosed(session, "elsewhere", 0.001, version="v2")
    diagnosed(session, "mine", 0.5, days=1)
    assert ratings_of(session, mine, figures(0.03)) is None  # four others are too few

    diagnosed(session, "improved", 0.001)
    diagnosed(session, "improved", 0.09, days=1)
    ratings = ratings_of(session, mine, figures(0.03))
    assert ratings is not None
    assert ratings.model_count == 5
    # Two are worse, one is equal, two are better; of exposure to features, less is better.
    assert ratings.shares["validation_corr_mean"] == pytest.approx(0.5)
    assert ratings_of(session, mine, figures(0.035)).shares["validation_corr_mean"] == 0.6  # type: ignore[union-attr]
    assert ratings_of(session, mine, figures(0.035)).shares["validation_feature_corr_max"] == 0.4  # type: ignore[union-attr]
    assert "validation_mmc_mean" not in ratings.shares

    shown = content_of(Report(models=(Model(name="mine", diagnostics=figures(0.03), ratings=ratings),)))
    assert "better than 50% of 5 other models" in shown
    assert "5 other models on this server" in shown
