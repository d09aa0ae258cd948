"""Check what the functions of a pickle do that a run does not allow: network, processes, results other than
DataFrames.
"""

import re
from collections.abc import Iterator

from predictd.pickles.data_flow import Call
from predictd.pickles.file_access import READS
from predictd.pickles.formatting import Finding, fail, format_name, join_names, warn
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
# Calls that connect immediately, so that they fail without a network.
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
_TO_FRAME = "Return series.to_frame('prediction'); its index must be live_features.index."
_BUILD_FRAME = "Return pd.DataFrame({'prediction': values}, index=live_features.index)."


def suspicious_calls(inspection: Inspection) -> list[str]:
    """Return calls to review, each as 'function: call': processes, network, files and executed text."""
    calls: dict[str, None] = {}
    for imported in inspection.imports:
        for name in imported.names:
            if f"{imported.module}.{name}".startswith((*_PROCESSES, "posix.system", "nt.system", "socket.")):
                calls[f"while unpickling: {imported.module}.{name}"] = None
    if inspection.dynamic:
        calls["while unpickling: it calls code in the pickle, or executes text"] = None
    for function in inspection.functions:
        for chain in function.chains:
            if chain.startswith((*_NETWORK, *_PROCESSES)) or chain in _RUNNING_TEXT or READS.fullmatch(chain):
                calls[f"{format_name(function.name)}: {format_name(chain)}"] = None
    return list(calls)


def reachable_names(inspection: Inspection) -> frozenset[str]:
    """Return the names of the functions that a call of the model may reach, by the names in their code."""
    entry = inspection.signature.code
    if entry is None:
        return frozenset()
    names = {function.name: function for function in inspection.functions}
    reached = {entry.name}
    pending = [entry.name]
    while pending:
        function = names.get(pending.pop())
        for chain in function.chains if function is not None else ():
            for part in (name.strip("<>") for name in chain.split(".")):
                if part in names and part not in reached:
                    reached.add(part)
                    pending.append(part)
    return frozenset(reached)


def check_network(inspection: Inspection) -> Iterator[Finding]:
    """Yield findings for functions that connect to a server: failures where every run does, warnings otherwise."""
    for function in inspection.functions:
        chains = [chain for chain in function.chains if chain.startswith(_NETWORK)]
        chains = chains or [call.function.name for call in function.calls if _connects(call)]
        if not chains:
            continue
        certain = any(_connects(call) for call in function.certain_calls)
        name = format_name(function.name)
        sentence = f"The function {name} uses the network ({join_names(chains)}), which no run has."
        if not certain:
            sentence = f"The function {name} may use the network ({join_names(chains)}), which no run has."
        report = fail if certain else warn
        yield report("network", "network_access", sentence, "Put everything that the model needs into the pickle.")


def _connects(call: Call) -> bool:
    """Return whether the call certainly connects to another machine, whose address is in the function."""
    url = call.arguments[0].constant if call.arguments else ()
    is_remote = bool(url) and isinstance(url[0], str) and _REMOTE.match(url[0]) is not None
    return is_remote and not call.function.owner and _CONNECTING.fullmatch(call.function.name) is not None


def check_processes(inspection: Inspection) -> Iterator[Finding]:
    """Yield findings for functions that start a process."""
    for function in inspection.functions:
        chains = [chain for chain in function.chains if chain.startswith(_PROCESSES)]
        if not chains:
            continue
        sentence = f"The function {format_name(function.name)} may start processes ({join_names(chains)})."
        yield warn("processes", "starts_processes", sentence, "Compute in Python: a run has few other programs.")


def check_returns(inspection: Inspection) -> Iterator[Finding]:
    """Yield a finding if the model returns, certainly or on one path, something other than a DataFrame."""
    returns = inspection.returns
    if returns is None:
        return
    if not returns:
        sentence = "It never returns: every path through the function raises an exception or loops forever."
        yield fail("returns", "exception", sentence, "Return a DataFrame on every path.")
        return
    other_values = [value for value in returns if value.type not in ("", FRAME)]
    if len(other_values) == len(returns):
        results = [value for value in other_values if value.type != "None"] or other_values
        yield fail("returns", "not_a_dataframe", f"It returns {_describe_value(results[0])}.", _remedy(results[0]))
        return
    # A with statement adds a path that returns None, which is never taken.
    doubtful = [value for value in other_values if value.type != "None"]
    doubtful += [value for value in returns if not value.type and value.name.endswith(_NO_FRAME_ENDS)]
    if doubtful:
        sentence = f"It may return {_describe_value(doubtful[0])}."
        yield warn("returns", "not_a_dataframe", sentence, _remedy(doubtful[0]))


def _describe_value(value: Value) -> str:
    description = _SHOWN_TYPES.get(
        value.type, f"an object of the type {format_name(value.type)}" if value.type else "a value"
    )
    made_by = value.name.removesuffix("()").replace("<", "").replace(">", "").replace("[]", "[...]")
    source = f" (the result of {format_name(made_by)})" if made_by else ""
    return f"{description}{source}, which is not a pandas DataFrame"


def _remedy(value: Value) -> str:
    if value.type in ("generator", "coroutine", "async generator"):
        return "Write predict as a plain function without yield and async."
    return _TO_FRAME if value.type == SERIES else _BUILD_FRAME
