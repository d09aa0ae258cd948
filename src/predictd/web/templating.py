"""The template environment, its filters, and the assets of pages."""

import hashlib
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from predictd.domain.terminal import printable
from predictd.reports.numbers import NO_VALUE, format_number

ASSETS = {
    "report.css": ("predictd.reports", "text/css"),
    "report.js": ("predictd.reports", "text/javascript"),
    "site.css": ("predictd.web", "text/css"),
    "site.js": ("predictd.web", "text/javascript"),
    "upload.js": ("predictd.web", "text/javascript"),
    "icon.svg": ("predictd.web", "image/svg+xml"),
}
_MIB = 1024 * 1024
STATES = {
    "pending": "Pending",
    "running": "Running",
    "validating": "Validating",
    "submission_succeeded": "Success",
    "error": "Error",
    "model_failed": "Failed",
}
TYPES = {"validation": "Validation", "live": "Round", "diagnostics": "Diagnostics"}


@cache
def asset(name: str) -> bytes:
    """Return the content of an asset; KeyError if it does not exist."""
    return files(ASSETS[name][0]).joinpath("assets", name).read_bytes()


@cache
def asset_version(name: str) -> str:
    """Return a hash of the content of an asset."""
    return hashlib.sha256(asset(name)).hexdigest()[:12]


def asset_url(name: str) -> str:
    """Return the URL of an asset, which browsers can cache forever."""
    return f"/assets/{name}?v={asset_version(name)}"


def render(template: str, **content: Any) -> str:
    """Render a template."""
    return _environment().get_template(template).render(**content)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("predictd.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = asset_url
    environment.globals["states"] = STATES
    environment.globals["types"] = TYPES
    environment.filters["time"] = time_element
    environment.filters["countdown"] = countdown_element
    environment.filters["printable"] = printable
    environment.filters["score"] = score
    environment.filters["size"] = size
    return environment


def time_element(at: datetime | None, is_precise: bool = False) -> Markup:
    """Return a time in UTC, which a script converts to the time zone of the reader; with seconds if it is precise."""
    if at is None:
        return Markup('<span class="none">{}</span>').format(NO_VALUE)
    attribute = Markup(" data-precise") if is_precise else ""
    return Markup('<time datetime="{}"{}>{}</time>').format(at.strftime("%Y-%m-%dT%H:%M:%SZ"), attribute, _utc(at))


def countdown_element(at: datetime) -> Markup:
    """Return a time in UTC, to which a script adds the time remaining."""
    return Markup('<time datetime="{}" data-countdown>{}</time>').format(at.strftime("%Y-%m-%dT%H:%M:%SZ"), _utc(at))


def score(value: float | None) -> str:
    """Format a score with four decimals; a dash for None."""
    return format_number(value, 4)


def size(size_bytes: int) -> str:
    """Format a number of bytes."""
    if size_bytes < 1024:
        return f"{size_bytes} bytes"
    return f"{size_bytes / 1024:.0f} KiB" if size_bytes < _MIB else f"{size_bytes / _MIB:.1f} MiB"


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
