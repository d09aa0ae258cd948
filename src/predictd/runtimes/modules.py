"""The modules of a Python and of the known runtimes, and why a runtime lacks a module."""

import re
import sys
from functools import lru_cache

from predictd.runtimes.specs import PACKAGE_SETS

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)

DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "PIL": "pillow",
    "dateutil": "python-dateutil",
    "yaml": "pyyaml",
    "cv2": "opencv-python",
    "mpl_toolkits": "matplotlib",
    "pylab": "matplotlib",
    "_plotly_utils": "plotly",
    "_polars_runtime_32": "polars-runtime-32",
    "fontTools": "fonttools",
    "tensorflow": "tensorflow-cpu",
    "google": "protobuf",
    "torchgen": "torch",
    "functorch": "torch",
    "pkg_resources": "setuptools",
    "_distutils_hack": "setuptools",
    "clang": "libclang",
    "dotenv": "python-dotenv",
    "grpc": "grpcio",
    "attr": "attrs",
    "bs4": "beautifulsoup4",
    "jwt": "pyjwt",
    "OpenSSL": "pyopenssl",
    "faiss": "faiss-cpu",
}
"""Import name -> package name, where they differ."""

_REMOVED = {
    (3, 12): {"distutils", "imp", "asyncore", "asynchat", "smtpd"},
    (3, 13): {
        "aifc", "audioop", "cgi", "cgitb", "chunk", "crypt", "imghdr", "lib2to3", "mailcap", "msilib", "nis", "nntplib",
        "ossaudiodev", "pipes", "sndhdr", "spwd", "sunau", "telnetlib", "uu", "xdrlib",
    },
}  # fmt: skip
_ADDED = {(3, 11): {"tomllib"}}
# Packages of the index that no runtime has, so that they are not mistaken for the user's own modules.
_INDEX_PACKAGES = {
    "albumentations", "boto3", "cupy", "cudf", "cuml", "dask", "dill", "fastai", "gluonts", "hyperopt", "IPython",
    "lightning", "mlflow", "modin", "numerapi", "numerblox", "onnx", "optuna", "peft", "pytorch_lightning", "ray",
    "seaborn", "sentence_transformers", "shap", "transformers", "tsfresh", "umap", "wandb",
}  # fmt: skip


def distribution_of(top: str) -> str:
    """Return the package that provides a module: 'scikit-learn' for 'sklearn'."""
    return DISTRIBUTIONS.get(top, normal_name(top))


def normal_name(package: str) -> str:
    """Return the name of a package as an index compares it."""
    return re.sub(r"[-_.]+", "-", package).lower()


def packages_in(lock: str) -> dict[str, str]:
    """Return package -> version of the text of a lock."""
    return {normal_name(name): version for name, version in _PIN.findall(lock)}


def is_standard(top: str, python: str) -> bool:
    """Return whether the standard library of that Python ('major.minor') has a module."""
    version = tuple(int(part) for part in python.split("."))
    is_removed = any(top in names and version >= since for since, names in _REMOVED.items())
    is_future = any(top in names and version < since for since, names in _ADDED.items())
    return _was_ever_standard(top) and not is_removed and not is_future


def cause_of_missing(module: str, python: str) -> tuple[str | None, dict[str, str]]:
    """Return why a runtime of that Python lacks a module: a cause of `import_error` and the facts of its remedy.

    The cause is None if the module may be the user's own.
    """
    top = module.partition(".")[0]
    package = distribution_of(top)
    if _was_ever_standard(top):
        return "not_in_python", {"module": top, "python": python}
    for specs in PACKAGE_SETS.values():
        spec = specs.get(python)
        if spec is not None and package in _packages_of(spec.lock):
            return "in_runtime", {"runtime": spec.display_name, "package": package}
    return ("in_no_runtime", {"package": package}) if top in _INDEX_PACKAGES else (None, {})


def _was_ever_standard(top: str) -> bool:
    return top in sys.stdlib_module_names or any(top in names for names in _REMOVED.values())


@lru_cache(maxsize=16)
def _packages_of(lock: str) -> frozenset[str]:
    return frozenset(packages_in(lock))
