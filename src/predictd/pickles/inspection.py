"""Inspect a pickle from its bytes alone. It is never unpickled, and nothing in it is called."""

import _compat_pickle
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from predictd.pickles.functions import FLOW_PYTHONS, Behavior, FunctionSummary, Import, behavior_of, with_inner
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
from predictd.pickles.parser import MAX_SECONDS, ParsedPickle, read_pickle
from predictd.pickles.reconstruct import Function, as_class, as_function, module_of, name_of, texts_in
from predictd.pickles.signature import Signature, signature_of
from predictd.pickles.values import Value
from predictd.runner.pickle_vm import CallResult, Pairs
from predictd.runner.version_scan import code_of, possible_pythons

MANIFEST_MARK = "predictd-manifest:"
_MAX_FUNCTIONS = 5_000
_MAX_LISTED = 1_000
_MAX_IMPORTS = 1_000
# Of all functions together; their analysis takes about a second for each 64 KiB.
_MAX_BYTECODE = 128 << 10
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
    """The contents of a pickle. Attributes:
    path: the file, or None for bytes.
    size: its bytes.
    flaw: why it is not a complete pickle, as a failure code and a detail, or None.
    complete: whether all of it was read within the limits of time and memory.
    protocol: of the pickle.
    pythons: versions of 3.8 to 3.13 that can have compiled every function of the file; empty if unknown.
    entry_pythons: the same, for the function that runs when the object is called.
    dynamic: whether unpickling runs code that could create modules, so that none is certainly missing.
    functions: the functions that it contains by value.
    imports: the modules that it needs, at most 1,000.
    by_value: modules whose functions and classes it contains, without __main__ and the classes of predictd.wrap.
    versions: package -> version, for the packages that record theirs in a pickle.
    models, parts, tables, devices, features: its contents; see `predictd.pickles.model_summary`.
    open_files: whether it contains an open file.
    signature: how it can be called.
    returns: what a call can return; empty if no call returns, None if unknown.
    read_in: returns what the functions do in one of `pythons`.
    manifest: the manifest that `predictd.wrap` wrote into it.
    texts: strings in variables, without the longest ones.
    """

    path: Path | None
    size: int
    flaw: tuple[str, str] | None
    complete: bool
    protocol: int
    pythons: tuple[str, ...]
    entry_pythons: tuple[str, ...]
    dynamic: bool
    functions: tuple[FunctionSummary, ...]
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
        """Return the same inspection with the functions decoded by that Python."""
        if python not in self.pythons or python not in FLOW_PYTHONS:
            return self
        behavior = self.read_in(python)
        imports = _all_imports([imported for imported in self.imports if imported.at_load], behavior)
        return replace(self, functions=behavior.functions, imports=imports, returns=behavior.returns)


def inspect_pickle(source: Path | bytes, seconds: float = MAX_SECONDS, budget: int | None = None) -> Inspection:
    """Inspect a file or its bytes, at some seconds for each hundred megabytes and about `seconds` at most.

    `budget` limits its memory; see `read_pickle`.

    A file that is not a complete pickle gives an inspection with a `flaw`.

    Raises:
        InvalidInputError: the file can't be opened.
    """
    # Analyzing the objects takes about as long as parsing them.
    parsed = read_pickle(source, seconds / 2, budget)
    path = source if isinstance(source, Path) else None
    try:
        return _inspection(parsed, path)
    except RecursionError:
        return _inspection(ParsedPickle(size=parsed.size, flaw=("not_a_pickle", "it is nested too deeply")), path)


def _inspection(parsed: ParsedPickle, path: Path | None) -> Inspection:
    values = list(values_of(parsed))
    codes = [
        code for value in values if isinstance(value, CallResult) and (code := code_of(value.arguments)) is not None
    ]
    pythons = possible_pythons(codes) if codes else []
    carried, has_all = _functions(values)
    functions = [function for _, function in carried]
    features = features_in(values)
    manifest = _manifest(values)
    flaw = parsed.flaw
    is_complete = flaw is None and parsed.complete
    top = parsed.top if is_complete and has_all else None
    # Of the runtimes, only 3.10 runs code that 3.8 and 3.9 may have compiled too.
    runnable = [python for python in pythons if python in FLOW_PYTHONS]
    read_in = functools.partial(behavior_of, carried, top, exact=True)
    if len(runnable) == 1:
        behavior = read_in(runnable[0])
    else:
        behavior = behavior_of(carried, top, pythons[-1] if pythons else None, exact=False)
    imports = _all_imports(_imports(parsed, values), behavior)
    signature = signature_of(parsed.top) if is_complete else Signature(description="an unknown object")
    entry = signature.code
    if flaw is not None and any(name_of(reference) == _JOBLIB for reference in parsed.globals):
        flaw = ("not_a_pickle", "joblib.dump wrote it, which stores arrays outside of the pickle")
    if flaw is None and parsed.names_outside:
        flaw = ("not_a_pickle", "it refers to objects outside of the pickle, as torch.save and persistent ids do")
    return Inspection(
        path=path,
        size=parsed.size,
        flaw=flaw,
        complete=parsed.complete and has_all and len(imports) <= _MAX_IMPORTS,
        protocol=parsed.protocol,
        pythons=tuple(pythons),
        entry_pythons=tuple(possible_pythons([(entry.bytecode, len(entry.constants), entry.shape)])) if entry else (),
        dynamic=_is_dynamic(parsed),
        functions=behavior.functions,
        imports=imports[:_MAX_IMPORTS],
        by_value=_by_value(functions, values, parsed),
        versions={**_all_versions(parsed), **_versions_of(manifest)},
        models=tuple(models_in(values)),
        parts=tuple(parts_by_size(parsed.top, values)),
        tables=tuple(tables_in(values)),
        devices=tuple(devices_in(values)),
        features=_features_of(manifest) or tuple(features),
        open_files=any(name_of(reference) in _OPEN_FILES for reference in parsed.globals),
        signature=signature,
        returns=behavior.returns,
        manifest=manifest,
        texts=_stored_texts(functions),
        read_in=read_in,
    )


def _is_dynamic(parsed: ParsedPickle) -> bool:
    """Return whether unpickling calls code in the pickle, or executes text."""
    if any(name_of(reference) in _RUNNING_TEXT for reference in parsed.globals):
        return True
    for made in parsed.calls:
        carried = as_class(made)
        if as_function(made.function) is not None or (carried is not None and _CALLED & _keys(carried.attributes)):
            return True
    return False


def _keys(pairs: Pairs) -> set[str]:
    return {key for key, _, _ in pairs.values if isinstance(key, str)}


def _functions(values: list[Any]) -> tuple[list[tuple[CallResult, Function]], bool]:
    """Return the functions to analyze with their parsed objects, and whether these are all."""
    functions: list[tuple[CallResult, Function]] = []
    bytes_left = _MAX_BYTECODE
    for value in values:
        function = as_function(value) if isinstance(value, CallResult) else None
        if isinstance(value, CallResult) and function is not None:
            bytes_left -= sum(len(code.bytecode) for code in with_inner(function.code))
            if bytes_left < 0 or len(functions) == _MAX_FUNCTIONS:
                return functions, False
            functions.append((value, function))
    return functions, True


def _imports(parsed: ParsedPickle, values: list[Any]) -> list[Import]:
    """Return the modules that unpickling imports, each once."""
    names: dict[str, dict[str, None]] = {}
    for looked_up in parsed.globals:
        module, name = looked_up.module, looked_up.name
        if not isinstance(module, str) or not isinstance(name, str):
            continue
        if parsed.protocol < 3:
            # These protocols use the names of Python 2, which unpickling translates.
            module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
            module = _compat_pickle.IMPORT_MAPPING.get(module, module)
        if module not in _BUILT_IN:
            names.setdefault(module, {})[name] = None
    for value in values:
        module = module_of(value)
        if module is not None:
            names.setdefault(module, {})
    return [Import(module=name, names=tuple(inner), at_load=True, certain=True) for name, inner in names.items()]


def _all_imports(at_load: list[Import], behavior: Behavior) -> tuple[Import, ...]:
    """Return each module once: the imports of unpickling, then those of functions."""
    names = {imported.module for imported in at_load}
    later: dict[str, Import] = {}
    for imported in behavior.imports:
        if imported.module not in names and (
            imported.module not in later or _import_priority(imported) > _import_priority(later[imported.module])
        ):
            later[imported.module] = imported
    return (*at_load, *later.values())


def _import_priority(imported: Import) -> tuple[bool, bool]:
    return imported.certain, not imported.guarded


def _by_value(functions: list[Function], values: list[Any], parsed: ParsedPickle) -> tuple[str, ...]:
    """Return the user's modules in the pickle; a package that is imported too only has functions that pickle badly."""
    imported = {str(reference.module).partition(".")[0] for reference in parsed.globals}
    carried = [kind.module for value in values if (kind := as_class(value)) is not None]
    names = [*(function.module for function in functions), *carried]
    own = [name for name in names if name and name.partition(".")[0] not in imported]
    return tuple(dict.fromkeys(name for name in own if name not in _NOT_OWN))


def _manifest(values: list[Any]) -> dict[str, Any] | None:
    for value in values:
        if isinstance(value, str) and value.startswith(MANIFEST_MARK):
            try:
                manifest = json.loads(value.removeprefix(MANIFEST_MARK))
            except (ValueError, RecursionError):
                continue
            if isinstance(manifest, dict):
                return manifest
    return None


def _features_of(manifest: dict[str, Any] | None) -> tuple[str, ...]:
    features = (manifest or {}).get("features")
    return tuple(name for name in features if isinstance(name, str)) if isinstance(features, list) else ()


def _versions_of(manifest: dict[str, Any] | None) -> dict[str, str]:
    packages = (manifest or {}).get("packages")
    if not isinstance(packages, dict):
        return {}
    return {name: version for name, version in packages.items() if isinstance(version, str)}


def _all_versions(parsed: ParsedPickle) -> dict[str, str]:
    versions: dict[str, str] = {}
    for inner in parsed.nested:
        versions.update(_all_versions(inner))
    return {**versions, **parsed.versions}


def _stored_texts(functions: list[Function]) -> tuple[str, ...]:
    texts: dict[str, None] = {}
    for function in functions:
        for name, value, _ in function.variables.values:
            if isinstance(name, str) and not name.startswith("__"):
                texts.update({text: None for text in list(texts_in(value))[:_MAX_LISTED] if len(text) < 4096})
    return tuple(texts)
