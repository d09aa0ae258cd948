"""Files that the functions of a pickle read or write, and those that a run does not have."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from predictd.pickles.data_flow import Call
from predictd.pickles.formatting import Finding, fail, format_name, join_names, passed, warn
from predictd.pickles.functions import FunctionSummary
from predictd.pickles.inspection import Inspection
from predictd.pickles.values import UNKNOWN

READS = re.compile(
    r"(io\.)?open|pandas\.read_\w+|polars\.(read|scan)_\w+|joblib\.load|(cloud)?pickle\.load|torch\.load|"
    r"numpy\.(load|loadtxt|genfromtxt|fromfile)|pyarrow\.parquet\.(read_table|ParquetFile)|os\.listdir|glob\.glob|"
    r"pathlib\.Path\(\)\.(open|read_text|read_bytes)"
)
_READS_PATH = re.compile(
    r"pandas\.read_(csv|parquet|json|pickle|table|feather|excel|hdf)|polars\.read_(csv|parquet|json)|joblib\.load|"
    r"torch\.load|numpy\.(load|loadtxt|genfromtxt|fromfile)|pyarrow\.parquet\.(read_table|ParquetFile)|os\.listdir"
)
_OPENING = re.compile(r"(io\.)?open|pathlib\.Path\(\)\.open")
_PATH_METHODS = {
    f"pathlib.Path().{verb}_{what}": verb == "write" for verb in ("read", "write") for what in ("text", "bytes")
}
_WRITING = re.compile(
    r"(.*\.)?(to_(csv|parquet|pickle|json|feather|excel|hdf|sql|xml)|write_\w+|save\w*|extract(all)?|touch|tofile)|"
    r"(joblib|(cloud)?pickle|json|yaml)\.dump|shutil\.\w+|os\.(rename|replace|link|symlink|mkdir|makedirs|open)|"
    r"subprocess\.\w+|os\.system|os\.popen|pathlib\.Path\(\)\.(write_text|write_bytes)"
)
_ABSOLUTE = re.compile(
    r"(/(home|Users|root|mnt|data|content|kaggle|workspace|srv|media|scratch|Volumes|dbfs|opt)/|~/|[A-Za-z]:\\)[^\n\"'<>|*]{1,200}"
)
_RELATIVE = re.compile(
    r"(?!/)[\w./ \\-]{1,200}\.(parquet|csv|json|pkl|pickle|joblib|pt|pth|npy|npz|txt|h5|keras|cbm|bin|ubj|onnx|ya?ml)"
)
# Folders where a run may have files of the interpreter and of packages.
_RUNTIME_FOLDERS = ("/lib/python", "-packages/", "/.pyenv/", "/predictd")
_READ_FIX = "A run has only its own files: load the file in training, and use the variable in predict."
_WRITE_FIX = "Write to a relative path or to /tmp, which a run can write to; the files are removed after the run."


@dataclass(frozen=True, kw_only=True)
class FileUse:
    """A call that opens a file.

    Attributes:
        path: of the file, or None if the function computes it.
        writes: whether the file is written and need not exist; None if the function computes the mode.
        certain: whether no run succeeds without this call.
    """

    path: str | None
    writes: bool | None
    certain: bool


def check_files(inspection: Inspection, reachable: frozenset[str]) -> Iterator[Finding]:
    """Yield findings for paths of the machine that created the pickle, and for functions that read and write files."""
    may_write = inspection.dynamic or any(_may_write(function) for function in inspection.functions)
    for function in inspection.functions:
        yield from _of_function(function, reachable, may_write=may_write)
    stored = [text for text in inspection.texts if _ABSOLUTE.fullmatch(text)]
    if stored:
        yield warn("files", "absolute_path", f"It stores the path {join_names(stored)} in a variable.", _READ_FIX)
    if inspection.open_files:
        sentence = "It contains an open file: its text and the read position."
        yield warn("files", "open_file", sentence, "Read the file in training, and use its contents in predict.")


def _of_function(function: FunctionSummary, reachable: frozenset[str], *, may_write: bool) -> Iterator[Finding]:
    uses = _uses(function)
    name = format_name(function.name)
    written = [use.path for use in uses if use.writes and use.path is not None]
    for path in dict.fromkeys(written):
        if _ABSOLUTE.fullmatch(path):
            sentence = f"The function {name} writes the file {format_name(path)}, whose folder a run may not have."
            yield warn("files", "absolute_path", sentence, _WRITE_FIX)
        elif function.name in reachable:
            yield passed(
                "files", f"The function {name} writes the file {format_name(path)}, which is removed after the run."
            )
    reads = [use for use in uses if not use.writes]
    certain = [
        use.path
        for use in reads
        if use.certain and use.writes is False and use.path is not None and not may_write and _is_missing(use.path)
    ]
    texts = [text for text in function.texts if text not in written]
    absolute = [text for text in texts if _ABSOLUTE.fullmatch(text)]
    relative = [text for text in texts if _RELATIVE.fullmatch(text)] if reads else []
    if certain:
        code = "absolute_path" if _ABSOLUTE.fullmatch(certain[0]) else "reads_files"
        yield fail(
            "files", code, f"The function {name} reads the file {join_names(certain)}, which no run has.", _READ_FIX
        )
    elif absolute:
        yield warn(
            "files", "absolute_path", f"The function {name} contains the path {join_names(absolute)}.", _READ_FIX
        )
    elif relative:
        yield warn("files", "reads_files", f"The function {name} may read the file {join_names(relative)}.", _READ_FIX)
    elif reads and function.name in reachable:
        chains = [chain for chain in function.chains if READS.fullmatch(chain)]
        yield warn("files", "reads_files", f"The function {name} may read files ({join_names(chains)}).", _READ_FIX)


def _uses(function: FunctionSummary) -> list[FileUse]:
    """Return the calls that open files; a reading function that is named but not seen called may open one too."""
    certain = {id(call) for call in function.certain_calls}
    uses = [use for call in function.calls if (use := _use(call, certain=id(call) in certain)) is not None]
    called = {call.function.name for call in function.calls}
    unseen = any(READS.fullmatch(chain) and chain not in called for chain in function.chains)
    return [*uses, FileUse(path=None, writes=None, certain=False)] if unseen else uses


def _use(call: Call, *, certain: bool) -> FileUse | None:
    name = call.function.name
    if _OPENING.fullmatch(name):
        return _opening(call, certain=certain)
    if name in _PATH_METHODS:
        return FileUse(path=_text(call.function.constant), writes=_PATH_METHODS[name], certain=certain)
    first = call.arguments[0].constant if call.arguments else ()
    if _READS_PATH.fullmatch(name):
        return FileUse(path=_text(first), writes=False, certain=certain)
    if READS.fullmatch(name) and name not in ("pickle.load", "cloudpickle.load"):
        return FileUse(path=None, writes=None, certain=False)
    if _WRITING.fullmatch(name) and _text(first) is not None:
        return FileUse(path=_text(first), writes=True, certain=certain)
    return None


def _opening(call: Call, *, certain: bool) -> FileUse:
    """Return the file use of `open(path, mode)` or `Path(path).open(mode)`."""
    of_path = call.function.name.startswith("pathlib.")
    if call.arguments is None or call.keywords is None:
        return FileUse(path=None, writes=None, certain=False)
    arguments = call.arguments
    first = arguments[0] if arguments else call.keywords.get("file", UNKNOWN)
    path = call.function.constant if of_path else first.constant
    modes = arguments[0 if of_path else 1 :][:1] or ([call.keywords["mode"]] if "mode" in call.keywords else [])
    mode = _text(modes[0].constant) if modes else "r"
    writes = None if mode is None else bool(set("wax") & set(mode))
    return FileUse(path=_text(path), writes=writes, certain=certain)


def _text(value: tuple[object, ...]) -> str | None:
    return value[0] if value and isinstance(value[0], str) else None


def _is_missing(path: str) -> bool:
    """Return whether no run has the file: it is on the user's machine or in the working folder, which starts empty."""
    if any(part in path for part in _RUNTIME_FOLDERS):
        return False
    return _ABSOLUTE.fullmatch(path) is not None or (_RELATIVE.fullmatch(path) is not None and ".." not in path)


def _may_write(function: FunctionSummary) -> bool:
    return any(_WRITING.fullmatch(chain) for chain in function.chains) or any(
        use.writes is not False for use in _uses(function)
    )
