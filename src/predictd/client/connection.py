"""GraphQL over HTTP to one server."""

import re
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.auth import AuthBase
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from predictd.client.credentials import Token
from predictd.client.errors import RefusedError, error_of
from predictd.client.transfer import TransferError, open_session, refused, unreachable
from predictd.domain.errors import PredictdError

_TIMEOUT = (10.0, 60.0)
_MUTATION = re.compile(r"\bmutation\b")
_NO_SERVER = "Check --server: it is not the address of a server that answers GraphQL."


class UnansweredError(TransferError):
    """A change was sent and no answer came, so that it may have been made or not."""

    code = "unanswered"


class Connection:
    """Asks one server, with the account's token where there is one.

    Queries are repeated after a lost connection or a 5xx. A mutation is sent once, unless it is harmless twice: when
    its answer is lost, nobody can say whether it was taken.
    """

    def __init__(self, server: str, token: Token | None) -> None:
        self.server = server
        self.token = token
        self._session = _open(repeats=True)
        # None as long as it is unknown.
        self._has_extensions: bool | None = None

    def ask(
        self, query: str, variables: dict[str, Any] | None = None, *, repeats: bool | None = None
    ) -> dict[str, Any]:
        """The data of an answer.

        Args:
            repeats: whether it may be sent twice; None means that a query may.

        Raises:
            UnansweredError: it may not be sent twice, and it is not known whether it was taken.
            TransferError: the server can't be reached or speaks another language.
            PredictdError: the answer holds errors; of the kind of the first.
        """
        answer = self.execute(query, variables, repeats=repeats)
        if answer.get("errors"):
            raise error_of(answer["errors"])
        return dict(answer.get("data") or {})

    def ask_extended(self, query: str, contract_query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the data for a query of predictd's extensions, or of the contract if the server has no extensions.

        Raises:
            PredictdError: as `ask` does.
        """
        if self._has_extensions is not False:
            try:
                data = self.ask(query, variables)
            except TransferError:
                raise
            except PredictdError:
                if self._has_extensions:
                    raise
            else:
                self._has_extensions = True
                return data
        data = self.ask(contract_query, variables)
        self._has_extensions = False
        return data

    def ask_for(
        self, query: str, variables: dict[str, Any], field: str, *, repeats: bool | None = None
    ) -> dict[str, Any]:
        """The object that an answer has in this field; RefusedError where there is none, beside what `ask` raises."""
        answer = self.ask(query, variables, repeats=repeats).get(field)
        if not isinstance(answer, dict):
            raise RefusedError(f"{self.server} answers nothing for {field}; it may not serve that.")
        return answer

    def execute(
        self,
        query: str,
        variables: dict[str, Any] | None = None,
        *,
        repeats: bool | None = None,
        token: Token | None = None,
    ) -> dict[str, Any]:
        """The whole answer, `{"data": ..., "errors": [...]}`; `token` is used in place of the connection's own.

        Raises:
            UnansweredError: it may not be sent twice, and it is not known whether it was taken.
            TransferError: the server can't be reached or speaks another language.
        """
        body = {"query": query, "variables": variables or {}}
        auth = _TokenAuth(token or self.token)
        if repeats if repeats is not None else not _MUTATION.search(query):
            response = _post(self._session, self.server, body, auth)
        else:
            # A connection that was left open may be dead, which shows only once the change is on its way.
            with _open(repeats=False) as session:
                response = _post(session, self.server, body, auth, is_change=True)
        return _read(self.server, response)

    def close(self) -> None:
        """Let go of the open connections."""
        self._session.close()


class _TokenAuth(AuthBase):
    """Sends the token, and nothing of a .netrc file in its place."""

    def __init__(self, token: Token | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = self._token.header
        return request


def _open(*, repeats: bool) -> requests.Session:
    session = open_session(repeats=repeats)
    # One caller's session must never answer for another's token.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _post(
    session: requests.Session, server: str, body: dict[str, Any], auth: AuthBase, *, is_change: bool = False
) -> requests.Response:
    try:
        # A redirect would take the token along, or turn the POST into a GET.
        response = session.post(server, json=body, auth=auth, timeout=_TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        failure = unreachable(server, error)
        if is_change and _was_sent(error):
            raise UnansweredError(
                f"No answer came, so it is not known whether this was done. {failure.message}"
            ) from error
        raise failure from error
    if is_change and response.status_code >= 500:
        raise UnansweredError(
            "It is not known whether this was done. " + refused(server, response, "Look before you repeat it.").message
        )
    return response


def _was_sent(error: requests.RequestException) -> bool:
    """Whether the request may have reached the server before it failed."""
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.SSLError, requests.exceptions.ProxyError)):
        return False
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(error, (requests.ConnectionError, requests.Timeout)) and not isinstance(
        reason, (NewConnectionError, ConnectTimeoutError)
    )


def _read(server: str, response: requests.Response) -> dict[str, Any]:
    if response.is_redirect:
        raise TransferError(
            f"{server} sends on to {response.headers.get('Location', '')[:200]}, where the token is not taken along. "
            "Name the right address with --server."
        )
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not ("data" in answer or isinstance(answer.get("errors"), list)):
        raise refused(server, response, _NO_SERVER)
    return answer
