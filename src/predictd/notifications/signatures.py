"""The body and the headers of a webhook, signed as Standard Webhooks has it (standardwebhooks.com), version v1."""

import base64
import hashlib
import hmac
import json
from datetime import datetime

from predictd.domain.notices import Event
from predictd.notifications.payload import Facts

USER_AGENT = "predictd-webhooks"


def body_of(event: Event, facts: Facts, happened_at: datetime) -> bytes:
    """The JSON body: `type`, the `timestamp` of what happened, and `data`. It is the same for each attempt."""
    content = {"type": event.type, "timestamp": f"{happened_at:%Y-%m-%dT%H:%M:%SZ}", "data": facts}
    return json.dumps(content, separators=(",", ":")).encode()


def signed_headers(secret: str, message_id: str, body: bytes, now: datetime) -> dict[str, str]:
    """The headers of one attempt. `webhook-id` is the same for each, so that a receiver can drop what it has had."""
    timestamp = str(int(now.timestamp()))
    return {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{sign(secret, message_id, timestamp, body)}",
    }


def sign(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 of `ID.TIMESTAMP.BODY` in base64, under the bytes that follow `whsec_` in the secret."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
