"""Summarize a pickle: models and their trees, captured tables, tensors, features, and the sizes of the parts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from predictd.pickles.parser import ParsedPickle, Truncated
from predictd.pickles.reconstruct import as_code, as_function, class_of, is_plain, name_of, parts_of
from predictd.runner.pickle_vm import CallResult, Items, Pairs, Persistent

_MODELS = (
    "lightgbm",
    "xgboost",
    "catboost",
    "sklearn",
    "torch",
    "keras",
    "tensorflow",
    "skorch",
    "tabpfn",
    "statsmodels",
)
_TABLES = {"pandas.core.frame.DataFrame", "pandas.DataFrame", "polars.dataframe.frame.DataFrame"}
_FEATURE = re.compile(r"feature_[a-z0-9]+(?:_[a-z0-9]+)+")
_SETTINGS = re.compile(
    r"feature_(names|importance|fraction|pre|selection|types|infos|perturbation|weights|selector)\b.*|.*_in_?"
)
_XGBOOST_TREES = re.compile(rb"num_trees[^0-9]{1,12}(\d{1,7})")
WRAPPED = "predictd.pickles.portable"
_MAX_VALUES = 3_000_000
_MAX_PARTS = 12


@dataclass(frozen=True, kw_only=True)
class Model:
    """A kind of model in the file: class, count, bytes, and trees if they can be counted."""

    kind: str
    count: int
    size: int
    trees: int | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """A variable of the model, and its bytes in the file."""

    name: str
    kind: str
    size: int


def values_of(parsed: ParsedPickle) -> Iterator[Any]:
    """Yield each object in the pickle and in nested pickles once."""
    visited: set[int] = set()
    pending: list[Any] = [parsed.top, *parsed.calls][::-1]
    for inner in parsed.nested:
        yield from values_of(inner)
    while pending and len(visited) < _MAX_VALUES:
        value = pending.pop()
        if isinstance(value, (str, int, float, bytes)) or value is None:
            yield value
            continue
        if id(value) in visited:
            continue
        visited.add(id(value))
        yield value
        if isinstance(value, CallResult):
            pending += [value.function, value.arguments, *value.states, value.items, value.pairs]
        elif isinstance(value, Persistent):
            pending.append(value.name)
        else:
            pending += parts_of(value)


def models_in(values: list[Any]) -> list[Model]:
    """Return the models by their classes, largest first."""
    sizes_by_kind: dict[str, list[int]] = {}
    trees: dict[str, int | None] = {}
    for value in values:
        for package, count in _trees(value):
            previous = trees.get(package, 0)
            trees[package] = None if previous is None or count is None else previous + count
        name = name_of(class_of(value)) if isinstance(value, CallResult) else None
        if name is None or name.partition(".")[0] not in _MODELS or "._tree." in name:
            continue
        kind = f"{name.partition('.')[0]}.{name.rpartition('.')[2]}"
        sizes_by_kind.setdefault(kind, []).append(value.end - value.place)
    models = [
        Model(
            kind=kind,
            count=len(sizes),
            size=max(sizes) if len(sizes) == 1 else sum(sizes),
            trees=_tree_count(kind, trees),
        )
        for kind, sizes in sizes_by_kind.items()
    ]
    return sorted(models, key=lambda model: -model.size)


def _tree_count(kind: str, trees: dict[str, int | None]) -> int | None:
    package, _, name = kind.partition(".")
    if name == "Booster":
        return trees.get(package)
    forest = package == "sklearn" and ("Forest" in name or "Trees" in name or "GradientBoosting" in name)
    return trees.get("sklearn") if forest else None


def _trees(value: Any) -> Iterator[tuple[str, int | None]]:
    if isinstance(value, CallResult):
        if (name_of(value.function) or "").endswith("sklearn.tree._tree.Tree"):
            yield "sklearn", 1
        return
    text = value.head if isinstance(value, Truncated) else value
    if isinstance(text, str) and text.startswith("tree\n"):
        yield "lightgbm", value.trees if isinstance(value, Truncated) else text.count("\nTree=")
    elif isinstance(text, bytes) and b"gradient_booster" in text:
        count = _XGBOOST_TREES.search(text)
        if count is not None:
            yield "xgboost", int(count[1])


def features_in(values: list[Any]) -> list[str]:
    """Return the features that the model names, in the order of the file."""
    features: dict[str, None] = {}
    variables = {id(part) for value in values if as_code(value) is not None for part in value.arguments[8:]}
    for value in values:
        if id(value) in variables:
            continue
        head = value.head if isinstance(value, Truncated) else value
        if isinstance(head, str) and head.startswith("tree\n"):
            line = next((line for line in head.split("\n") if line.startswith("feature_names=")), "")
            features.update(dict.fromkeys(filter(is_feature, line.removeprefix("feature_names=").split(" "))))
        elif isinstance(value, (Items, tuple)):
            texts = [part for part in parts_of(value) if isinstance(part, str)]
            if texts and len(texts) == len(parts_of(value)) and all(text.startswith("feature_") for text in texts):
                features.update(dict.fromkeys(filter(is_feature, texts)))
    return list(features)


def is_feature(text: str) -> bool:
    """Return whether the string looks like the name of a feature, and not like a setting of a library."""
    return _FEATURE.fullmatch(text) is not None and _SETTINGS.fullmatch(text) is None


def devices_in(values: list[Any]) -> list[str]:
    """Return the devices other than the CPU that tensors of the file are on, such as 'cuda:0'."""
    devices: dict[str, None] = {}
    for value in values:
        device = None
        if isinstance(value, Persistent) and isinstance(value.name, tuple) and len(value.name) >= 4:
            device = value.name[3] if value.name[0] == "storage" else None
        elif (
            isinstance(value, CallResult)
            and name_of(value.function) == "torch.device"
            and isinstance(value.arguments, tuple)
        ):
            device = value.arguments[0] if value.arguments else None
        if isinstance(device, str) and device.partition(":")[0] not in ("cpu", "meta"):
            devices[device] = None
    return list(devices)


def tables_in(values: list[Any]) -> list[tuple[str, int]]:
    """Return the captured tables of pandas and polars: class and bytes."""
    objects = [value for value in values if isinstance(value, CallResult)]
    objects_with_class = [(name_of(class_of(made)), made) for made in objects]
    return [(name, table.end - table.place) for name, table in objects_with_class if name in _TABLES]


def parts_by_size(top: Any, values: list[Any]) -> list[Part]:
    """Return the variables with the most bytes in the file, largest first."""
    sizes: dict[str, Part] = {}
    functions = [function for value in values if (function := as_function(value)) is not None]
    owners: list[tuple[str, Pairs]] = [("", function.variables) for function in functions if function.module != WRAPPED]
    if isinstance(top, CallResult) and as_function(top) is None:
        owners += [("self.", state) for state in top.states if isinstance(state, Pairs)]
        sizes.update(_members(top))
    hidden = {"members"} if sizes else set()
    for prefix, pairs in owners:
        for name, value, size in pairs.values:
            if (
                isinstance(name, str)
                and not name.startswith("__")
                and name not in hidden
                and size > getattr(sizes.get(name), "size", 0)
            ):
                sizes[name] = Part(name=prefix + name, kind=_kind(value), size=size)
    return sorted(sizes.values(), key=lambda part: -part.size)[:_MAX_PARTS]


def _members(top: CallResult) -> Iterator[tuple[str, Part]]:
    """Yield the models of an ensemble created by predictd.wrap, each as a part."""
    for state in top.states:
        members = state.get("members") if isinstance(state, Pairs) else None
        for member in members.values if isinstance(members, Items) else []:
            if (
                isinstance(member, tuple)
                and len(member) == 3
                and isinstance(member[0], str)
                and isinstance(member[1], CallResult)
            ):
                yield f"member {member[0]}", Part(name=member[0], kind="member", size=member[1].end - member[1].place)


def _kind(value: Any) -> str:
    if as_function(value) is not None:
        return "function"
    name = name_of(class_of(value)) or (name_of(value.function) if isinstance(value, CallResult) else None)
    if name is None:
        return "dict" if isinstance(value, Pairs) else value.kind if isinstance(value, Items) else _plain(value)
    if name.startswith("numpy.") and name.endswith(("._reconstruct", "._frombuffer")):
        return "numpy.ndarray"
    if name.endswith(".subimport"):
        return "module"
    return f"{name.partition('.')[0]}.{name.rpartition('.')[2]}"


def _plain(value: Any) -> str:
    if isinstance(value, Truncated):
        return "text" if isinstance(value.head, str) else "bytes"
    return type(value).__name__ if is_plain(value) else "object"
