"""What an export says of itself; it is written last, so that an export without it is not whole."""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from predictd.domain.errors import InvalidInputError
from predictd.domain.limits import MIB

FORMAT = 1
MANIFEST = "manifest.json"
OBJECTS = "objects.jsonl"
MOST_BYTES = 8 * MIB


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """One file of an export: its name there, its size in bytes and its SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """One table: its file holds a row a line, as JSON, in the order of the primary key."""

    name: str
    rows: int
    file: FileFacts


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The contents of an export.

    Attributes:
        schema: revision of the database's schema.
        predictd: version that made it.
        exported_at: when the tables were read, all at one moment.
        tables: in an order in which they can be filled.
        objects: the file that lists the objects, each as a line of JSON: key, size, sha256.
        object_count: how many objects there are.
        object_bytes: their size.
        missing: keys that rows name and storage had no object of.
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
        """The manifest as it is written."""
        facts = {"format": FORMAT, **asdict(self), "exported_at": self.exported_at.isoformat()}
        return json.dumps(facts, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Read a manifest; InvalidInputError when it is none that this version of predictd reads."""
        try:
            facts: dict[str, Any] = json.loads(text)
            form = facts.pop("format")
            if form != FORMAT:
                raise InvalidInputError(
                    f"The export has the form {form}, and this predictd reads form {FORMAT}; use the one that made it."
                )
            facts["exported_at"] = datetime.fromisoformat(facts["exported_at"])
            facts["tables"] = tuple(
                TableFacts(name=one["name"], rows=one["rows"], file=FileFacts(**one["file"])) for one in facts["tables"]
            )
            facts["objects"] = FileFacts(**facts["objects"])
            facts["missing"] = tuple(facts["missing"])
            return cls(**facts)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InvalidInputError(f"{MANIFEST} of the export is damaged; take another copy of the export.") from error
