"""What a pickle is and holds, told from its bytes alone. It is never unpickled, and nothing in it is called."""

import _compat_pickle
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from predictd.pickles.functions import FLOW_PYTHONS, Behavior, FunctionSeen, Import, behavior_of, with_inner
from predictd.pickles.model_summary import (
    WRAPPED,
    Model,
    Part,
    devices_in,
    features_in,
    models_in,
    parts_by_size,
    tables_in,
    values_of,
)
from predictd.pickles.parser import MOST_SECONDS, Reading, read_pickle
from predictd.pickles.reconstruct import Function, as_class, as_function, module_of, name_of, texts_in
from predictd.pickles.signature import Signature, signature_of
from predictd.pickles.values import Value
from predictd.runner.pickle_vm import CallResult, Pairs
from predictd.runner.version_scan import code_of, possible_pythons

MANIFEST_MARK = "predictd-manifest:"
_MOST_FUNCTIONS = 5_000
_MOST_LISTED = 1_000
_MOST_IMPORTS = 1_000
# Of all functions together; their analysis takes about a second for each 64 KiB.
_MOST_BYTECODE = 128 << 10
_NOT_OWN = {"__main__", "builtins", WRAPPED}
_BUILT_IN = {"builtins", "__builtin__", "copyreg", "copy_reg"}

_JOBLIB = "joblib.numpy_pickle.NumpyArrayWrapper"
_RUNNING_TEXT = {
    f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("exec", "eval", "__import__")
}
_CALLED = {"__setstate__", "__new__", "__setattr__", "append", "extend", "__setitem__"}
_OPEN_FILES = {"cloudpickle.cloudpickle._file_reconstructor", "cloudpickle.cloudpickle_fast._file_reconstructor"}


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What the bytes of a pickle say.

    Attributes:
        path: the file, None for bytes.
        size: bytes of it.
        flaw: why it is no whole pickle, as a failure code and a detail; None when it is one.
        complete: whether all of it was read, and not only as far as time and memory are given.
        protocol: of the pickle.
        pythons: versions of 3.8 to 3.13 that can have made every function of the file; empty when there is no telling.
        entry_pythons: the same, of the function that runs when the object is called.
        dynamic: whether unpickling runs code that could make modules, so that none is surely missing.
        functions: the functions that are carried by value.
        imports: the modules that it needs, at most 1,000 of them.
        by_value: modules whose functions and classes are carried along; not __main__, and not what predictd.wrap adds.
        versions: package -> version, for the packages that leave theirs in a pickle.
        models, parts, tables, devices, features: what is in it; see `predictd.pickles.model_summary`.
        open_files: whether a file that was open was pickled with it.
        signature: with what it can be called.
        returns: what a call can return; empty if none returns, None where that is not known.
        read_in: what the functions do in one of `pythons`, which may be several for small ones.
        manifest: what `predictd.wrap` wrote into it.
        texts: texts that it keeps in variables, without the longest ones.
    """

    path: Path | None
    size: int
    flaw: tuple[str, str] | None
    complete: bool
    protocol: int
    pythons: tuple[str, ...]
    entry_pythons: tuple[str, ...]
    dynamic: bool
    functions: tuple[FunctionSeen, ...]
    imports: tuple[Import, ...]
    by_value: tuple[str, ...]
    versions: dict[str, str]
    models: tuple[Model, ...]
    parts: tuple[Part, ...]
    tables: tuple[tuple[str, int], ...]
    devices: tuple[str, ...]
    features: tuple[str, ...]
    open_files: bool
    signature: Signature
    returns: tuple[Value, ...] | None
    manifest: dict[str, Any] | None
    texts: tuple[str, ...] = field(repr=False)
    read_in: Callable[[str], Behavior] = field(repr=False, compare=False)

    def in_python(self, python: str) -> "Inspection":
        """Return the same as that Python reads the functions."""
        if python not in self.pythons or python not in FLOW_PYTHONS:
            return self
        behavior = self.read_in(python)
        imports = _all_imports([one for one in self.imports if one.at_load], behavior)
        return replace(self, functions=behavior.functions, imports=imports, returns=behavior.returns)


def inspect_pickle(source: Path | bytes, seconds: float = MOST_SECONDS, budget: int | None = None) -> Inspection:
    """What a file, or its bytes, says; takes some seconds for each hundred megabytes, and about `seconds` at most.

    `budget` bounds the memory that it takes, see `read_pickle`.

    A file that is no pickle, or only a part of one, gives an inspection with a `flaw`.

    Raises:
        InvalidInputError: the file can't be opened.
    """
    # What is made of the objects takes about as long as reading them.
    reading = read_pickle(source, seconds / 2, budget)
    path = source if isinstance(source, Path) else None
    try:
        return _inspection(reading, path)
    except RecursionError:
        return _inspection(Reading(size=reading.size, flaw=("not_a_pickle", "it is nested without an end")), path)


def _inspection(reading: Reading, path: Path | None) -> Inspection:
    values = list(values_of(reading))
    codes = [code for one in values if isinstance(one, CallResult) and (code := code_of(one.arguments)) is not None]
    pythons = possible_pythons(codes) if codes else []
    carried, has_all = _functions(values)
    functions = [function for _, function in carried]
    features = features_in(values)
    manifest = _manifest(values)
    flaw = reading.flaw
    whole = flaw is None and reading.complete
    top = reading.top if whole and has_all else None
    # A runtime of 3.10 is the only one that runs what 3.8 and 3.9 may have made, too.
    runnable = [one for one in pythons if one in FLOW_PYTHONS]
    read_in = functools.partial(behavior_of, carried, top, exact=True)
    if len(runnable) == 1:
        behavior = read_in(runnable[0])
    else:
        behavior = behavior_of(carried, top, pythons[-1] if pythons else None, exact=False)
    imports = _all_imports(_imports(reading, values), behavior)
    signature = signature_of(reading.top) if whole else Signature(what="an object that can't be told")
    entry = signature.code
    if flaw is not None and any(name_of(one) == _JOBLIB for one in reading.globals):
        flaw = ("not_a_pickle", "it is a file of joblib.dump, which keeps arrays outside of the pickle")
    if flaw is None and reading.names_outside:
        flaw = ("not_a_pickle", "it names objects that are kept outside of it, as torch.save and persistent ids do")
    return Inspection(
        path=path,
        size=reading.size,
        flaw=flaw,
        complete=reading.complete and has_all and len(imports) <= _MOST_IMPORTS,
        protocol=reading.protocol,
        pythons=tuple(pythons),
        entry_pythons=tuple(possible_pythons([(entry.bytecode, len(entry.constants), entry.shape)])) if entry else (),
        dynamic=_is_dynamic(reading),
        functions=behavior.functions,
        imports=imports[:_MOST_IMPORTS],
        by_value=_by_value(functions, values, reading),
        versions={**_all_versions(reading), **_versions_of(manifest)},
        models=tuple(models_in(values)),
        parts=tuple(parts_by_size(reading.top, values)),
        tables=tuple(tables_in(values)),
        devices=tuple(devices_in(values)),
        features=_features_told(manifest) or tuple(features),
        open_files=any(name_of(one) in _OPEN_FILES for one in reading.globals),
        signature=signature,
        returns=behavior.returns,
        manifest=manifest,
        texts=_kept_texts(functions),
        read_in=read_in,
    )


def _is_dynamic(reading: Reading) -> bool:
    """Whether unpickling calls what is carried along, or what runs text."""
    if any(name_of(one) in _RUNNING_TEXT for one in reading.globals):
        return True
    for one in reading.made:
        carried = as_class(one)
        if as_function(one.function) is not None or (carried is not None and _CALLED & _keys(carried.attributes)):
            return True
    return False


def _keys(pairs: Pairs) -> set[str]:
    return {key for key, _, _ in pairs.values if isinstance(key, str)}


def _functions(values: list[Any]) -> tuple[list[tuple[CallResult, Function]], bool]:
    """Return the functions whose bytecode is looked at, with what describes them, and whether these are all."""
    found: list[tuple[CallResult, Function]] = []
    left = _MOST_BYTECODE
    for one in values:
        function = as_function(one) if isinstance(one, CallResult) else None
        if isinstance(one, CallResult) and function is not None:
            left -= sum(len(code.bytecode) for code in with_inner(function.code))
            if left < 0 or len(found) == _MOST_FUNCTIONS:
                return found, False
            found.append((one, function))
    return found, True


def _imports(reading: Reading, values: list[Any]) -> list[Import]:
    """What unpickling imports, each module once."""
    names: dict[str, dict[str, None]] = {}
    for looked_up in reading.globals:
        module, name = looked_up.module, looked_up.name
        if not isinstance(module, str) or not isinstance(name, str):
            continue
        if reading.protocol < 3:
            # Those protocols have the names of Python 2, which unpickling translates.
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        if module not in _BUILT_IN:
            names.setdefault(module, {})[name] = None
    for one in values:
        module = module_of(one)
        if module is not None:
            names.setdefault(module, {})
    return [Import(module=name, names=tuple(inner), at_load=True, certain=True) for name, inner in names.items()]


def _all_imports(at_load: list[Import], behavior: Behavior) -> tuple[Import, ...]:
    """Each module once: what unpickling imports, then what functions do."""
    names = {one.module for one in at_load}
    later: dict[str, Import] = {}
    for one in behavior.imports:
        if one.module not in names and (one.module not in later or _weight(one) > _weight(later[one.module])):
            later[one.module] = one
    return (*at_load, *later.values())


def _weight(found: Import) -> tuple[bool, bool]:
    return found.certain, not found.guarded


def _by_value(functions: list[Function], values: list[Any], reading: Reading) -> tuple[str, ...]:
    """Packages that are imported as well are no modules of the user's: they only have functions that pickle badly."""
    imported = {str(one.module).partition(".")[0] for one in reading.globals}
    carried = [kind.module for one in values if (kind := as_class(one)) is not None]
    names = [*(one.module for one in functions), *carried]
    own = [name for name in names if name and name.partition(".")[0] not in imported]
    return tuple(dict.fromkeys(name for name in own if name not in _NOT_OWN))


def _manifest(values: list[Any]) -> dict[str, Any] | None:
    for one in values:
        if isinstance(one, str) and one.startswith(MANIFEST_MARK):
            try:
                found = json.loads(one.removeprefix(MANIFEST_MARK))
            except (ValueError, RecursionError):
                continue
            if isinstance(found, dict):
                return found
    return None


def _features_told(manifest: dict[str, Any] | None) -> tuple[str, ...]:
    told = (manifest or {}).get("features")
    return tuple(name for name in told if isinstance(name, str)) if isinstance(told, list) else ()


def _versions_of(manifest: dict[str, Any] | None) -> dict[str, str]:
    packages = (manifest or {}).get("packages")
    if not isinstance(packages, dict):
        return {}
    return {name: version for name, version in packages.items() if isinstance(version, str)}


def _all_versions(reading: Reading) -> dict[str, str]:
    found: dict[str, str] = {}
    for inner in reading.nested:
        found.update(_all_versions(inner))
    return {**found, **reading.versions}


def _kept_texts(functions: list[Function]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for function in functions:
        for name, value, _ in function.variables.values:
            if isinstance(name, str) and not name.startswith("__"):
                found.update({text: None for text in list(texts_in(value))[:_MOST_LISTED] if len(text) < 4096})
    return tuple(found)
