"""Whether a pickle fits a runtime: its Python, its modules, the versions of its packages."""

import sys
from collections.abc import Iterable, Iterator, Sequence

from predictd.domain.failures import ModelFailure
from predictd.pickles.findings import Finding, fail, listed, passed, shown_name, warn
from predictd.pickles.functions import Import
from predictd.pickles.inspection import Inspection
from predictd.pickles.runtime_target import Target
from predictd.runner.calling_convention import describe_unexpected_default, unexpected_default
from predictd.runner.packages import is_same_release
from predictd.runtimes.modules import cause_of_missing, distribution_of
from predictd.runtimes.specs import PREFERRED_PYTHON, PYTHONS

_OWN = {"__main__", "__mp_main__"}
_MAKING_MODULES = ("sys.modules", "sys.path", "sys.meta_path", "importlib.", "types.ModuleType", "site.", "runpy.")
_SHAPES = {"16": ("3.8", "3.9", "3.10"), "18": ("3.11", "3.12", "3.13")}


def choose_python(inspection: Inspection, available: Iterable[str]) -> str | None:
    """The Python, of those that there are, in which the pickle can run; None when no or any one can, or it is unknown.

    Of several the one in the manifest is taken, then 3.12, then the newest.
    """
    possible = [one for one in available if one in inspection.pythons]
    if not possible:
        return None
    told = str((inspection.manifest or {}).get("python", "")).rpartition(".")[0]
    preferred = [one for one in (told, PREFERRED_PYTHON) if one in possible]
    return preferred[0] if preferred else max(possible, key=_number)


def choose_target(inspection: Inspection, targets: Sequence[Target]) -> Target | None:
    """The runtime that suits the pickle best: the right Python, then the fewest missing modules, then the first."""
    if not targets:
        return None
    python = choose_python(inspection, [one.python for one in targets])
    fitting = [one for one in targets if one.python == (python or PREFERRED_PYTHON)] or list(targets)
    return min(fitting, key=lambda one: (len(missing_in(inspection, one)), len(_unknown_in(inspection, one))))


def missing_in(inspection: Inspection, target: Target) -> list[Import]:
    """What the runtime lacks, or most probably lacks."""
    return [one for one in inspection.imports if one.top not in _OWN and target.has(one.module) is False]


def _unknown_in(inspection: Inspection, target: Target) -> list[Import]:
    """The imports of which cannot be told whether the runtime has them."""
    return [one for one in inspection.imports if one.top not in _OWN and target.has(one.module) is None]


def check_python(inspection: Inspection, target: Target) -> Finding:
    """Whether the bytecode is that of the runtime's Python."""
    made_by = " or ".join(inspection.pythons)
    if not inspection.pythons:
        return passed("python", f"It carries no function by value, so any Python may do; {target.name} is assumed.")
    if target.python in inspection.pythons:
        return passed("python", f"It was made by Python {made_by}, and {target.name} runs it.")
    there_is = [one for one in inspection.pythons if one in PYTHONS]
    fix = f"make the pickle with Python {target.python}."
    is_certain = _surely_another_python(inspection, target)
    make = fail if is_certain else warn
    doubt = "" if is_certain else " A function of it may not run there."
    return make(
        "python",
        "python_mismatch",
        f"It was made by Python {made_by}, but the runtime is Python {target.python}.{doubt}",
        f"Choose a runtime of Python {' or '.join(there_is)}, or {fix}" if there_is else fix.capitalize(),
    )


def check_imports(inspection: Inspection, target: Target) -> list[Finding]:
    """Modules that the runtime lacks, or of which cannot be told whether it has them; one line if it has them all."""
    used = [one for one in inspection.imports if not one.guarded and one.top not in _OWN]
    found = [_own(inspection)] if any(one.top in _OWN and one.names for one in inspection.imports) else []
    missing: dict[str, list[Import]] = {}
    for one in missing_in(inspection, target):
        if not one.guarded:
            missing.setdefault(one.top, []).append(one)
    found += [_missing(inspection, top, uses, target) for top, uses in missing.items()]
    inner = [one for one in used if "." in one.module and target.has(one.module) and one.top != "cloudpickle"]
    unknown = sorted(
        {one.top for one in used if target.has(one.module) is None}
        | {one.module for one in inner if _is_of_unknown_version(one, target)}
    )
    if unknown:
        sentence = f"Cannot tell whether {target.name} has {listed(unknown, 8)}: what it has is not known here."
        fix = "Ask whoever runs the server, or upload it: its validation shows it."
        found.append(warn("imports", "unknown_modules", sentence, fix))
    found += [] if missing else _parts(inspection, [one for one in inner if one.module not in unknown], target)
    tops = sorted({one.top for one in used} - {"cloudpickle"} - sys.stdlib_module_names)
    return found or [
        passed("imports", f"{target.name} has all that it imports: {listed(tops, 8) or 'the standard library'}.")
    ]


def _is_of_unknown_version(inner: Import, target: Target) -> bool:
    version = target.version_of(distribution_of(inner.top))
    return version is None and target.has_submodule(inner.module) is None


def _parts(inspection: Inspection, inner: list[Import], target: Target) -> Iterator[Finding]:
    """Modules of packages that the runtime has in another version, or in one whose files are not known here."""
    lacking = [one.module for one in inner if one.at_load and target.has_submodule(one.module) is False]
    unknown = [one for one in inner if target.has_submodule(one.module) is None]
    if lacking:
        sentence = f"{target.name} may lack {listed(lacking)}: it has the package, but no such file in it."
        fix = f"Train and pickle with the runtime's versions: {_versions(lacking, target)}."
        yield warn("imports", "package_mismatch", sentence, fix)
    # The same version of a package has the modules that it had where the pickle was made.
    doubtful = [one.module for one in unknown if not _made_with(inspection, one, target)]
    if doubtful:
        sentence = f"Cannot tell whether {target.name} has {listed(doubtful)}: it has the package ("
        sentence += f"{_versions(doubtful, target)}), but its files are not on this machine."
        fix = f"Pickle with these versions, or build the runtime here: predictd runtime build {target.python}."
        yield warn("imports", "unknown_modules", sentence, fix)


def _made_with(inspection: Inspection, module: Import, target: Target) -> bool:
    package = distribution_of(module.top)
    version = target.version_of(package)
    return version is not None and inspection.versions.get(package) == version


def _own(inspection: Inspection) -> Finding:
    names = listed([name for one in inspection.imports if one.top in _OWN for name in one.names])
    failure = ModelFailure(code="unpickle_error", cause="name_in_main", facts={"name": names})
    make = warn if inspection.dynamic else fail
    return make(
        "imports",
        "local_module",
        f"It holds only the name of {names}, defined in your script or notebook, and not the thing itself.",
        failure.remedy,
    )


def _missing(inspection: Inspection, top: str, uses: list[Import], target: Target) -> Finding:
    one = next((use for use in uses if use.at_load), next((use for use in uses if use.certain), uses[0]))
    where = "when it is unpickled" if one.at_load else f"in the function {shown_name(one.function or '')}"
    sentence = f"It imports {shown_name(one.module)} {where}, which {target.name} does not have."
    if one.at_load:
        make = warn if inspection.dynamic else fail
    else:
        make = fail if one.certain and not _makes_modules(inspection) else warn
        sentence += "" if make is fail else " It fails only where a run comes to that import."
    cause, facts = cause_of_missing(one.module, target.python)
    failure = ModelFailure(code="import_error", cause=cause, facts={"detail": shown_name(one.module), **facts})
    code = "local_module" if cause is None and one.at_load else "import_error"
    return make("imports", code, sentence, failure.remedy)


def _makes_modules(inspection: Inspection) -> bool:
    """Whether a function may make a module that can be imported then."""
    chains = (chain for function in inspection.functions for chain in function.chains)
    return inspection.dynamic or any(chain.startswith(_MAKING_MODULES) for chain in chains)


def check_versions(inspection: Inspection, target: Target) -> list[Finding]:
    """The packages whose release differs from the runtime's, as far as the file tells it."""
    differing = {
        name: (version, there)
        for name, version in inspection.versions.items()
        if (there := target.version_of(name)) is not None and not is_same_release(version, there)
    }
    if not differing:
        same = listed([f"{name} {version}" for name, version in inspection.versions.items() if target.version_of(name)])
        return [passed("versions", f"The versions that it tells of are the runtime's: {same}.")] if same else []
    return [
        warn(
            "versions",
            "package_mismatch",
            f"It was made with {name} {made}, and the runtime {target.name} has {there}.",
            f"Train and pickle it with {name} {there}, or try it: predictd test shows whether it matters.",
        )
        for name, (made, there) in differing.items()
    ]


def certain_failures(inspection: Inspection, target: Target) -> list[Finding]:
    """What makes the pickle fail in the runtime whatever the data: nothing in it is a guess.

    A pickle with none of these may fail all the same.
    """
    if inspection.flaw is not None:
        return [check_flaw(inspection)]
    found: list[Finding] = []
    if not inspection.complete:
        return found
    if _surely_another_python(inspection, target):
        found.append(check_python(inspection, target))
    if not inspection.dynamic:
        found += _surely_missing(inspection, target)
    return found + check_call(inspection)


def check_flaw(inspection: Inspection) -> Finding:
    """Why the file is no pickle."""
    code, detail = inspection.flaw or ("not_a_pickle", "")
    failure = ModelFailure(code=code, facts={"detail": detail})
    return fail("file", code, failure.sentence, failure.remedy)


def check_call(inspection: Inspection) -> list[Finding]:
    """Whether the object can't be called as a model; nothing where it can or that can't be told."""
    signature = inspection.signature
    if signature.callable is False:
        fix = "Pickle a function predict(live_features, live_benchmark_models); predictd.wrap(model) makes one."
        return [fail("signature", "not_callable", f"The pickle holds {signature.what}, which can't be called.", fix)]
    if signature.problem is not None:
        sentence = f"The model must take one or two arguments, but {signature.what} takes {signature.problem}."
        return [
            fail(
                "signature",
                "bad_signature",
                sentence,
                ModelFailure(code="bad_signature", facts={"detail": signature.problem}).remedy,
            )
        ]
    return []


def check_second_parameter(inspection: Inspection) -> Iterator[Finding]:
    """Whether the live benchmark models may go to a parameter that is not meant for them."""
    name = unexpected_default(inspection.signature.parameters or ())
    if name is not None:
        fix = (
            "If it is meant for them, name it live_benchmark_models. If not, give the model one parameter: "
            "lambda live_features: predict(live_features)."
        )
        yield warn("signature", "unexpected_default", describe_unexpected_default(shown_name(name)), fix)


def _surely_another_python(inspection: Inspection, target: Target) -> bool:
    shapes = [set(versions) for versions in _SHAPES.values()]
    possible = set(inspection.pythons)
    other_shape = any(possible <= shape and target.python not in shape for shape in shapes) and bool(possible)
    return other_shape or (bool(inspection.entry_pythons) and target.python not in inspection.entry_pythons)


def _surely_missing(inspection: Inspection, target: Target) -> list[Finding]:
    """Only what unpickling itself imports, and only where the runtime's own folder was looked into."""
    if any(one.top in _OWN and one.names for one in inspection.imports):
        return [_own(inspection)]
    if target.folder is None:
        return []
    missing = {one.top: one for one in missing_in(inspection, target) if one.at_load}
    return [_missing(inspection, top, [one], target) for top, one in missing.items()]


def _versions(modules: list[str], target: Target) -> str:
    packages = dict.fromkeys(distribution_of(one.partition(".")[0]) for one in modules)
    return listed([f"{name} {target.version_of(name)}" for name in packages])


def _number(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
