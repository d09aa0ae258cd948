"""What the functions of a pickle do that a run does not like: the network, processes, results that are no DataFrame."""

import re
from collections.abc import Iterator

from predictd.pickles.data_flow import Call
from predictd.pickles.file_access import READING
from predictd.pickles.findings import Finding, fail, listed, shown_name, warn
from predictd.pickles.inspection import Inspection
from predictd.pickles.values import ARRAY, FRAME, SERIES, Value

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
# Calls that connect at once, so that they fail without a network.
_CONNECTING = re.compile(
    r"(requests|httpx)\.(get|post|put|patch|delete|head|request)|urllib\.request\.(urlopen|urlretrieve)|"
    r"pandas\.read_(csv|parquet|json|pickle|table|feather)"
)
_REMOTE = re.compile(r"https?://(?!localhost|127\.|0\.|\[)[\w.-]+", re.IGNORECASE)
_SHOWN_TYPES = {
    SERIES: "a pandas Series", ARRAY: "a numpy array", "None": "nothing (None)", "generator": "a generator",
    "coroutine": "a coroutine, because it is async", "async generator": "an async generator",
}  # fmt: skip
_NO_FRAME_ENDS = (".tolist()", ".to_list()", ".to_numpy()", ".to_dict()", ".values")
_TO_FRAME = "Return series.to_frame('prediction'); its index must be that of live_features."
_BUILD_FRAME = "Return pd.DataFrame({'prediction': values}, index=live_features.index)."


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
            if chain.startswith((*_NETWORK, *_PROCESSES)) or chain in _RUNNING_TEXT or READING.fullmatch(chain):
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


def check_network(inspection: Inspection) -> Iterator[Finding]:
    """Functions that connect to a server: for certain where a run can't do without, else perhaps."""
    for function in inspection.functions:
        chains = [chain for chain in function.chains if chain.startswith(_NETWORK)]
        chains = chains or [call.function.name for call in function.calls if _connects(call)]
        if not chains:
            continue
        certain = any(_connects(call) for call in function.certain_calls)
        name = shown_name(function.name)
        sentence = f"The function {name} uses the network ({listed(chains)}), which no run has."
        if not certain:
            sentence = f"The function {name} may use the network ({listed(chains)}), which no run has."
        make = fail if certain else warn
        yield make("network", "network_access", sentence, "Put everything that the model needs into the pickle.")


def _connects(call: Call) -> bool:
    """Whether the call surely connects to another machine: its address stands in the function."""
    url = call.arguments[0].constant if call.arguments else ()
    is_remote = bool(url) and isinstance(url[0], str) and _REMOTE.match(url[0]) is not None
    return is_remote and not call.function.owner and _CONNECTING.fullmatch(call.function.name) is not None


def check_processes(inspection: Inspection) -> Iterator[Finding]:
    """Functions that start a process."""
    for function in inspection.functions:
        chains = [chain for chain in function.chains if chain.startswith(_PROCESSES)]
        if not chains:
            continue
        sentence = f"The function {shown_name(function.name)} may start processes ({listed(chains)})."
        yield warn("processes", "starts_processes", sentence, "Compute in Python: a run has few other programs.")


def check_returns(inspection: Inspection) -> Iterator[Finding]:
    """What the model returns, where that is surely, or on one way, no DataFrame."""
    returns = inspection.returns
    if returns is None:
        return
    if not returns:
        sentence = "It never returns: every way through the function raises an exception or goes on without an end."
        yield fail("returns", "exception", sentence, "Let every way end with the return of a DataFrame.")
        return
    other = [value for value in returns if value.type not in ("", FRAME)]
    if len(other) == len(returns):
        told = [value for value in other if value.type != "None"] or other
        yield fail("returns", "not_a_dataframe", f"It returns {_shown_value(told[0])}.", _remedy(told[0]))
        return
    # A with statement makes a way that returns None, which is never taken.
    doubtful = [value for value in other if value.type != "None"]
    doubtful += [value for value in returns if not value.type and value.name.endswith(_NO_FRAME_ENDS)]
    if doubtful:
        sentence = f"It may return {_shown_value(doubtful[0])}."
        yield warn("returns", "not_a_dataframe", sentence, _remedy(doubtful[0]))


def _shown_value(value: Value) -> str:
    what = _SHOWN_TYPES.get(value.type, f"an object of the type {shown_name(value.type)}" if value.type else "a value")
    made_by = value.name.removesuffix("()").replace("<", "").replace(">", "").replace("[]", "[...]")
    source = f" (the result of {shown_name(made_by)})" if made_by else ""
    return f"{what}{source}, which is no pandas DataFrame"


def _remedy(value: Value) -> str:
    if value.type in ("generator", "coroutine", "async generator"):
        return "Make predict a plain function: without yield and async, with return."
    return _TO_FRAME if value.type == SERIES else _BUILD_FRAME
