"""What the functions of a pickle do that a run does not like: files, paths, the network, processes, other results."""

import re
from collections.abc import Iterable, Iterator

from predictd.pickles.findings import Finding, fail, listed, shown_name, warn
from predictd.pickles.inspection import FunctionSeen, Inspection

_NETWORK = (
    "requests.", "urllib.request.", "urllib3.", "http.client.", "httpx.", "aiohttp.", "socket.socket",
    "socket.create_connection", "numerapi.", "ftplib.", "boto3.", "huggingface_hub.",
)  # fmt: skip
_PROCESSES = (
    "subprocess.",
    "os.system",
    "os.popen",
    "os.spawn",
    "os.exec",
    "os.fork",
    "pty.",
    "multiprocessing.Process",
)
_RUNNING_TEXT = ("eval", "exec", "builtins.eval", "builtins.exec", "os.remove", "shutil.rmtree", "ctypes.")
_READING = re.compile(
    r"(io\.)?open|pandas\.read_\w+|polars\.(read|scan)_\w+|joblib\.load|(cloud)?pickle\.load|torch\.load|"
    r"numpy\.(load|loadtxt|genfromtxt|fromfile)|pyarrow\.parquet\.read_table|pathlib\.Path|os\.listdir|glob\.glob"
)
_ABSOLUTE = re.compile(
    r"(/(home|Users|root|mnt|data|content|kaggle|workspace|srv|media|scratch|Volumes|dbfs|opt)/|~/|[A-Za-z]:\\)[^\n\"'<>|*]{1,200}"
)
_RELATIVE = re.compile(
    r"(?!/)[\w./ \\-]{1,200}\.(parquet|csv|json|pkl|pickle|joblib|pt|pth|npy|npz|txt|h5|keras|cbm|bin|ubj|onnx|ya?ml)"
)
_FILE_FIX = "A run has no files but its own: load it in training, and let predict use the variable."


def suspicious_calls(inspection: Inspection) -> list[str]:
    """Calls worth a look: processes, the network, files, text that is run. Each as 'function: call'; no verdict."""
    found: dict[str, None] = {}
    for one in inspection.imports:
        for name in one.names:
            if f"{one.module}.{name}".startswith((*_PROCESSES, "posix.system", "nt.system", "socket.")):
                found[f"while unpickling: {one.module}.{name}"] = None
    if inspection.dynamic:
        found["while unpickling: it calls what is carried along, or runs text"] = None
    for function in inspection.functions:
        for chain in function.chains:
            if chain.startswith((*_NETWORK, *_PROCESSES)) or chain in _RUNNING_TEXT or _READING.fullmatch(chain):
                found[f"{shown_name(function.name)}: {shown_name(chain)}"] = None
    return list(found)


def reachable_names(inspection: Inspection) -> frozenset[str]:
    """The names of the functions that a call of the model may come to, by what it and they name."""
    entry = inspection.signature.code
    if entry is None:
        return frozenset()
    names = {function.name: function for function in inspection.functions}
    reached = {entry.name}
    todo = [entry.name]
    while todo:
        function = names.get(todo.pop())
        for chain in function.chains if function is not None else ():
            for part in (one.strip("<>") for one in chain.split(".")):
                if part in names and part not in reached:
                    reached.add(part)
                    todo.append(part)
    return frozenset(reached)


def check_network(inspection: Inspection, reachable: frozenset[str]) -> Iterator[Finding]:
    """Functions that ask a server for something."""
    for function, chains in _doing(inspection.functions, _NETWORK):
        make = fail if _surely(function, reachable) else warn
        sentence = f"The function {shown_name(function.name)} uses the network ({listed(chains)}), which no run has."
        yield make("network", "network_access", sentence, "Put everything that the model needs into the pickle.")


def check_processes(inspection: Inspection) -> Iterator[Finding]:
    """Functions that start a process."""
    for function, chains in _doing(inspection.functions, _PROCESSES):
        sentence = f"The function {shown_name(function.name)} starts processes ({listed(chains)})."
        yield warn("processes", "starts_processes", sentence, "Compute in Python: a run has few other programs.")


def check_files(inspection: Inspection, reachable: frozenset[str]) -> Iterator[Finding]:
    """Paths of the machine that made the pickle, and functions that read files."""
    for function in inspection.functions:
        reading = [chain for chain in function.chains if _READING.fullmatch(chain)]
        absolute = [text for text in function.texts if _ABSOLUTE.fullmatch(text)]
        relative = [text for text in function.texts if _RELATIVE.fullmatch(text)] if reading else []
        make = fail if reading and _surely(function, reachable) else warn
        name = shown_name(function.name)
        if absolute:
            yield make("files", "absolute_path", f"The function {name} has the path {listed(absolute)}.", _FILE_FIX)
        elif relative:
            yield make("files", "reads_files", f"The function {name} reads the file {listed(relative)}.", _FILE_FIX)
        elif reading and function.name in reachable:
            yield warn("files", "reads_files", f"The function {name} reads files ({listed(reading)}).", _FILE_FIX)
    kept = [text for text in inspection.texts if _ABSOLUTE.fullmatch(text)]
    if kept:
        yield warn("files", "absolute_path", f"It keeps the path {listed(kept)} in a variable.", _FILE_FIX)
    if inspection.open_files:
        sentence = "It carries a file that was open: its text, with the place where it was read last."
        yield warn("files", "open_file", sentence, "Read the file in training, and let predict use what was read.")


def check_returns(inspection: Inspection) -> Iterator[Finding]:
    """The function returns what is surely no DataFrame."""
    for kind in inspection.returns:
        yield fail(
            "returns",
            "not_a_dataframe",
            f"It returns the result of {shown_name(kind)}, which is no pandas DataFrame.",
            "Return pd.DataFrame(predictions, index=live_features.index, columns=['prediction']).",
        )


def _doing(functions: Iterable[FunctionSeen], what: tuple[str, ...]) -> Iterator[tuple[FunctionSeen, list[str]]]:
    for function in functions:
        chains = [chain for chain in function.chains if chain.startswith(what)]
        if chains:
            yield function, chains


def _surely(function: FunctionSeen, reachable: frozenset[str]) -> bool:
    return function.name in reachable and not function.guarded
