"""The SMTP server: parsing of its settings, and sending."""

import smtplib
import ssl
import time
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import parseaddr
from enum import StrEnum
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from predictd.domain.errors import InvalidInputError, PredictdError, SetupError
from predictd.domain.notification_types import check_address

# For one read, and for all replies to one email: a reply may have any number of lines.
TIMEOUT_SECONDS = 20
TOTAL_SECONDS = 60
_EXAMPLE = "smtp://USER:PASSWORD@HOST:587?starttls, smtps://USER:PASSWORD@HOST or smtp://localhost:25"


class MailError(PredictdError):
    """The mail server is unreachable, or rejects this server."""

    code = "mail"


class MailRejectedError(PredictdError):
    """The mail server rejected this email."""

    code = "mail_refused"

    def __init__(self, message: str, *, is_final: bool) -> None:
        """`is_final` means that a retry would be rejected too."""
        super().__init__(message)
        self.is_final = is_final


class Encryption(StrEnum):
    """How a connection to the mail server is encrypted."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


@dataclass(frozen=True, kw_only=True)
class MailServer:
    """An SMTP server with credentials. `sender` is the From header, such as `predictd <noreply@host>`."""

    host: str
    port: int
    encryption: Encryption
    user: str
    password: str = field(repr=False)
    sender: str

    @property
    def sender_address(self) -> str:
        """Return the email address of the sender."""
        return parseaddr(self.sender)[1]

    @property
    def domain(self) -> str:
        """Return the domain of the sender, which message ids end with."""
        return self.sender_address.partition("@")[2]

    def send(self, message: EmailMessage, to: str) -> str:
        """Send one email and return a short result.

        Raises:
            RefusedMailError: it does not take this mail, or not now.
            MailError: the server is unreachable, or rejects this server.
        """
        try:
            with self._connect() as connection:
                connection.send_message(message, self.sender_address, [to])
        except smtplib.SMTPRecipientsRefused as error:
            code, reply = next(iter(error.recipients.values()))
            raise MailRejectedError(_smtp_reply(code, reply), is_final=code >= 500) from error
        except smtplib.SMTPDataError as error:
            raise MailRejectedError(
                _smtp_reply(error.smtp_code, error.smtp_error), is_final=error.smtp_code >= 500
            ) from error
        except smtplib.SMTPResponseException as error:
            raise MailError(
                f"{self.host}:{self.port} replied: {_smtp_reply(error.smtp_code, error.smtp_error)}"
            ) from error
        except (OSError, smtplib.SMTPException, ValueError) as error:
            cause = (str(error) or type(error).__name__)[:200]
            raise MailError(f"The mail server {self.host}:{self.port} is unavailable: {cause}.") from error
        return f"Accepted by {self.host}"

    def _connect(self) -> smtplib.SMTP:
        if self.encryption is Encryption.TLS:
            context = ssl.create_default_context()
            connection: smtplib.SMTP = _TLSConnection(self.host, self.port, timeout=TIMEOUT_SECONDS, context=context)
        else:
            connection = _Connection(self.host, self.port, timeout=TIMEOUT_SECONDS)
        try:
            if self.encryption is Encryption.STARTTLS:
                connection.starttls(context=ssl.create_default_context())
            if self.user:
                connection.login(self.user, self.password)
        except BaseException:
            connection.close()
            raise
        return connection


class _Replies:
    """The replies of a server, up to a deadline."""

    def __init__(self, file: IO[bytes], deadline: float) -> None:
        self._file = file
        self._deadline = deadline

    def readline(self, size: int) -> bytes:
        if time.monotonic() > self._deadline:
            raise TimeoutError(f"its replies took longer than {TOTAL_SECONDS} s")
        return self._file.readline(size)

    def close(self) -> None:
        self._file.close()


class _Connection(smtplib.SMTP):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._deadline = time.monotonic() + TOTAL_SECONDS
        super().__init__(*args, **kwargs)

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Replies(self.sock.makefile("rb"), self._deadline)
        return super().getreply()


class _TLSConnection(_Connection, smtplib.SMTP_SSL):
    pass


def parse_mail_server(url: str, sender: str) -> MailServer | None:
    """Parse the settings `smtp_url` and `mail_from`; return None if no emails are to be sent.

    Raises:
        SetupError: the URL or the sender is invalid.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or parts.query not in {"", "starttls"}:
        # The URL may contain a password, so it is not shown.
        raise SetupError(f"PREDICTD_SMTP_URL is invalid; use a URL such as {_EXAMPLE}.")
    try:
        check_address(parseaddr(sender)[1])
    except InvalidInputError as error:
        raise SetupError(
            "PREDICTD_SMTP_URL needs PREDICTD_MAIL_FROM; set it to a sender such as 'predictd <noreply@host.org>'."
        ) from error
    encryption = Encryption.STARTTLS if parts.query else Encryption.NONE
    if parts.scheme == "smtps":
        encryption = Encryption.TLS
    return MailServer(
        host=parts.hostname,
        port=port or {Encryption.TLS: 465, Encryption.STARTTLS: 587}.get(encryption, 25),
        encryption=encryption,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        sender=sender,
    )


def _smtp_reply(code: int, text: bytes | str) -> str:
    decoded = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return f"{code} {' '.join(decoded.split())[:200]}"
