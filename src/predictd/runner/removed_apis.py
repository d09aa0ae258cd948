"""Removed APIs of pandas, NumPy and scikit-learn, and their replacements."""

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
"""Removed methods and attributes of pandas objects -> replacement."""

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
"""Module -> removed names -> replacement."""

ARGUMENTS = {
    ("fillna", "method"): ("pandas", "ffill() or bfill()"),
    ("replace", "method"): ("pandas", "ffill() or bfill()"),
    ("groupby", "axis"): ("pandas", "frame.T.groupby()"),
    ("read_csv", "squeeze"): ("pandas", '.squeeze("columns")'),
    ("to_csv", "line_terminator"): ("pandas", "lineterminator"),
    ("OneHotEncoder.__init__", "sparse"): ("sklearn", "sparse_output"),
}
"""(function, removed argument) -> (module, replacement)."""


def replacement_of_method(kind: type, name: str) -> "str | None":
    """Return the replacement of an attribute that a class of pandas no longer has, or None."""
    return PANDAS_METHODS.get(name) if kind.__module__.partition(".")[0] == "pandas" else None


def replacement_of_argument(text: str) -> "tuple[str, str, str] | None":
    """Return module, argument and replacement for Python's message about an unexpected argument, or None."""
    match = _UNEXPECTED.match(text)
    if match is None:
        return None
    function, argument = match.groups()
    for name in (function, function.rpartition(".")[2]):
        if (name, argument) in ARGUMENTS:
            module, replacement = ARGUMENTS[name, argument]
            return module, f"the argument {argument} of {function}", replacement
    return None
