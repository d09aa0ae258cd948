"""Find the bundled uv and prepare its environment."""

import os
import ssl

from predictd.domain.errors import SetupError

# pip's index settings, for machines where only pip is configured.
_PIP_TO_UV = {
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_NO_INDEX": "UV_NO_INDEX",
    "PIP_TRUSTED_HOST": "UV_INSECURE_HOST",
    "PIP_CERT": "SSL_CERT_FILE",
    "PIP_PROXY": "ALL_PROXY",
}

# Variables that would point uv to another environment or Python.
_REMOVED_VARIABLES = (
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "UV_PYTHON",
    "UV_PROJECT",
    "UV_WORKING_DIRECTORY",
    "PYTHONHOME",
    "PYTHONPATH",
)


def uv_executable() -> str:
    """Return the path of the uv binary. Raises SetupError if the package `uv` is not installed."""
    try:
        from uv import find_uv_bin  # noqa: PLC0415

        return find_uv_bin()
    except (ImportError, FileNotFoundError) as error:
        raise SetupError(
            "uv is missing, which builds the runtimes. Install it in the clone of predictd: pip install '.[server]'."
        ) from error


def uv_environment() -> dict[str, str]:
    """Return this process's environment for uv: no Python downloads, plain output, system certificates, pip's settings
    as defaults.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _REMOVED_VARIABLES}
    for pip, uv in _PIP_TO_UV.items():
        if environment.get(pip) and not environment.get(uv):
            environment[uv] = environment[pip]
    links = environment.get("PIP_FIND_LINKS", "").split()
    # pip ignores a missing folder, uv fails; and uv separates links by commas.
    usable = [link for link in links if "://" in link or os.path.isdir(link)]
    if usable:
        environment.setdefault("UV_FIND_LINKS", ",".join(usable))
    # uv has its own certificates; a proxy's certificate is only in the system's list, if there is one.
    if ssl.get_default_verify_paths().cafile or os.path.isfile("/etc/ssl/certs/ca-certificates.crt"):
        environment.setdefault("UV_SYSTEM_CERTS", "1")
    # Links to uv's cache on the same filesystem, copies otherwise.
    environment.setdefault("UV_LINK_MODE", "hardlink")
    environment |= {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    return environment
