"""A bucket of S3 or a compatible service: its address, its clients and its errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import structlog

from predictd.domain.errors import (
    InvalidInputError,
    NotFoundError,
    OutageError,
    PlatformError,
    SetupError,
    StorageDownError,
)
from predictd.storage.keys import check_key

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

log = structlog.get_logger()

_NOT_FOUND_CODES = ("404", "NoSuchKey", "NotFound")
_OPTIONS = ("endpoint", "public_endpoint", "region")
_TRANSIENT_CODES = (
    "SlowDown",
    "RequestTimeout",
    "InternalError",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
)
_REMEDIES = {
    "NoSuchBucket": "the bucket does not exist; create it, or correct PREDICTD_STORAGE_URL",
    "AccessDenied": "access is denied; the credentials need s3:ListBucket on the bucket and s3:GetObject, s3:PutObject "
    "and s3:DeleteObject on its objects",
    "InvalidAccessKeyId": "the access key is unknown; correct AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret key is wrong; correct AWS_SECRET_ACCESS_KEY",
    "RequestTimeTooSkewed": "the clocks differ too much; synchronize this machine's clock",
    "ExpiredToken": "the temporary credentials have expired; renew them",
}
_REMEDIES["403"] = _REMEDIES["AccessDenied"]


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """The location of objects: all keys are below `prefix`, which is empty or ends with a slash.

    Attributes:
        endpoint: address of the service; empty means AWS.
        public_endpoint: address for clients, if it differs.
        region: empty means the region of the environment.
    """

    name: str
    prefix: str = ""
    endpoint: str = ""
    public_endpoint: str = ""
    region: str = ""

    @classmethod
    def parse(cls, url: str) -> "Bucket":
        """Parse `s3://BUCKET/PREFIX?endpoint=http://HOST:PORT&region=REGION`. Raises InvalidInputError."""
        parts = urlsplit(url)
        options = parse_qs(parts.query, keep_blank_values=True)
        if parts.username or parts.password:
            raise InvalidInputError(
                "PREDICTD_STORAGE_URL must not contain credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
            )
        unknown = sorted(set(options) - set(_OPTIONS))
        if not parts.netloc or unknown:
            problem = f"unknown option {unknown[0]!r}" if unknown else "the name of the bucket is missing"
            raise InvalidInputError(
                f"PREDICTD_STORAGE_URL is invalid: {problem}. Use s3://BUCKET/PREFIX, with "
                "?endpoint=http://HOST:PORT&region=REGION if needed."
            )
        prefix = parts.path.strip("/")
        if prefix:
            check_key(prefix)
        parameters = {name: values[-1] for name, values in options.items()}
        return cls(name=parts.netloc, prefix=f"{prefix}/" if prefix else "", **parameters)

    @property
    def address(self) -> str:
        """Return the address of the bucket for messages."""
        return f"s3://{self.name}/{self.prefix}" + (f" at {self.endpoint}" if self.endpoint else "")

    @cached_property
    def client(self) -> "S3Client":
        """Return the client for the server's own requests; thread-safe."""
        return _client(self.endpoint, self.region)

    @cached_property
    def public_client(self) -> "S3Client":
        """Return the client that signs URLs for clients."""
        return _client(self.public_endpoint, self.region) if self.public_endpoint else self.client

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Convert boto3's errors to errors of the platform.

        Raises:
            NotFoundError: The object does not exist.
            StorageDownError: The storage does not respond or is overloaded.
            OutageError: The storage refuses the request for a reason that an administrator can fix.
            PlatformError: The storage refuses the request for another reason.
        """
        from boto3.exceptions import Boto3Error  # noqa: PLC0415 (takes time to import, and only S3 needs it)
        from botocore.exceptions import (  # noqa: PLC0415
            BotoCoreError,
            ClientError,
            HTTPClientError,
            NoCredentialsError,
            PartialCredentialsError,
        )

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in _NOT_FOUND_CODES:
                raise NotFoundError from error
            log.error("storage_failed", bucket=self.address, operation=error.operation_name, error=str(error))
            if status >= 500 or status == 429 or code in _TRANSIENT_CODES:
                raise StorageDownError from error
            if code in _REMEDIES:
                # An error of the deployment: waiting work continues when it is fixed.
                raise OutageError(f"The storage refused a request: {_REMEDIES[code]}.") from error
            raise PlatformError(f"The storage refused a request with {code or status}.") from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise PlatformError(
                "The credentials for the storage are missing: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give "
                "the machine a role."
            ) from error
        except HTTPClientError as error:
            log.error("storage_down", bucket=self.address, error=str(error))
            raise StorageDownError from error
        except (BotoCoreError, Boto3Error) as error:
            log.error("storage_failed", bucket=self.address, error=str(error))
            raise StorageDownError from error


def _client(endpoint: str, region: str) -> "S3Client":
    try:
        import boto3  # noqa: PLC0415 (an extra, and slow to import)
        from botocore.config import Config  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SetupError("Storage in S3 needs boto3. In the clone of predictd: pip install '.[server,s3]'") from error
    session = boto3.session.Session()
    try:
        client: S3Client = session.client(
            "s3",
            endpoint_url=endpoint or None,
            region_name=region or session.region_name or "us-east-1",
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"mode": "standard", "total_max_attempts": 4},
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=64,
            ),
        )
    except ValueError as error:
        raise InvalidInputError(f"PREDICTD_STORAGE_URL is invalid: {error}.") from error
    return client
