"""The uv that comes with predictd: where it is and with which environment it runs."""

import os
import ssl

from predictd.domain.errors import SetupError

# pip's settings of where packages come from, for machines that have set up only pip.
_PIP_TO_UV = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_NO_INDEX": "UV_NO_INDEX",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
    "PIP_CERT": "SSL_CERT_FILE",
    "PIP_PROXY": "ALL_PROXY",
}

# Whatever would point uv at another environment or Python than the one that it's told.
_MISLEADING = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "UV_PYTHON",
    "UV_PROJECT",
    "UV_WORKING_DIRECTORY",
    "PYTHONHOME",
    "PYTHONPATH",
)


def uv_executable() -> str:
    """Path of the uv binary; SetupError when the package `uv` is not installed."""
    try:
        from uv import find_uv_bin  # noqa: PLC0415

        return find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise SetupError(
            "uv is missing, which builds the runtimes. Install it in the clone of predictd: pip install '.[server]'."
        ) from error


def uv_environment() -> dict[str, str]:
    """This process's environment for uv: no Python downloads, plain output, the system's certificates, pip's settings
    where uv has none."""
    environment = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    for pip, uv in _PIP_TO_UV.items():
        if environment.get(pip) and not environment.get(uv):
            environment[uv] = environment[pip]
    links = environment.get("PIP_FIND_LINKS", "").split()
    # pip passes over a folder that is not there, uv fails; and uv separates them by commas.
    usable = [link for link in links if "://" in link or os.path.isdir(link)]
    if usable:
        environment.setdefault("UV_FIND_LINKS", ",".join(usable))
    # uv brings its own list of authorities; a proxy's is only among the system's, where there is such a list.
    if ssl.get_default_verify_paths().cafile or os.path.isfile("/etc/ssl/certs/ca-certificates.crt"):
        environment.setdefault("UV_SYSTEM_CERTS", "1")
    # Links to uv's cache where that lies on the same filesystem, copies else.
    environment.setdefault("UV_LINK_MODE", "hardlink")
    environment |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    return environment
