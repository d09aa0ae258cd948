"""Publish the live files of a round."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from predictd.data import schema
from predictd.data.atomic_write import staged_file, staged_folder
from predictd.data.files import read_ids
from predictd.data.generator import EraGenerator
from predictd.data.synthetic import load_plan, write_live
from predictd.data.tables import write_table
from predictd.data.verification import check_live_files
from predictd.data.version_import import copy_stable
from predictd.domain.errors import InvalidInputError

Targets = NDArray[np.float32]


def publish_live(folder: Path, round_number: int, out: Path, targets_out: Path) -> bool:
    """Write the live files of a round into the folder `out`; return whether its targets are already known.

    For a synthetic version, each round has its own ids and values, generated from the version's seed and the round
    number (from 1), and its final targets are written to the parquet file `targets_out` (index `id`, columns `era` and
    `schema.TARGETS`), which must be outside of `out`. For an imported version, the current live files in `folder` are
    copied, and there are no targets.

    The files of a round never change: a second call leaves `out` unchanged, even if the version's live files have been
    replaced since, and only adds missing targets. Raises InvalidInputError if the live files of an imported version are
    inconsistent.
    """
    if targets_out.absolute().is_relative_to(out.absolute()):
        raise InvalidInputError(
            f"The targets must not be published, but {targets_out} is in {out}. Choose another path."
        )
    published = (out / schema.LIVE_FILE).exists()
    plan = load_plan(folder)
    if plan is None:
        if not published:
            _copy_live(folder, out)
        return False
    if round_number < 1:
        raise InvalidInputError(f"The round number is {round_number}, but rounds are numbered from 1.")
    if published and targets_out.exists():
        return True
    generator = EraGenerator(seed=plan.seed, signal=plan.signal)
    if published:
        drawn, ids = generator.live(round_number, plan.live_rows), read_ids(out / schema.LIVE_FILE)
        _write_targets(targets_out, ids, drawn.targets)
        return True
    with staged_folder(out) as staging:
        ids, drawn = write_live(staging, generator, plan, round_number=round_number)
        _write_targets(targets_out, ids, drawn.targets)
    return True


def _copy_live(folder: Path, out: Path) -> None:
    with staged_folder(out) as staging:
        for name in schema.LIVE_FILES:
            if (folder / name).is_file():
                copy_stable(folder / name, staging / name)
        if not (staging / schema.LIVE_FILE).exists():
            raise InvalidInputError(f"{folder} does not contain {schema.LIVE_FILE}. Download it into that folder.")
        check_live_files(staging)


def _write_targets(path: Path, ids: list[str], targets: Targets) -> None:
    columns = dict(zip(schema.TARGETS, targets, strict=True))
    with staged_file(path) as staging:
        write_table(staging, ids, {"era": [schema.LIVE_ERA] * len(ids), **columns})
