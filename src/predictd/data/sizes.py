"""The sizes and signals of synthetic data versions."""

from dataclasses import dataclass

from predictd.domain.errors import InvalidInputError


@dataclass(frozen=True, kw_only=True)
class SyntheticPlan:
    """The size, seed and signal of a synthetic data version, which always has all 2748 features.

    Attributes:
        name: the name in the settings.
        seed: the seed of all values.
        train_eras: number of eras in train.parquet.
        train_rows: rows per era in train.parquet.
        validation_eras: number of eras in validation.parquet.
        validation_rows: rows per era in validation.parquet.
        live_rows: rows in live.parquet, in every round.
        signal: correlation of the best possible prediction with the target before it is binned. Calibrated so that a
            LightGBM model as in the notebooks, on the small features, scores 0.02 to 0.03 on the validation eras: the
            fewer rows, the stronger the signal. For tiny, whose few rows have a standard error of 0.03, this is true
            only for its seed.
        row_group_rows: minimum rows per row group; limits the memory of writing (2.8 kB per row).
    """

    name: str
    seed: int
    train_eras: int
    train_rows: int
    validation_eras: int
    validation_rows: int
    live_rows: int
    signal: float
    row_group_rows: int = 20_000


PLANS: dict[str, SyntheticPlan] = {
    plan.name: plan
    for plan in (
        SyntheticPlan(
            name="tiny",
            seed=7,
            train_eras=8,
            train_rows=150,
            validation_eras=8,
            validation_rows=150,
            live_rows=200,
            signal=0.13,
        ),
        SyntheticPlan(
            name="demo",
            seed=2,
            train_eras=60,
            train_rows=600,
            validation_eras=40,
            validation_rows=600,
            live_rows=1_000,
            signal=0.08,
        ),
        SyntheticPlan(
            name="full",
            seed=20,
            train_eras=120,
            train_rows=5_000,
            validation_eras=120,
            validation_rows=5_000,
            live_rows=6_500,
            signal=0.044,
        ),
    )
}


def plan_named(name: str) -> SyntheticPlan:
    """Return the plan of that name. Raises InvalidInputError."""
    try:
        return PLANS[name]
    except KeyError:
        raise InvalidInputError(f"The data size '{name}' does not exist. Choose one of {', '.join(PLANS)}.") from None
