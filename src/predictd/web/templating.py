"""Templates, and how values are shown in them."""

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
    """The content of an asset; KeyError if there is none of that name."""
    return files(ASSETS[name][0]).joinpath("assets", name).read_bytes()


@cache
def asset_version(name: str) -> str:
    """What an asset's address changes with."""
    return hashlib.sha256(asset(name)).hexdigest()[:12]


def asset_url(name: str) -> str:
    """The address of an asset, which may be kept for ever."""
    return f"/assets/{name}?v={asset_version(name)}"


def render(template: str, **content: Any) -> str:
    """The page of that template."""
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
    environment.filters["harmless"] = printable
    environment.filters["score"] = score
    environment.filters["size"] = size
    environment.filters["seconds"] = seconds
    return environment


def time_element(at: datetime | None, is_precise: bool = False) -> Markup:
    """A moment in UTC; a script puts it into the reader's zone and UTC into the title. Seconds if it is precise."""
    if at is None:
        return Markup('<span class="none">{}</span>').format(NO_VALUE)
    kind = Markup(" data-precise") if is_precise else ""
    return Markup('<time datetime="{}"{}>{}</time>').format(at.strftime("%Y-%m-%dT%H:%M:%SZ"), kind, _utc(at))


def countdown_element(at: datetime) -> Markup:
    """The same; the script tells how long it is until then beside it."""
    return Markup('<time datetime="{}" data-countdown>{}</time>').format(at.strftime("%Y-%m-%dT%H:%M:%SZ"), _utc(at))


def score(value: float | None) -> str:
    """A score with four digits, a dash where there is none."""
    return format_number(value, 4)


def size(count: int) -> str:
    """Bytes for a person."""
    if count < 1024:
        return f"{count} bytes"
    return f"{count / 1024:.0f} KiB" if count < _MIB else f"{count / _MIB:.1f} MiB"


def seconds(value: float) -> str:
    """A duration for a person."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _utc(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
