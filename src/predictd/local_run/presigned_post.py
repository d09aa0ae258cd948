"""Sending predictions to a presigned POST, such as that of an object store."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from predictd.client.transfer import open_session, response_error, send
from predictd.domain.errors import InvalidInputError


@dataclass(frozen=True, kw_only=True)
class Post:
    """A presigned POST: where to, and the form fields that authorise it, in order."""

    url: str
    fields: tuple[tuple[str, str], ...]

    def send(self, path: Path) -> None:
        """Send the file as the form's field `file`; a 5xx is tried again.

        Raises:
            TransferError: the answer is neither 200 nor 204.
        """
        content = path.read_bytes()
        with open_session() as session:
            response = send(
                session, "POST", self.url, data=list(self.fields), files={"file": (path.name, content, "text/csv")}
            )
        if response.status_code not in (200, 204):
            raise response_error(
                self.url, response, f"The predictions are saved in {path}; request a new presigned POST."
            )


def parse_post(url: str, data: str) -> Post:
    """The presigned POST of a URL and urlencoded fields.

    Raises:
        InvalidInputError: the fields are not urlencoded.
    """
    try:
        fields = parse_qsl(data, keep_blank_values=True, strict_parsing=True)
    except ValueError as error:
        raise InvalidInputError(f"--post_data must be urlencoded (key=value&key=value): {error}.") from error
    return Post(url=url, fields=tuple(fields))
