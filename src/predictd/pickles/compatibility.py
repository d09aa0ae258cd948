"""Check whether a pickle fits a runtime: its Python, its modules and its package versions."""

import sys
from collections.abc import Iterable, Iterator, Sequence

from predictd.domain.failures import ModelFailure
from predictd.pickles.formatting import Finding, fail, format_name, join_names, passed, warn
from predictd.pickles.functions import Import
from predictd.pickles.inspection import Inspection
from predictd.pickles.runtime_target import Target
from predictd.runner.calling_convention import describe_unexpected_default, unexpected_default
from predictd.runner.packages import is_same_release
from predictd.runtimes.modules import cause_of_missing, distribution_of
from predictd.runtimes.specs import PREFERRED_PYTHON, PYTHONS

_OWN = {"__main__", "__mp_main__"}
_MODULE_CREATORS = ("sys.modules", "sys.path", "sys.meta_path", "importlib.", "types.ModuleType", "site.", "runpy.")
_CODE_SHAPES = ({"3.8", "3.9", "3.10"}, {"3.11", "3.12", "3.13"})


def choose_python(inspection: Inspection, available: Iterable[str]) -> str | None:
    """Return the available Python that can run the pickle, or None if none can, any can, or it is unknown.

    If several can, prefers the version in the manifest, then 3.12, then the newest.
    """
    possible = [version for version in available if version in inspection.pythons]
    if not possible:
        return None
    recorded = str((inspection.manifest or {}).get("python", "")).rpartition(".")[0]
    preferred = [version for version in (recorded, PREFERRED_PYTHON) if version in possible]
    return preferred[0] if preferred else max(possible, key=_version_parts)


def choose_target(inspection: Inspection, targets: Sequence[Target]) -> Target | None:
    """Return the best runtime for the pickle: matching Python, then fewest missing modules, then list order."""
    if not targets:
        return None
    python = choose_python(inspection, [target.python for target in targets])
    candidates = [target for target in targets if target.python == (python or PREFERRED_PYTHON)] or list(targets)
    return min(
        candidates, key=lambda target: (len(missing_in(inspection, target)), len(_unknown_in(inspection, target)))
    )


def missing_in(inspection: Inspection, target: Target) -> list[Import]:
    """Return the imports that the runtime lacks, or most probably lacks."""
    return [
        imported for imported in inspection.imports if imported.top not in _OWN and target.has(imported.module) is False
    ]


def _unknown_in(inspection: Inspection, target: Target) -> list[Import]:
    """Return the imports for which it is unknown whether the runtime has them."""
    return [
        imported for imported in inspection.imports if imported.top not in _OWN and target.has(imported.module) is None
    ]


def check_python(inspection: Inspection, target: Target) -> Finding:
    """Return a finding on whether the bytecode matches the runtime's Python."""
    compiled_by = " or ".join(inspection.pythons)
    if not inspection.pythons:
        return passed("python", f"It contains no function by value, so any Python may work; {target.name} is assumed.")
    if target.python in inspection.pythons:
        return passed("python", f"It was created by Python {compiled_by}, and {target.name} runs it.")
    available = [version for version in inspection.pythons if version in PYTHONS]
    fix = f"create the pickle with Python {target.python}."
    is_certain = _needs_other_python(inspection, target)
    report = fail if is_certain else warn
    doubt = "" if is_certain else " One of its functions may not run there."
    return report(
        "python",
        "python_mismatch",
        f"It was created by Python {compiled_by}, but the runtime is Python {target.python}.{doubt}",
        f"Choose a runtime of Python {' or '.join(available)}, or {fix}" if available else fix.capitalize(),
    )


def check_imports(inspection: Inspection, target: Target) -> list[Finding]:
    """Return findings for modules that the runtime lacks or may lack, or one finding if it has them all."""
    used = [imported for imported in inspection.imports if not imported.guarded and imported.top not in _OWN]
    findings = (
        [_own(inspection)] if any(imported.top in _OWN and imported.names for imported in inspection.imports) else []
    )
    missing: dict[str, list[Import]] = {}
    for imported in missing_in(inspection, target):
        if not imported.guarded:
            missing.setdefault(imported.top, []).append(imported)
    findings += [_missing(inspection, top, uses, target) for top, uses in missing.items()]
    inner = [
        imported
        for imported in used
        if "." in imported.module and target.has(imported.module) and imported.top != "cloudpickle"
    ]
    unknown = sorted(
        {imported.top for imported in used if target.has(imported.module) is None}
        | {imported.module for imported in inner if _is_of_unknown_version(imported, target)}
    )
    if unknown:
        sentence = f"Cannot tell whether {target.name} has {join_names(unknown, 8)}: its contents are unknown."
        fix = "Ask the admin of the server, or upload the pickle: its validation shows it."
        findings.append(warn("imports", "unknown_modules", sentence, fix))
    findings += (
        []
        if missing
        else _parts(inspection, [imported for imported in inner if imported.module not in unknown], target)
    )
    tops = sorted({imported.top for imported in used} - {"cloudpickle"} - sys.stdlib_module_names)
    return findings or [
        passed("imports", f"{target.name} has everything it imports: {join_names(tops, 8) or 'the standard library'}.")
    ]


def _is_of_unknown_version(inner: Import, target: Target) -> bool:
    version = target.version_of(distribution_of(inner.top))
    return version is None and target.has_submodule(inner.module) is None


def _parts(inspection: Inspection, inner: list[Import], target: Target) -> Iterator[Finding]:
    """Yield findings for submodules that another version of a package, or a package with unknown files, may lack."""
    lacking = [
        imported.module for imported in inner if imported.at_load and target.has_submodule(imported.module) is False
    ]
    unknown = [imported for imported in inner if target.has_submodule(imported.module) is None]
    if lacking:
        sentence = f"{target.name} may lack {join_names(lacking)}: it has the package without this file."
        fix = f"Train and pickle with the runtime's versions: {_versions(lacking, target)}."
        yield warn("imports", "package_mismatch", sentence, fix)
    # The same version of a package has the modules that it had where the pickle was created.
    doubtful = [imported.module for imported in unknown if not _has_same_version(inspection, imported, target)]
    if doubtful:
        sentence = f"Cannot tell whether {target.name} has {join_names(doubtful)}: it has the package ("
        sentence += f"{_versions(doubtful, target)}), but its files are not on this machine."
        fix = f"Pickle with these versions, or build the runtime here: predictd runtime build {target.python}."
        yield warn("imports", "unknown_modules", sentence, fix)


def _has_same_version(inspection: Inspection, module: Import, target: Target) -> bool:
    package = distribution_of(module.top)
    version = target.version_of(package)
    return version is not None and inspection.versions.get(package) == version


def _own(inspection: Inspection) -> Finding:
    names = join_names([name for imported in inspection.imports if imported.top in _OWN for name in imported.names])
    failure = ModelFailure(code="unpickle_error", cause="name_in_main", facts={"name": names})
    report = warn if inspection.dynamic else fail
    return report(
        "imports",
        "local_module",
        f"It contains only the name of {names}, which your script or notebook defines, not the object.",
        failure.remedy,
    )


def _missing(inspection: Inspection, top: str, uses: list[Import], target: Target) -> Finding:
    imported = next((use for use in uses if use.at_load), next((use for use in uses if use.certain), uses[0]))
    where = "when it is unpickled" if imported.at_load else f"in the function {format_name(imported.function or '')}"
    sentence = f"It imports {format_name(imported.module)} {where}, which {target.name} does not have."
    if imported.at_load:
        report = warn if inspection.dynamic else fail
    else:
        report = fail if imported.certain and not _creates_modules(inspection) else warn
        sentence += "" if report is fail else " It fails only if a run reaches that import."
    cause, facts = cause_of_missing(imported.module, target.python)
    failure = ModelFailure(code="import_error", cause=cause, facts={"detail": format_name(imported.module), **facts})
    code = "local_module" if cause is None and imported.at_load else "import_error"
    return report("imports", code, sentence, failure.remedy)


def _creates_modules(inspection: Inspection) -> bool:
    """Return whether a function may create an importable module."""
    chains = (chain for function in inspection.functions for chain in function.chains)
    return inspection.dynamic or any(chain.startswith(_MODULE_CREATORS) for chain in chains)


def check_versions(inspection: Inspection, target: Target) -> list[Finding]:
    """Return a finding for each package whose release differs from the runtime's, as far as the file records it."""
    differing = {
        name: (version, installed)
        for name, version in inspection.versions.items()
        if (installed := target.version_of(name)) is not None and not is_same_release(version, installed)
    }
    if not differing:
        same = join_names(
            [f"{name} {version}" for name, version in inspection.versions.items() if target.version_of(name)]
        )
        return [passed("versions", f"Its recorded versions match the runtime: {same}.")] if same else []
    return [
        warn(
            "versions",
            "package_mismatch",
            f"It was created with {name} {recorded}, but the runtime {target.name} has {installed}.",
            f"Train and pickle it with {name} {installed}, or check with predictd test whether it matters.",
        )
        for name, (recorded, installed) in differing.items()
    ]


def certain_failures(inspection: Inspection, target: Target) -> list[Finding]:
    """Return the findings that make the pickle fail in the runtime regardless of the data.

    A pickle without such findings may still fail.
    """
    if inspection.flaw is not None:
        return [check_flaw(inspection)]
    findings: list[Finding] = []
    if not inspection.complete:
        return findings
    if _needs_other_python(inspection, target):
        findings.append(check_python(inspection, target))
    if not inspection.dynamic:
        findings += _certainly_missing(inspection, target)
    return findings + check_call(inspection)


def check_flaw(inspection: Inspection) -> Finding:
    """Return a finding on why the file is not a pickle."""
    code, detail = inspection.flaw or ("not_a_pickle", "")
    failure = ModelFailure(code=code, facts={"detail": detail})
    return fail("file", code, failure.sentence, failure.remedy)


def check_call(inspection: Inspection) -> list[Finding]:
    """Return a finding if the object can't be called as a model; nothing if it can or if that is unknown."""
    signature = inspection.signature
    if signature.callable is False:
        fix = "Pickle a function predict(live_features, live_benchmark_models); predictd.wrap(model) creates one."
        return [
            fail("signature", "not_callable", f"The pickle holds {signature.description}, which can't be called.", fix)
        ]
    if signature.problem is not None:
        sentence = f"The model must take one or two arguments, but {signature.description} takes {signature.problem}."
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
    """Yield a finding if the live benchmark models may be passed to a parameter not meant for them."""
    name = unexpected_default(inspection.signature.parameters or ())
    if name is not None:
        fix = (
            "If it is meant for them, name it live_benchmark_models. If not, give the model one parameter: "
            "lambda live_features: predict(live_features)."
        )
        yield warn("signature", "unexpected_default", describe_unexpected_default(format_name(name)), fix)


def _needs_other_python(inspection: Inspection, target: Target) -> bool:
    possible = set(inspection.pythons)
    other_shape = any(possible <= shape and target.python not in shape for shape in _CODE_SHAPES) and bool(possible)
    return other_shape or (bool(inspection.entry_pythons) and target.python not in inspection.entry_pythons)


def _certainly_missing(inspection: Inspection, target: Target) -> list[Finding]:
    """Return the modules that unpickling itself imports and that the folder of the built runtime lacks."""
    if any(imported.top in _OWN and imported.names for imported in inspection.imports):
        return [_own(inspection)]
    if target.folder is None:
        return []
    missing = {imported.top: imported for imported in missing_in(inspection, target) if imported.at_load}
    return [_missing(inspection, top, [imported], target) for top, imported in missing.items()]


def _versions(modules: list[str], target: Target) -> str:
    packages = dict.fromkeys(distribution_of(module.partition(".")[0]) for module in modules)
    return join_names([f"{name} {target.version_of(name)}" for name in packages])


def _version_parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
