"""The result types of pandas, numpy and model operations that do not depend on the data."""

from collections.abc import Mapping
from dataclasses import replace

from predictd.pickles.values import ARRAY, FRAME, SERIES, UNKNOWN, Value

_NUMBERS = ("int", "float", "bool")
_SAME = {"copy", "rank", "fillna", "clip", "abs", "round", "astype", "head", "tail", "sort_index", "shift"}
_REDUCTIONS = {"mean", "median", "sum", "std", "var", "min", "max", "prod", "nunique"}
_FUNCTIONS = {
    **dict.fromkeys(
        ("numpy.array", "numpy.asarray", "numpy.zeros", "numpy.ones", "numpy.full", "numpy.random.rand",
         "numpy.random.random", "numpy.linspace", "numpy.arange", "scipy.stats.rankdata"), ARRAY,
    ),
    "pandas.Series": SERIES,
    "pandas.DataFrame": FRAME,
    "list": "list",
    "dict": "dict",
    "tuple": "tuple",
    "float": "float",
    "int": "int",
    "str": "str",
    "polars.DataFrame": "polars.DataFrame",
    "polars.Series": "polars.Series",
    "pathlib.Path": "path",
}  # fmt: skip
_CONVERSIONS = {"to_numpy": ARRAY, "tolist": "list", "to_list": "list", "to_dict": "dict"}
_OF_ARRAY = {"tolist": "list", "astype": ARRAY, "reshape": ARRAY, "ravel": ARRAY, "copy": ARRAY}
_ESTIMATORS = ("lightgbm.sklearn.LGBM", "lightgbm.basic.Booster", "xgboost.sklearn.XGB", "catboost.core.CatBoost")
_SKLEARN = ("sklearn.linear_model.", "sklearn.ensemble.", "sklearn.neural_network.", "sklearn.tree.", "sklearn.svm.")


def result_of_call(function: Value, arguments: tuple[Value, ...] | None, keywords: Mapping[str, Value] | None) -> Value:
    """Return the result of a call; `arguments` and `keywords` are None if they cannot be counted."""
    name = f"{function.name}()"
    if not function.owner:  # a function of a module, or of an unknown object
        kind = _FUNCTIONS.get(function.name, "")
        path = arguments[0].constant if kind == "path" and arguments and len(arguments) == 1 and not keywords else ()
        return Value(type=kind, name=name, constant=path)
    method = function.name.rpartition(".")[2]
    return Value(type=_type_of_method(function.owner, method, arguments, keywords), name=name)


def _type_of_method(
    owner: str, method: str, arguments: tuple[Value, ...] | None, keywords: Mapping[str, Value] | None
) -> str:
    if method == "predict" and owner.startswith((*_ESTIMATORS, *_SKLEARN)):
        return ARRAY
    if owner not in (FRAME, SERIES, ARRAY) or arguments is None or keywords is None:
        return ""
    if owner == ARRAY:
        return _OF_ARRAY.get(method, "")
    axis = [*arguments, *([keywords["axis"]] if "axis" in keywords else [])]
    reduces = len(axis) <= 1 and set(keywords) <= {"axis", "skipna", "numeric_only"}
    if owner == FRAME and method in _REDUCTIONS:
        return SERIES if reduces and all(value.type in ("int", "str") for value in axis) else ""
    if method in _SAME and "inplace" not in keywords and len(arguments) <= 1:
        return owner
    return FRAME if method == "to_frame" and owner == SERIES else _CONVERSIONS.get(method, "")


def result_of_subscript(owner: Value, key: Value) -> Value:
    """Return the result of `owner[key]`: a column, columns, or a column by its position."""
    if owner.type == FRAME and key.type == "str" and owner.argument:
        return Value(type=SERIES, name=f"{owner.name}[]")
    if owner.type == FRAME and key.type == "list":
        return Value(type=FRAME, name=f"{owner.name}[]")
    by_position = owner.owner == FRAME and owner.name.endswith(".iloc") and len(key.items) == 2
    if by_position and key.items[0].type == "slice" and key.items[1].type == "int":
        return Value(type=SERIES, name=f"{owner.name}[]")
    if by_position and key.items[0].type == "slice" and key.items[1].type in ("list", "slice"):
        return Value(type=FRAME, name=f"{owner.name}[]")
    return Value(name=f"{owner.name}[]")


def combined(first: Value, second: Value) -> Value:
    """Return the result of an arithmetic operation on two values."""
    kinds = {first.type, second.type}
    if kinds <= {ARRAY, SERIES, FRAME, *_NUMBERS}:
        for kind in (FRAME, SERIES, ARRAY):
            if kind in kinds:
                operand = first if first.type == kind else second
                # A frame and an array, or a series, may be a matrix product.
                return UNKNOWN if kind == FRAME and len(kinds - {FRAME, *_NUMBERS}) else _unbound(operand)
        return Value(type="float")
    return UNKNOWN


def _unbound(value: Value) -> Value:
    return replace(value, argument="", untouched=False, constant=())
