"""HTTP transfers that outlast a server's bad moments."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from predictd import __version__
from predictd.data.staging import staged_file
from predictd.domain.errors import PredictdError

ShowProgress = Callable[[str, int, int | None], None]
"""Told what is on its way, how many bytes of it have arrived and how many there are, None if that is unknown."""

_TIMEOUT = (10.0, 60.0)
_BLOCK = 1024 * 1024
_ATTEMPTS = 5
_QUOTED = 300


class TransferError(PredictdError):
    """A server could not be reached, or refused a transfer."""

    code = "transfer"


def open_session() -> requests.Session:
    """A session that asks again, with growing pauses (some 15 s in all), after a 5xx or a lost connection."""
    retry = Retry(
        total=_ATTEMPTS,
        connect=3,
        backoff_factor=0.5,
        status_forcelist=range(500, 600),
        allowed_methods=None,
        raise_on_status=False,
    )
    session = requests.Session()
    session.headers["User-Agent"] = f"predictd/{__version__}"
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry))
    return session


def download(url: str, target: Path, show: ShowProgress) -> None:
    """Save what the URL answers as `target`, which appears whole or not at all.

    Raises:
        TransferError: the server can't be reached, or answers anything but 200.
    """
    with open_session() as session:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                _download_once(session, url, target, show)
                break
            except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError) as error:
                if not _broke_off(error) or attempt == _ATTEMPTS:
                    raise _unreachable(url, error) from error
                time.sleep(0.5 * 2**attempt)
            except requests.RequestException as error:
                raise _unreachable(url, error) from error


def send(session: requests.Session, method: str, url: str, **options: object) -> requests.Response:
    """One request whose answer may be anything.

    Raises:
        TransferError: there is no answer.
    """
    try:
        return session.request(method, url, timeout=_TIMEOUT, **options)  # type: ignore[arg-type]
    except requests.RequestException as error:
        raise _unreachable(url, error) from error


def refused(url: str, response: requests.Response, remedy: str) -> TransferError:
    """The error of an answer that is none."""
    said = " ".join(response.text[:_QUOTED].split())
    return TransferError(
        f"{without_query(url)} answered {response.status_code} {response.reason}{f': {said}' if said else ''}. {remedy}"
    )


def without_query(url: str) -> str:
    """The URL as it may be shown: its query may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _download_once(session: requests.Session, url: str, target: Path, show: ShowProgress) -> None:
    with closing(session.get(url, stream=True, timeout=_TIMEOUT)) as response:
        if response.status_code != requests.codes.ok:
            raise refused(url, response, "Check the URL, and that it has not expired.")
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() and "Content-Encoding" not in response.headers else None
        arrived = 0
        show(target.name, arrived, total)
        with staged_file(target) as staging, staging.open("wb") as file:
            for block in response.iter_content(_BLOCK):
                file.write(block)
                arrived += len(block)
                show(target.name, arrived, total)


def _broke_off(error: requests.RequestException) -> bool:
    """Whether an answer that had begun did not end; the session has tried again already whatever had not begun."""
    return isinstance(error, requests.exceptions.ChunkedEncodingError) or "Read timed out" in str(error)


def _unreachable(url: str, error: requests.RequestException) -> TransferError:
    if isinstance(error, (requests.exceptions.MissingSchema, requests.exceptions.InvalidURL)):
        return TransferError(f"{url[:_QUOTED]} is no URL: {error}.")
    reason = str(getattr(error.args[0] if error.args else error, "reason", None) or error)
    plain = " ".join(reason.rpartition(">: ")[2].split())[:_QUOTED]
    return TransferError(
        f"{without_query(url)} can't be reached ({plain}). Check the address and the connection (HTTPS_PROXY, "
        "REQUESTS_CA_BUNDLE), or give local files."
    )
