"""The compiled library reads and writes nothing that is not its own: `driver.c` under sanitizers and valgrind."""

import shutil
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from forests import random_forest, random_matrix, walked

from predictd.trees.forest import Forest

HERE = Path(__file__).parent
SOURCES = [HERE / "driver.c", *sorted((HERE.parents[1] / "native/trees").glob("*.c"))]
FLAGS = ["-g", "-O1", "-std=gnu11", "-D_GNU_SOURCE", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror"]
SANITIZED = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
SHAPES = [
    {"trees": 20, "most_leaves": 32, "depth": 5},
    {"trees": 20, "most_leaves": 31},
    {"trees": 3, "most_leaves": 200},
    {"trees": 20, "most_leaves": 40, "outputs": 3, "single": True},
]


def case(folder: Path, forest: Forest, matrix: np.ndarray) -> Path:
    path = folder / "case"
    head = (forest.features, forest.low, forest.high, forest.single, len(forest.start))
    sizes = (len(forest.roots), len(forest.feature), len(forest.values), matrix.shape[1])
    arrays = (forest.roots, forest.outputs_of, forest.feature, forest.threshold, forest.left, forest.right)
    content = [struct.pack("<9q", *head, *sizes), *(np.asarray(array, np.int32).tobytes() for array in arrays)]
    path.write_bytes(b"".join([*content, forest.values.tobytes(), forest.start.tobytes(), matrix.tobytes()]))
    return path


def lightgbm_text(forest: Forest) -> str:
    """The trees of a forest as LightGBM writes them."""
    lines = []
    for number, root in enumerate(forest.roots):
        nodes: list[int] = []
        leaves: list[int] = []
        waiting = [root]
        while waiting:
            at = waiting.pop()
            (nodes if at >= 0 else leaves).append(at if at >= 0 else ~at)
            if at >= 0:
                waiting += [forest.right[at], forest.left[at]]
        place = {**{node: i for i, node in enumerate(nodes)}, **{~leaf: ~i for i, leaf in enumerate(leaves)}}
        lines += [f"Tree={number}", f"num_leaves={len(leaves)}", "num_cat=0"]
        if nodes:
            lines += [
                "split_feature=" + " ".join(str(forest.feature[node]) for node in nodes),
                "threshold=" + " ".join(f"{forest.threshold[node] + 0.5:.17g}" for node in nodes),
                "decision_type=" + " ".join("2" for node in nodes),
                "left_child=" + " ".join(str(place[forest.left[node]]) for node in nodes),
                "right_child=" + " ".join(str(place[forest.right[node]]) for node in nodes),
            ]
        lines += ["leaf_value=" + " ".join(f"{forest.values[leaf]:.17g}" for leaf in leaves), "is_linear=0"]
        lines += ["shrinkage=1", "", ""]
    return "\n".join([*lines, "end of trees", ""])


def build(folder: Path, flags: list[str]) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc") or pytest.skip("no C compiler is installed")
    path = folder / "driver"
    done = subprocess.run(
        [compiler, *FLAGS, *flags, "-o", path, *SOURCES, "-lm"], capture_output=True, text=True, check=False
    )
    if "cannot find" in done.stderr and "san" in done.stderr:
        pytest.skip("the compiler has no sanitizers")
    assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """The driver with sanitizers."""
    return [build(tmp_path_factory.mktemp("sanitized"), SANITIZED)]


@pytest.fixture(scope="module")
def valgrind(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """The driver under valgrind, which knows no AVX-512."""
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    options = ["-q", "--error-exitcode=9", "--leak-check=full", "--track-origins=no"]
    return ["valgrind", *options, build(tmp_path_factory.mktemp("valgrind"), [])]


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr[-5000:]


@pytest.mark.parametrize("tool", ["sanitized", "valgrind"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums(tool: str, shape: dict[str, int], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    driver = request.getfixturevalue(tool)
    random = np.random.default_rng(6)
    forest = random_forest(random, **shape)
    matrix = random_matrix(random, forest, 1100)
    run(*driver, "sums", case(tmp_path, forest, matrix), tmp_path / "sums")
    expected = walked(forest, matrix).T.tobytes()
    found = (tmp_path / "sums").read_bytes()
    assert len(found) >= 2 * len(expected)
    assert found == expected * (len(found) // len(expected))


def test_damaged_tables(sanitized: list[str | Path], tmp_path: Path) -> None:
    for shape in SHAPES:
        random = np.random.default_rng(7)
        forest = random_forest(random, **shape)
        run(*sanitized, "damage", case(tmp_path, forest, random_matrix(random, forest, 600)))


@pytest.mark.parametrize("tool", ["sanitized", "valgrind"])
def test_damaged_text(tool: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    driver = request.getfixturevalue(tool)
    path = tmp_path / "model.txt"
    path.write_text(lightgbm_text(random_forest(np.random.default_rng(8), 6 if tool == "sanitized" else 2, 40)))
    run(*driver, "text", path)


@pytest.mark.parametrize("tool", ["sanitized", "valgrind"])
def test_conversion(tool: str, request: pytest.FixtureRequest) -> None:
    run(*request.getfixturevalue(tool), "convert")
