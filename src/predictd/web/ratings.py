"""Where the diagnostics of a model stand beside those of the other models."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Diagnostics
from predictd.reports.metric_catalog import RATED
from predictd.reports.metric_ratings import Ratings, rate
from predictd.scoring.metrics import Diagnostics as Figures
from predictd.scoring.metrics.diagnostics import wire_name

# Of each the whole figures are read, those of every era among them.
MOST_OTHERS = 200


def ratings_of(session: Session, diagnostics: Diagnostics, figures: Figures) -> Ratings | None:
    """The ratings of these figures among the other models on the same data version; None where they are too few.

    Takes some milliseconds for each ten other models.
    """
    if diagnostics.data_version_id is None:
        return None
    return rate(figures, _of_others(session, diagnostics))


def _of_others(session: Session, diagnostics: Diagnostics) -> Sequence[Mapping[str, float | None]]:
    """The figures of the newest diagnostics of each other model, by their fields."""
    known = session.execute(
        sa.select(Diagnostics.id, Diagnostics.model_id)
        .where(
            Diagnostics.data_version_id == diagnostics.data_version_id,
            Diagnostics.figures.is_not(None),
            Diagnostics.model_id.is_not(None),
            Diagnostics.model_id.is_distinct_from(diagnostics.model_id),
        )
        .order_by(Diagnostics.inserted_at.desc())
        .limit(MOST_OTHERS * 5)
    )
    newest: dict[str | None, str] = {}
    for row in known:
        newest.setdefault(row.model_id, row.id)
    values = [Diagnostics.figures[wire_name(figure.field)].as_float().label(figure.field) for figure in RATED]
    found = session.execute(sa.select(*values).where(Diagnostics.id.in_(list(newest.values())[:MOST_OTHERS])))
    return [dict(row._mapping) for row in found]
