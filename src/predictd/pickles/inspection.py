"""What a pickle is and holds, told from its bytes alone. It is never unpickled, and nothing in it is called."""

import _compat_pickle
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from predictd.pickles.bytecode import Code, look
from predictd.pickles.contents import (
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
from predictd.pickles.forms import Function, as_class, as_code, as_function, module_of, name_of, texts_in
from predictd.pickles.reading import MOST_SECONDS, Reading, read_pickle
from predictd.pickles.returns import returned
from predictd.pickles.signature import Signature, signature_of
from predictd.runner.machine import Made, Pairs
from predictd.runner.scan import code_of, possible_pythons

MANIFEST_MARK = "predictd-manifest:"
_MOST_FUNCTIONS = 5_000
_MOST_LISTED = 1_000
_MOST_IMPORTS = 1_000
_NOT_OWN = {"__main__", "builtins", WRAPPED}
_BUILT_IN = {"builtins", "__builtin__", "copyreg", "copy_reg"}

_JOBLIB = "joblib.numpy_pickle.NumpyArrayWrapper"
_RUNNING_TEXT = {
    f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("exec", "eval", "__import__")
}
_CALLED = {"__setstate__", "__new__", "__setattr__", "append", "extend", "__setitem__"}
_OPEN_FILES = {"cloudpickle.cloudpickle._file_reconstructor", "cloudpickle.cloudpickle_fast._file_reconstructor"}


@dataclass(frozen=True, kw_only=True)
class Import:
    """A module that the pickle needs.

    Attributes:
        module: its full name.
        names: what is looked up in it while unpickling.
        at_load: whether unpickling imports it; else a function does when it is called.
        guarded: whether the function catches what goes wrong.
        function: the function that imports it.
    """

    module: str
    names: tuple[str, ...] = ()
    at_load: bool
    guarded: bool = False
    function: str | None = None

    @property
    def top(self) -> str:
        """The name of the package: 'sklearn' of 'sklearn.linear_model'."""
        return self.module.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class FunctionSeen:
    """A function in the pickle.

    Attributes:
        module: where it was defined.
        chains: dotted names that it takes, with the modules' real names; '<name>' is a variable.
        columns: (argument, text) where an argument is subscripted with a text.
        texts: the texts among its constants.
    """

    name: str
    module: str | None
    chains: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    texts: tuple[str, ...]
    guarded: bool


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
        models, parts, tables, devices, features: what is in it; see `predictd.pickles.contents`.
        open_files: whether a file that was open was pickled with it.
        signature: with what it can be called.
        returns: the dotted names whose results it returns, of those that are surely no DataFrame.
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
    returns: tuple[str, ...]
    manifest: dict[str, Any] | None
    texts: tuple[str, ...] = field(repr=False)


def inspect_pickle(source: Path | bytes, seconds: float = MOST_SECONDS) -> Inspection:
    """What a file, or its bytes, says; takes some seconds for each hundred megabytes, and about `seconds` at most.

    A file that is no pickle, or only a part of one, gives an inspection with a `flaw`.

    Raises:
        InvalidInputError: the file can't be opened.
    """
    deadline = time.monotonic() + seconds
    # What is made of the objects takes about as long as reading them.
    reading = read_pickle(source, seconds / 2)
    path = source if isinstance(source, Path) else None
    try:
        return _inspection(reading, path, deadline)
    except RecursionError:
        flawed = Reading(size=reading.size, flaw=("not_a_pickle", "it is nested without an end"))
        return _inspection(flawed, path, deadline)


def _inspection(reading: Reading, path: Path | None, deadline: float) -> Inspection:
    values = list(values_of(reading))
    codes = [code for one in values if isinstance(one, Made) and (code := code_of(one.arguments)) is not None]
    pythons = possible_pythons(codes) if codes else []
    functions = _functions(values)
    seen = [_seen(function, pythons) for function in functions if time.monotonic() < deadline]
    features = features_in(values)
    manifest = _manifest(values)
    flaw = reading.flaw
    imports = _imports(reading, values, [found for _, inner in seen for found in inner])
    whole = flaw is None and reading.complete
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
        complete=reading.complete and len(seen) == len(functions) and len(imports) <= _MOST_IMPORTS,
        protocol=reading.protocol,
        pythons=tuple(pythons),
        entry_pythons=tuple(possible_pythons([(entry.bytecode, len(entry.constants), entry.shape)])) if entry else (),
        dynamic=_is_dynamic(reading),
        functions=tuple(one for one, _ in seen),
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
        returns=_returns(functions, signature, pythons),
        manifest=manifest,
        texts=_kept_texts(functions),
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


def _functions(values: list[Any]) -> list[Function]:
    found = (as_function(one) for one in values if isinstance(one, Made))
    return [one for one in found if one is not None][:_MOST_FUNCTIONS]


def _seen(function: Function, pythons: list[str]) -> tuple[FunctionSeen, list[Import]]:
    code = function.code
    known = _real_names(function)
    chains: dict[str, None] = {}
    columns: dict[tuple[str, str], None] = {}
    imports: list[Import] = []
    texts: dict[str, None] = {}
    guarded = False
    # Comprehensions and functions in it are constants of a function; what they do, it does.
    for one in _with_inner(code) if pythons else []:
        found = look(one, pythons[-1])
        for chain in found.chains:
            first, dot, rest = chain.partition(".")
            chains[known.get(first.strip("<>"), first) + dot + rest] = None
        columns.update(dict.fromkeys(found.columns))
        guarded = guarded or found.guarded
        imports += [Import(module=m, at_load=False, guarded=caught, function=code.name) for m, caught in found.imports]
        texts.update(dict.fromkeys(list(texts_in(one.constants))[:_MOST_LISTED]))
    seen = FunctionSeen(
        name=code.name,
        module=function.module,
        chains=tuple(chains),
        columns=tuple(columns),
        texts=tuple(texts),
        guarded=guarded,
    )
    return seen, imports


def _with_inner(code: Code) -> list[Code]:
    codes = [code]
    for one in codes:
        if len(codes) < _MOST_LISTED:
            codes += [inner for part in one.constants if (inner := as_code(part)) is not None]
    return codes


def _imports(reading: Reading, values: list[Any], called: list[Import]) -> tuple[Import, ...]:
    """Each module once: what unpickling imports, then what functions do."""
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
    found = [Import(module=name, names=tuple(inner), at_load=True) for name, inner in names.items()]
    later: dict[str, Import] = {}
    for one in called:
        if one.module not in names and (one.module not in later or later[one.module].guarded):
            later[one.module] = one
    return (*found, *later.values())


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


def _real_names(function: Function) -> dict[str, str]:
    """What the globals stand for, by their names in the function: what comes from a module has a name of its own."""
    return {
        name: module_of(value) or name_of(value) or f"<{name}>"
        for name, value, _ in function.variables.values
        if _is_text(name)
    }


def _returns(functions: list[Function], signature: Signature, pythons: list[str]) -> tuple[str, ...]:
    for function in functions:
        if signature.code is not None and function.code.bytecode is signature.code.bytecode and pythons:
            return tuple(returned(function.code, pythons[-1], _real_names(function)))
    return ()


def _is_text(name: Any) -> bool:
    return isinstance(name, str)
