"""The mail server: its address as a setting, and one conversation with it."""

import smtplib
import ssl
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import parseaddr
from enum import StrEnum
from urllib.parse import unquote, urlsplit

from predictd.domain.errors import InvalidInputError, PredictdError, SetupError
from predictd.domain.notices import check_address

SECONDS = 20
_EXAMPLE = "smtp://USER:PASSWORD@HOST:587?starttls, smtps://USER:PASSWORD@HOST or smtp://localhost:25"


class MailError(PredictdError):
    """The mail server can't be reached, or it takes nothing from this server."""

    code = "mail"


class RefusedMailError(PredictdError):
    """The mail server does not take this one mail."""

    code = "mail_refused"

    def __init__(self, message: str, *, is_final: bool) -> None:
        """`is_final` says that it would not take it later either."""
        super().__init__(message)
        self.is_final = is_final


class Encryption(StrEnum):
    """How a connection to the mail server is encrypted."""

    NONE = "none"
    STARTTLS = "starttls"
    TLS = "tls"


@dataclass(frozen=True, kw_only=True)
class MailServer:
    """A mail server and who sends through it. `sender` is the From header, such as `predictd <noreply@host>`."""

    host: str
    port: int
    encryption: Encryption
    user: str
    password: str = field(repr=False)
    sender: str

    @property
    def sender_address(self) -> str:
        """The address alone."""
        return parseaddr(self.sender)[1]

    @property
    def domain(self) -> str:
        """Where the sender's address is; ids of mails end in it."""
        return self.sender_address.partition("@")[2]

    def send(self, message: EmailMessage, to: str) -> str:
        """Hand over one mail; answers in a word or two what came of it.

        Raises:
            RefusedMailError: it does not take this mail, or not now.
            MailError: it can't be reached or takes nothing from this server.
        """
        try:
            with self._connect() as connection:
                connection.send_message(message, self.sender_address, [to])
        except smtplib.SMTPRecipientsRefused as error:
            code, told = next(iter(error.recipients.values()))
            raise RefusedMailError(_told(code, told), is_final=code >= 500) from error
        except smtplib.SMTPDataError as error:
            raise RefusedMailError(_told(error.smtp_code, error.smtp_error), is_final=error.smtp_code >= 500) from error
        except smtplib.SMTPResponseException as error:
            raise MailError(f"{self.host}:{self.port} says: {_told(error.smtp_code, error.smtp_error)}") from error
        except (OSError, smtplib.SMTPException, ValueError) as error:
            why = (str(error) or type(error).__name__)[:200]
            raise MailError(f"The mail server {self.host}:{self.port} can't be used: {why}.") from error
        return f"Taken by {self.host}"

    def _connect(self) -> smtplib.SMTP:
        if self.encryption is Encryption.TLS:
            context = ssl.create_default_context()
            connection: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=SECONDS, context=context)
        else:
            connection = smtplib.SMTP(self.host, self.port, timeout=SECONDS)
        try:
            if self.encryption is Encryption.STARTTLS:
                connection.starttls(context=ssl.create_default_context())
            if self.user:
                connection.login(self.user, self.password)
        except BaseException:
            connection.close()
            raise
        return connection


def parse_mail_server(url: str, sender: str) -> MailServer | None:
    """The mail server of the settings `smtp_url` and `mail_from`; None where no e-mail is to be sent.

    Raises:
        SetupError: the URL or the sender can't be taken.
    """
    if not url:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or parts.query not in {"", "starttls"}:
        # It may hold a password, so it is not shown.
        raise SetupError(f"PREDICTD_SMTP_URL can't be taken; write it as {_EXAMPLE}.")
    try:
        check_address(parseaddr(sender)[1])
    except InvalidInputError as error:
        raise SetupError(
            "PREDICTD_SMTP_URL is set, so PREDICTD_MAIL_FROM must say who sends, such as 'predictd <noreply@host.org>'."
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


def _told(code: int, text: bytes | str) -> str:
    told = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
    return f"{code} {' '.join(told.split())[:200]}"
