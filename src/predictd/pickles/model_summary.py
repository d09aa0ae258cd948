"""What lies in a pickle: models with their trees, captured tables, tensors, features, and how large the parts are."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from predictd.pickles.parser import Long, Reading
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
_MOST_VALUES = 3_000_000
_MOST_PARTS = 12


@dataclass(frozen=True, kw_only=True)
class Model:
    """A kind of model in the file: class, how many there are, their bytes, and their trees if they can be counted."""

    kind: str
    count: int
    size: int
    trees: int | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """A variable of the model, and how many bytes of the file it takes."""

    name: str
    kind: str
    size: int


def values_of(reading: Reading) -> Iterator[Any]:
    """Everything in the pickle and in those inside of it, each object once."""
    seen: set[int] = set()
    todo: list[Any] = [reading.top, *reading.made][::-1]
    for inner in reading.nested:
        yield from values_of(inner)
    while todo and len(seen) < _MOST_VALUES:
        one = todo.pop()
        if isinstance(one, (str, int, float, bytes)) or one is None:
            yield one
            continue
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, CallResult):
            todo += [one.function, one.arguments, *one.states, one.items, one.pairs]
        elif isinstance(one, Persistent):
            todo.append(one.name)
        else:
            todo += parts_of(one)


def models_in(values: list[Any]) -> list[Model]:
    """The models by their classes, largest first."""
    found: dict[str, list[int]] = {}
    trees: dict[str, int | None] = {}
    for one in values:
        for package, count in _trees(one):
            before = trees.get(package, 0)
            trees[package] = None if before is None or count is None else before + count
        name = name_of(class_of(one)) if isinstance(one, CallResult) else None
        if name is None or name.partition(".")[0] not in _MODELS or "._tree." in name:
            continue
        kind = f"{name.partition('.')[0]}.{name.rpartition('.')[2]}"
        found.setdefault(kind, []).append(one.end - one.place)
    models = [
        Model(kind=kind, count=len(sizes), size=max(sizes) if len(sizes) == 1 else sum(sizes), trees=_told(kind, trees))
        for kind, sizes in found.items()
    ]
    return sorted(models, key=lambda model: -model.size)


def _told(kind: str, trees: dict[str, int | None]) -> int | None:
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
    text = value.head if isinstance(value, Long) else value
    if isinstance(text, str) and text.startswith("tree\n"):
        yield "lightgbm", value.trees if isinstance(value, Long) else text.count("\nTree=")
    elif isinstance(text, bytes) and b"gradient_booster" in text:
        count = _XGBOOST_TREES.search(text)
        if count is not None:
            yield "xgboost", int(count[1])


def features_in(values: list[Any]) -> list[str]:
    """The features that the model names, in the order of the file; none that merely look a little like one."""
    found: dict[str, None] = {}
    variables = {id(part) for one in values if as_code(one) is not None for part in one.arguments[8:]}
    for one in values:
        if id(one) in variables:
            continue
        head = one.head if isinstance(one, Long) else one
        if isinstance(head, str) and head.startswith("tree\n"):
            line = next((line for line in head.split("\n") if line.startswith("feature_names=")), "")
            found.update(dict.fromkeys(filter(is_feature, line.removeprefix("feature_names=").split(" "))))
        elif isinstance(one, (Items, tuple)):
            texts = [part for part in parts_of(one) if isinstance(part, str)]
            if texts and len(texts) == len(parts_of(one)) and all(text.startswith("feature_") for text in texts):
                found.update(dict.fromkeys(filter(is_feature, texts)))
    return list(found)


def is_feature(text: str) -> bool:
    """Whether the text looks like a feature's name, and not like a setting of a library."""
    return _FEATURE.fullmatch(text) is not None and _SETTINGS.fullmatch(text) is None


def devices_in(values: list[Any]) -> list[str]:
    """The devices other than the CPU that tensors of the file are on, such as 'cuda:0'."""
    found: dict[str, None] = {}
    for one in values:
        device = None
        if isinstance(one, Persistent) and isinstance(one.name, tuple) and len(one.name) >= 4:
            device = one.name[3] if one.name[0] == "storage" else None
        elif (
            isinstance(one, CallResult) and name_of(one.function) == "torch.device" and isinstance(one.arguments, tuple)
        ):
            device = one.arguments[0] if one.arguments else None
        if isinstance(device, str) and device.partition(":")[0] not in ("cpu", "meta"):
            found[device] = None
    return list(found)


def tables_in(values: list[Any]) -> list[tuple[str, int]]:
    """The captured tables of pandas and polars: class and bytes."""
    made = [one for one in values if isinstance(one, CallResult)]
    named = [(name_of(class_of(one)), one) for one in made]
    return [(name, one.end - one.place) for name, one in named if name in _TABLES]


def parts_by_size(top: Any, values: list[Any]) -> list[Part]:
    """The variables that take the most of the file, largest first."""
    sizes: dict[str, Part] = {}
    functions = [function for one in values if (function := as_function(one)) is not None]
    owners: list[tuple[str, Pairs]] = [("", one.variables) for one in functions if one.module != WRAPPED]
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
    return sorted(sizes.values(), key=lambda part: -part.size)[:_MOST_PARTS]


def _members(top: CallResult) -> Iterator[tuple[str, Part]]:
    """The models of an ensemble that predictd.wrap made, each as a part of its own."""
    for state in top.states:
        members = state.get("members") if isinstance(state, Pairs) else None
        for one in members.values if isinstance(members, Items) else []:
            if isinstance(one, tuple) and len(one) == 3 and isinstance(one[0], str) and isinstance(one[1], CallResult):
                yield f"member {one[0]}", Part(name=one[0], kind="member", size=one[1].end - one[1].place)


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
    if isinstance(value, Long):
        return "text" if isinstance(value.head, str) else "bytes"
    return type(value).__name__ if is_plain(value) else "object"
