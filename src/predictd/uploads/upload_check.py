"""The check of an upload before its registration, and the runtimes and data versions that match it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from predictd.data.layout import round_key, version_key
from predictd.data.schema import FEATURES_FILE, LIVE_BENCHMARKS_FILE, LIVE_FILE
from predictd.db.catalog import choose_data_version, choose_runtime, list_data_versions, list_runtimes
from predictd.db.models import Account, DataVersion, Runtime, Upload
from predictd.db.rounds import latest_round
from predictd.domain.errors import ConflictError, InvalidInputError, NotFoundError, PredictdError
from predictd.domain.findings import Finding, Level, warn
from predictd.domain.names import CLASSIC
from predictd.pickles import DataColumns, Inspection, check_inspected
from predictd.pickles.data_columns import columns_in, features_in
from predictd.storage import Storage
from predictd.uploads.incoming import UploadKind, uploaded_key
from predictd.uploads.runtime_selection import built_target, inspect_upload, runtimes_by_match


@dataclass(frozen=True, kw_only=True)
class UploadCheck:
    """The result of the check of an upload.

    Attributes:
        size_bytes: the size of the file.
        findings: the findings for the runtime and the data version; None if the file can't be inspected.
        runtimes, versions: the available ones, best match first.
        matching_runtime_ids: the runtimes with the Python version of the pickle; empty if it is unknown.
        runtime, version: the requested ones, otherwise the best matches.
    """

    size_bytes: int
    findings: tuple[Finding, ...] | None
    runtimes: Sequence[Runtime]
    versions: Sequence[DataVersion]
    matching_runtime_ids: frozenset[str]
    runtime: Runtime
    version: DataVersion

    def of_level(self, level: Level) -> list[Finding]:
        """Return the findings of that level."""
        return [finding for finding in self.findings or () if finding.level is level]


def check_upload(
    session: Session,
    storage: Storage,
    account: Account,
    filename: str,
    *,
    model_id: str,
    runtime: str | None,
    data_version: str | None,
    runtimes_home: Path,
    max_bytes: int,
    now: datetime,
) -> UploadCheck:
    """Check an upload that is not registered, without unpickling it; takes seconds for a large one.

    Args:
        filename: the unique filename of the upload.
        model_id: the model of the upload.
        runtime, data_version: check against these; None for the best match.
        runtimes_home: the folder of built runtimes.
        max_bytes: the maximum size of a pickle.

    Raises:
        NotFoundError: there is no such upload for the model, or no such runtime or data version.
        ConflictError: the upload is already registered.
        InvalidInputError: no bytes were received.
    """
    size = _size_of(session, storage, account, filename, model_id)
    inspection = inspect_upload(session, storage, account, filename)
    matching = runtimes_by_match(session, inspection, runtimes_home) if inspection is not None else []
    not_matching = [runtime_ for runtime_ in list_runtimes(session) if runtime_ not in matching]
    runtimes = [*matching, *sorted(not_matching, key=lambda runtime_: not runtime_.is_default)]
    versions = _versions_by_match(session, storage, inspection)
    chosen = choose_runtime(session, runtime or (runtimes[0].id if runtimes else None))
    version = choose_data_version(session, data_version or (versions[0].id if versions else None))
    findings = None
    if inspection is not None:
        columns = _columns_of(session, storage, version, now)
        all_findings = check_inspected(inspection, built_target(runtimes_home, chosen), columns, max_bytes)
        all_findings = [*all_findings, *_of_another_version(inspection, versions)]
        findings = tuple(all_findings if matching else map(_without_a_runtime, all_findings))
    return UploadCheck(
        size_bytes=size,
        findings=findings,
        runtimes=runtimes,
        versions=versions,
        matching_runtime_ids=frozenset(runtime_.id for runtime_ in matching),
        runtime=chosen,
        version=version,
    )


def _size_of(session: Session, storage: Storage, account: Account, filename: str, model_id: str) -> int:
    upload = session.scalar(select(Upload).where(Upload.filename == filename))
    expected = (account.id, UploadKind.PICKLE, model_id)
    if upload is None or (upload.account_id, upload.kind, upload.model_id) != expected:
        raise NotFoundError("Upload not found for this model. Upload the pickle again.")
    if upload.registered_at is not None:
        raise ConflictError(f"{filename!r} has already been registered. Upload it again to run it again.")
    key = uploaded_key(storage, UploadKind.PICKLE, upload)
    size = storage.stat(key) if key is not None else None
    if size is None:
        raise InvalidInputError(f"No bytes of {filename!r} were received. Upload the file again.")
    return size


def _versions_by_match(session: Session, storage: Storage, inspection: Inspection | None) -> list[DataVersion]:
    """Return the data versions, best match first: fewest missing features, that of the training, the default."""
    trained_on = _trained_on(inspection)

    def rank(version: DataVersion) -> tuple[int, bool, bool]:
        features = _features_of(storage, version)
        used_features = inspection.features if inspection is not None else ()
        missing = sum(name not in features for name in used_features) if features is not None else 0
        return missing, version.name != trained_on, not version.is_default

    return sorted(list_data_versions(session), key=rank)


def _trained_on(inspection: Inspection | None) -> str | None:
    version = (inspection.manifest or {}).get("data_version") if inspection is not None else None
    return version if isinstance(version, str) else None


def _of_another_version(inspection: Inspection, versions: Sequence[DataVersion]) -> list[Finding]:
    trained_on = _trained_on(inspection)
    if trained_on is None or trained_on in {version.name for version in versions}:
        return []
    text = f"It was trained on the data version {trained_on[:64]!r}, which this server does not have."
    return [warn("data", "other_data_version", text, "Train it on one of the available data versions.")]


def _without_a_runtime(finding: Finding) -> Finding:
    """Return the finding of a Python mismatch with the remedy for a server without a matching runtime."""
    if finding.code != "python_mismatch":
        return finding
    fix = "This server has no runtime with that Python version. Pickle with one of its versions, or ask an admin."
    return replace(finding, fix=fix)


def _features_of(storage: Storage, version: DataVersion) -> frozenset[str] | None:
    key = version_key(version.name, FEATURES_FILE)
    if storage.stat(key) is None:
        return None
    try:
        with storage.local_path(key) as path:
            return features_in(path)
    except PredictdError:
        return None


def _columns_of(session: Session, storage: Storage, version: DataVersion, now: datetime) -> DataColumns | None:
    """Return the columns of a data version; the live columns are those of the latest round."""
    features = _features_of(storage, version)
    if features is None:
        return None
    latest = latest_round(session, CLASSIC, now)
    columns: dict[str, frozenset[str] | None] = {}
    for filename in (LIVE_FILE, LIVE_BENCHMARKS_FILE):
        key = round_key(version.name, latest.number, filename) if latest is not None else None
        columns[filename] = None
        if key is not None and storage.stat(key) is not None:
            with storage.local_path(key) as path:
                columns[filename] = columns_in(path)
    return DataColumns(
        version=version.name, features=features, live=columns[LIVE_FILE], benchmarks=columns[LIVE_BENCHMARKS_FILE]
    )
