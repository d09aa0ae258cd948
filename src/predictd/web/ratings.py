"""Ratings of the diagnostics of a model among those of other models."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.orm import Session

from predictd.db.models import Diagnostics
from predictd.reports.metric_catalog import RATED
from predictd.reports.metric_ratings import Ratings, rate
from predictd.scoring.metrics import Diagnostics as Metrics
from predictd.scoring.metrics.diagnostics import wire_name

# The metrics of each are read whole, those of every era included.
MAX_OTHER_MODELS = 200


def ratings_of(session: Session, diagnostics: Diagnostics, metrics: Metrics) -> Ratings | None:
    """Return the ratings of the metrics among other models on the same data version; None if there are too few.

    Takes some milliseconds for ten other models.
    """
    if diagnostics.data_version_id is None:
        return None
    return rate(metrics, _metrics_of_others(session, diagnostics))


def _metrics_of_others(session: Session, diagnostics: Diagnostics) -> Sequence[Mapping[str, float | None]]:
    """Return the metrics of the latest diagnostics of each other model, by field."""
    candidates = session.execute(
        sa.select(Diagnostics.id, Diagnostics.model_id)
        .where(
            Diagnostics.data_version_id == diagnostics.data_version_id,
            Diagnostics.figures.is_not(None),
            Diagnostics.model_id.is_not(None),
            Diagnostics.model_id.is_distinct_from(diagnostics.model_id),
        )
        .order_by(Diagnostics.inserted_at.desc())
        .limit(MAX_OTHER_MODELS * 5)
    )
    newest: dict[str | None, str] = {}
    for row in candidates:
        newest.setdefault(row.model_id, row.id)
    values = [Diagnostics.figures[wire_name(figure.field)].as_float().label(figure.field) for figure in RATED]
    rows = session.execute(sa.select(*values).where(Diagnostics.id.in_(list(newest.values())[:MAX_OTHER_MODELS])))
    return [dict(row._mapping) for row in rows]
