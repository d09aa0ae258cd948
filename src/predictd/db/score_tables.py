"""The tables of scores and reputations."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column, relationship

from predictd.db.models import Base, Model, Round


class Score(Base):
    """Scores of a submission on one of its days, counted from 1, with their percentiles in the round.

    A percentile is the share of the scored submissions of the round that it is at least as good as. `is_latest` is set
    on the newest day of a submission, `resolved` on its final one.
    """

    __tablename__ = "scores"
    __table_args__ = (
        Index("ix_scores_model_id_round_id", "model_id", "round_id"),
        Index("ix_scores_latest", "is_latest", "scored_at"),
    )

    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.id"), primary_key=True)
    day: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    round_id: Mapped[str] = mapped_column(ForeignKey("rounds.id"), index=True)
    scored_at: Mapped[datetime]
    resolved: Mapped[bool]
    is_latest: Mapped[bool]
    corr: Mapped[float | None]
    mmc: Mapped[float | None]
    bmc: Mapped[float | None]
    fnc: Mapped[float | None]
    fnc_v3: Mapped[float | None]
    corr_percentile: Mapped[float | None]
    mmc_percentile: Mapped[float | None]
    bmc_percentile: Mapped[float | None]
    fnc_percentile: Mapped[float | None]
    fnc_v3_percentile: Mapped[float | None]

    round: Mapped[Round] = relationship()


class Reputation(Base):
    """A model's mean scores of the year up to a day, and their ranks; see docs/reference/metrics.md."""

    __tablename__ = "reputations"
    __table_args__ = (Index("ix_reputations_tournament_day", "tournament", "day"),)

    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    day: Mapped[datetime] = mapped_column(primary_key=True)
    tournament: Mapped[int]
    rounds: Mapped[int]
    corr: Mapped[float | None]
    mmc: Mapped[float | None]
    bmc: Mapped[float | None]
    fnc: Mapped[float | None]
    fnc_v3: Mapped[float | None]
    corr_rank: Mapped[int | None]
    mmc_rank: Mapped[int | None]
    bmc_rank: Mapped[int | None]
    fnc_rank: Mapped[int | None]
    fnc_v3_rank: Mapped[int | None]

    model: Mapped[Model] = relationship()
