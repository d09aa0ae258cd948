"""Which Pythons with which packages a model can choose, and how each is built on this machine.

No model is run here and nothing is known of pickles: the sandbox takes a built runtime's paths.
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
