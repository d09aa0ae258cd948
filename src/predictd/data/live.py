"""The live files of one round."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from predictd.data import schema
from predictd.data.atomic_write import staged_file, staged_folder
from predictd.data.copying import copy_settled
from predictd.data.files import read_ids
from predictd.data.generator import Process
from predictd.data.synthetic import load_plan, write_live
from predictd.data.tables import write_table
from predictd.data.verification import check_live_files
from predictd.domain.errors import InvalidInputError

Targets = NDArray[np.float32]


def publish_live(folder: Path, round_number: int, out: Path, targets_out: Path) -> bool:
    """Put the live files of a round into the folder `out`; returns whether its targets are known already.

    Of a synthetic version, each round has its own ids and values, which follow from the version's seed and the round's
    number (1 and up), and the targets that it will resolve to are written to the parquet file `targets_out` (index
    `id`, columns `era` and those of `schema.TARGETS`), which must lie outside of `out`. Of an imported version, the
    live files that lie in `folder` now are copied and there are no targets.

    What a round was once given stays: a second call leaves `out` as it is, even if the version's live files have been
    replaced in the meantime, and only makes up for missing targets.
    Raises InvalidInputError when the live files of an imported version do not belong together.
    """
    if targets_out.absolute().is_relative_to(out.absolute()):
        raise InvalidInputError(f"The targets may not be published: {targets_out} lies in {out}; choose another place.")
    published = (out / schema.LIVE_FILE).exists()
    plan = load_plan(folder)
    if plan is None:
        if not published:
            _copy_live(folder, out)
        return False
    if round_number < 1:
        raise InvalidInputError(f"Rounds are numbered from 1, and {round_number} is less.")
    if published and targets_out.exists():
        return True
    process = Process(seed=plan.seed, signal=plan.signal)
    if published:
        drawn, ids = process.live(round_number, plan.live_rows), read_ids(out / schema.LIVE_FILE)
        _write_targets(targets_out, ids, drawn.targets)
        return True
    with staged_folder(out) as staging:
        ids, drawn = write_live(staging, process, plan, round_number=round_number)
        _write_targets(targets_out, ids, drawn.targets)
    return True


def _copy_live(folder: Path, out: Path) -> None:
    with staged_folder(out) as staging:
        for name in schema.LIVE_FILES:
            if (folder / name).is_file():
                copy_settled(folder / name, staging / name)
        if not (staging / schema.LIVE_FILE).exists():
            raise InvalidInputError(f"{folder} holds no {schema.LIVE_FILE}; download it into that folder.")
        check_live_files(staging)


def _write_targets(path: Path, ids: list[str], targets: Targets) -> None:
    columns = dict(zip(schema.TARGETS, targets, strict=True))
    with staged_file(path) as staging:
        write_table(staging, ids, {"era": [schema.LIVE_ERA] * len(ids), **columns})
