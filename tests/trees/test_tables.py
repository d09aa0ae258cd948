"""Tables that are damaged, of another format or another model are never used."""

import ctypes

import numpy as np
import pytest
from forests import random_forest, random_matrix, walked

from predictd.trees import TablesError, native
from predictd.trees.compiled import HEADER_LENGTH, compile_forest, pack, unpack
from predictd.trees.evaluator import Evaluator
from predictd.trees.store import Store

RANDOM = np.random.default_rng(4)
FOREST = random_forest(RANDOM, 12, 60, outputs=2)
MATRIX = random_matrix(RANDOM, FOREST, 520)
FINGERPRINT = bytes(range(32))
TABLES = compile_forest(FOREST, fingerprint=FINGERPRINT)


def test_a_file_holds_the_tables_of_several_models():
    other = compile_forest(random_forest(RANDOM, 3, 5), fingerprint=b"x" * 32)
    content = pack({FINGERPRINT: TABLES, b"x" * 32: other})
    found = unpack(content)
    assert list(found) == [FINGERPRINT, b"x" * 32]
    assert (Evaluator(found[FINGERPRINT], fingerprint=FINGERPRINT).sums(MATRIX) == walked(FOREST, MATRIX)).all()
    assert unpack(b"") == {}


def test_kept_tables_are_used_and_handed_out_again():
    store = Store(unpack(TABLES))
    evaluator = store.evaluator(FINGERPRINT, pytest.fail)
    assert (evaluator.sums(MATRIX) == walked(FOREST, MATRIX)).all()
    assert store.export_tables() == TABLES


@pytest.mark.parametrize("at", [*range(0, HEADER_LENGTH, 3), *range(HEADER_LENGTH, len(TABLES), len(TABLES) // 60)])
def test_one_damaged_byte_is_noticed(at):
    damaged = bytearray(TABLES)
    damaged[at] ^= 1 << at % 8
    with pytest.raises(TablesError):
        Evaluator(damaged, fingerprint=FINGERPRINT)
    try:
        kept = unpack(damaged)
    except TablesError:
        return
    store = Store(kept)
    assert (store.evaluator(FINGERPRINT, lambda: FOREST).sums(MATRIX) == walked(FOREST, MATRIX)).all()
    assert store.problems or FINGERPRINT not in kept


@pytest.mark.parametrize("length", [0, 1, 127, 128, 129, len(TABLES) - 64, len(TABLES) - 1])
def test_tables_that_are_cut_off_are_refused(length):
    with pytest.raises(TablesError):
        Evaluator(TABLES[:length], fingerprint=FINGERPRINT)
    with pytest.raises(TablesError):
        Evaluator(TABLES + TABLES[:length] + b"x", fingerprint=FINGERPRINT)


def test_tables_of_another_model_are_refused():
    with pytest.raises(TablesError, match="another model"):
        Evaluator(TABLES, fingerprint=bytes(32))


@pytest.mark.parametrize("path", native.paths())
def test_wrong_content_behind_a_right_checksum_reads_nothing_outside(path):
    """The check alone must hold, whatever made the bytes; under a sanitizer this would not stay unnoticed."""
    library = native.library()
    body = np.frombuffer(TABLES[HEADER_LENGTH:], dtype=np.uint8).copy()
    random = np.random.default_rng(5)
    accepted = 0
    number = native.PATHS.index(path)
    out = np.empty((1 << 8, 520))
    for _ in range(4000):
        damaged = body.copy()
        for at in random.integers(len(body), size=random.integers(1, 4)):
            damaged[at] = random.integers(256)
        if library.trees_check(damaged.ctypes.data, len(damaged)) is None:
            outputs, features = damaged[4:8].view("<u4")[0], damaged[0:4].view("<u4")[0]
            if outputs > len(out) or features > len(MATRIX):
                continue
            accepted += 1
            library.trees_evaluate(damaged.ctypes.data, number, MATRIX.ctypes.data, 520, 1, 520, out.ctypes.data)
    assert accepted > 100


def test_the_library_is_named_when_it_does_not_load(monkeypatch, tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setenv(native.LIBRARY_VARIABLE, str(broken))
    native._load.cache_clear()
    try:
        assert str(broken) in (native.available() or "")
    finally:
        monkeypatch.undo()
        native._load.cache_clear()
    assert native.available() is None


def test_a_path_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv(native.PATH_VARIABLE, "abacus")
    with pytest.raises(native.NativeError, match="abacus"):
        Evaluator(TABLES)


def test_one_library_serves_every_python():
    """Its symbols are plain C: nothing of Python is linked."""
    library = ctypes.CDLL(native.library()._name)
    assert not hasattr(library, "PyInit_libpredictd_trees")
