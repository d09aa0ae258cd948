"""The pickle and the data of a run."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from predictd.db.models import Pickle, Runtime


@dataclass(frozen=True, kw_only=True)
class PickleRun:
    """A pickle, its runtime and its input data, as storage keys; `benchmarks_key` may not exist.

    With `is_validation` the data contain targets, which are hidden from the model.
    """

    pickle_id: str
    pickle_key: str
    runtime_folder: str
    tables_key: str | None
    imports: tuple[str, ...]
    features_key: str
    benchmarks_key: str
    is_validation: bool

    @classmethod
    def of(
        cls, session: Session, pickle: Pickle, *, features_key: str, benchmarks_key: str, is_validation: bool = False
    ) -> "PickleRun":
        """Return the run of a pickle on these data."""
        return cls(
            pickle_id=pickle.id,
            pickle_key=pickle.storage_key,
            runtime_folder=session.get_one(Runtime, pickle.runtime_id).folder,
            tables_key=pickle.tables_key,
            imports=tuple(pickle.imports.split()),
            features_key=features_key,
            benchmarks_key=benchmarks_key,
            is_validation=is_validation,
        )
