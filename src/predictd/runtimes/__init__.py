"""The runtimes that a model can choose, each a Python with packages, and how to build them on this machine.

This package runs no models and does not know pickles: the sandbox uses the paths of a built runtime.
"""

from predictd.runtimes.build import BuiltRuntime, build, load, remove
from predictd.runtimes.custom import custom_spec
from predictd.runtimes.interpreters import Interpreter, fetch, find_interpreters, inspect_interpreter
from predictd.runtimes.specs import FULL_SPECS, PACKAGE_SETS, PYTHONS, SPECS, RuntimeSpec, default_spec, spec_for

__all__ = [
    "FULL_SPECS",
    "PACKAGE_SETS",
    "PYTHONS",
    "SPECS",
    "BuiltRuntime",
    "Interpreter",
    "RuntimeSpec",
    "build",
    "custom_spec",
    "default_spec",
    "fetch",
    "find_interpreters",
    "inspect_interpreter",
    "load",
    "remove",
    "spec_for",
]
