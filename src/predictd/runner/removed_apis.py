"""What pandas, NumPy and scikit-learn used to have, and what takes its place."""

import re

_UNEXPECTED = re.compile(r"([\w.]{1,100})\(\) got an unexpected keyword argument '(\w{1,100})'")

PANDAS_METHODS = {
    "append": "pd.concat",
    "applymap": "map",
    "as_matrix": "to_numpy",
    "backfill": "bfill",
    "get_value": "at",
    "iteritems": "items",
    "ix": "loc or iloc",
    "is_monotonic": "is_monotonic_increasing",
    "mad": "(x - x.mean()).abs().mean()",
    "pad": "ffill",
    "set_value": "at",
    "swapaxes": "transpose",
    "tshift": "shift(freq=...)",
    "weekofyear": "isocalendar().week",
}
"""Methods and attributes of pandas' objects that are gone -> what to use."""

MODULE_NAMES = {
    "pandas": {
        "Float64Index": "pd.Index",
        "Int64Index": "pd.Index",
        "UInt64Index": "pd.Index",
        "np": "import numpy as np",
        "datetime": "import datetime",
        "value_counts": "Series.value_counts",
    },
    "numpy": {
        "float": "float",
        "int": "int",
        "object": "object",
        "complex": "complex",
        "str": "str",
        "float_": "np.float64",
        "unicode_": "np.str_",
        "string_": "np.bytes_",
        "NaN": "np.nan",
        "Inf": "np.inf",
        "Infinity": "np.inf",
        "in1d": "np.isin",
        "trapz": "np.trapezoid",
        "product": "np.prod",
        "cumproduct": "np.cumprod",
        "sometrue": "np.any",
        "alltrue": "np.all",
        "row_stack": "np.vstack",
        "msort": "np.sort",
        "round_": "np.round",
    },
}
"""Module -> names that it has no more -> what to use."""

ARGUMENTS = {
    ("fillna", "method"): ("pandas", "ffill() or bfill()"),
    ("replace", "method"): ("pandas", "ffill() or bfill()"),
    ("groupby", "axis"): ("pandas", "frame.T.groupby()"),
    ("read_csv", "squeeze"): ("pandas", '.squeeze("columns")'),
    ("to_csv", "line_terminator"): ("pandas", "lineterminator"),
    ("OneHotEncoder.__init__", "sparse"): ("sklearn", "sparse_output"),
}
"""(function, argument that it takes no more) -> (module, what to use)."""


def replacement_of_method(kind: type, name: str) -> "str | None":
    """Return what takes the place of an attribute that objects of a class of pandas do not have."""
    return PANDAS_METHODS.get(name) if kind.__module__.partition(".")[0] == "pandas" else None


def replacement_of_argument(text: str) -> "tuple[str, str, str] | None":
    """Return the module, the argument and what takes its place, for what Python says of an argument that is unknown."""
    found = _UNEXPECTED.match(text)
    if found is None:
        return None
    function, argument = found.groups()
    for name in (function, function.rpartition(".")[2]):
        if (name, argument) in ARGUMENTS:
            module, new = ARGUMENTS[name, argument]
            return module, f"the argument {argument} of {function}", new
    return None
