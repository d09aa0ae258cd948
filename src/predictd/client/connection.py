"""GraphQL over HTTP to one server."""

import re
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
from requests.auth import AuthBase
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from predictd.client.credentials import Token
from predictd.client.server_errors import RefusedError, error_of
from predictd.client.transfer import TransferError, connection_error, open_session, response_error
from predictd.domain.errors import PredictdError

_TIMEOUT = (10.0, 60.0)
_MUTATION = re.compile(r"\bmutation\b")
_NO_SERVER = "Check --server: there is no GraphQL server at that address."


class UnansweredError(TransferError):
    """A change was sent and there was no response, so the change may have been made or not."""

    code = "unanswered"


class Connection:
    """Sends GraphQL documents to a server, with the account's token if there is one.

    Queries are retried after a lost connection or a 5xx response. A mutation is sent only once, unless it is
    idempotent: if the response is lost, it may have been executed.
    """

    def __init__(self, server: str, token: Token | None) -> None:
        self.server = server
        self.token = token
        self._session = _open(retries=True)
        # None until it is known.
        self._has_extensions: bool | None = None

    def query(
        self, query: str, variables: dict[str, Any] | None = None, *, is_idempotent: bool | None = None
    ) -> dict[str, Any]:
        """Return the data of a GraphQL response.

        Args:
            query: A GraphQL document.
            variables: Its variables.
            is_idempotent: Whether the document may be sent again; by default only if it is a query.

        Raises:
            UnansweredError: The document is not idempotent, and it may have been executed or not.
            TransferError: The server is unreachable, or not a GraphQL server.
            PredictdError: The response has errors; the class depends on the first error.
        """
        response = self.execute(query, variables, is_idempotent=is_idempotent)
        if response.get("errors"):
            raise error_of(response["errors"])
        return dict(response.get("data") or {})

    def query_extended(self, query: str, contract_query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Return the data of a query with predictd's extensions, or of `contract_query` if the server has none.

        Raises:
            PredictdError: As for `query`.
        """
        if self._has_extensions is not False:
            try:
                data = self.query(query, variables)
            except TransferError:
                raise
            except PredictdError:
                if self._has_extensions:
                    raise
            else:
                self._has_extensions = True
                return data
        data = self.query(contract_query, variables)
        self._has_extensions = False
        return data

    def query_object(self, query: str, variables: dict[str, Any], field: str) -> dict[str, Any]:
        """Return the object in a field of a response, or raise RefusedError; raises all that `query` raises."""
        value = self.query(query, variables).get(field)
        if not isinstance(value, dict):
            raise RefusedError(f"{self.server} returned no {field}. The server may not support it.")
        return value

    def execute(
        self,
        query: str,
        variables: dict[str, Any] | None = None,
        *,
        is_idempotent: bool | None = None,
        token: Token | None = None,
    ) -> dict[str, Any]:
        """Return the whole response, `{"data": ..., "errors": [...]}`; `token` overrides the connection's own.

        Raises:
            UnansweredError: The document is not idempotent, and it may have been executed or not.
            TransferError: The server is unreachable, or not a GraphQL server.
        """
        body = {"query": query, "variables": variables or {}}
        auth = _TokenAuth(token or self.token)
        if is_idempotent if is_idempotent is not None else not _MUTATION.search(query):
            response = _post(self._session, self.server, body, auth)
        else:
            # An idle connection may be dead, which shows only after the change was sent.
            with _open(retries=False) as session:
                response = _post(session, self.server, body, auth, is_change=True)
        return _read(self.server, response)

    def close(self) -> None:
        """Close the open connections."""
        self._session.close()


class _TokenAuth(AuthBase):
    """Sends the token, and never credentials of a .netrc file."""

    def __init__(self, token: Token | None) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token is not None:
            request.headers["Authorization"] = self._token.header
        return request


def _open(*, retries: bool) -> requests.Session:
    session = open_session(retries=retries)
    # A session cookie must never authenticate a request with a different token.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _post(
    session: requests.Session, server: str, body: dict[str, Any], auth: AuthBase, *, is_change: bool = False
) -> requests.Response:
    try:
        # A redirect would forward the token, or turn the POST into a GET.
        response = session.post(server, json=body, auth=auth, timeout=_TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        failure = connection_error(server, error)
        if is_change and _was_sent(error):
            raise UnansweredError(
                f"There was no response, so the change may have been made or not. {failure.message}"
            ) from error
        raise failure from error
    if is_change and response.status_code >= 500:
        failure = response_error(server, response, "Check the status before you try again.")
        raise UnansweredError(f"The change may have been made or not. {failure.message}")
    return response


def _was_sent(error: requests.RequestException) -> bool:
    """Return whether the request may have reached the server before it failed."""
    if isinstance(error, (requests.ConnectTimeout, requests.exceptions.SSLError, requests.exceptions.ProxyError)):
        return False
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(error, (requests.ConnectionError, requests.Timeout)) and not isinstance(
        reason, (NewConnectionError, ConnectTimeoutError)
    )


def _read(server: str, response: requests.Response) -> dict[str, Any]:
    if response.is_redirect:
        raise TransferError(
            f"{server} redirects to {response.headers.get('Location', '')[:200]}. Tokens are not sent to redirects. "
            "Use the final address with --server."
        )
    try:
        content = response.json()
    except ValueError:
        content = None
    if not isinstance(content, dict) or not ("data" in content or isinstance(content.get("errors"), list)):
        raise response_error(server, response, _NO_SERVER)
    return content
