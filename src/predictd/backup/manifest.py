"""The manifest of an export; it is written last, so an export without it is incomplete."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from predictd.domain.errors import InvalidInputError
from predictd.domain.limits import MIB

FORMAT = 1
MANIFEST = "manifest.json"
OBJECTS = "objects.jsonl"
MAX_MANIFEST_BYTES = 8 * MIB


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """A file of an export: name, size in bytes, and SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """A table: its file has one row per line, as JSON, in the order of the primary key."""

    name: str
    rows: int
    file: FileFacts


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The contents of an export.

    Attributes:
        schema: revision of the database schema.
        predictd: version of predictd that created it.
        exported_at: moment at which the tables were read.
        tables: in an order in which they can be filled.
        objects: file that lists the objects, one line of JSON each: key, size, sha256.
        object_count: number of objects.
        object_bytes: total size of the objects.
        missing: keys that rows refer to and that storage does not have.
    """

    schema: str
    predictd: str
    exported_at: datetime
    tables: tuple[TableFacts, ...]
    objects: FileFacts
    object_count: int
    object_bytes: int
    missing: tuple[str, ...]

    def to_json(self) -> str:
        """Serialize the manifest."""
        facts = {"format": FORMAT, **asdict(self), "exported_at": self.exported_at.isoformat()}
        return json.dumps(facts, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parse a manifest. Raises InvalidInputError if it is invalid or has another format version."""
        try:
            facts: dict[str, Any] = json.loads(text)
            format_version = facts.pop("format")
            if format_version != FORMAT:
                raise InvalidInputError(
                    f"The export has format {format_version}, but this predictd reads format {FORMAT}. Use the version "
                    "that created it."
                )
            facts["exported_at"] = datetime.fromisoformat(facts["exported_at"])
            facts["tables"] = tuple(
                TableFacts(name=table["name"], rows=table["rows"], file=FileFacts(**table["file"]))
                for table in facts["tables"]
            )
            facts["objects"] = FileFacts(**facts["objects"])
            facts["missing"] = tuple(facts["missing"])
            return cls(**facts)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInputError(f"{MANIFEST} of the export is damaged. Use another copy of the export.") from error
