"""Parse untrusted files in a process that can only read them.

All parsers of uploaded bytes (parquet, CSV, tar, JSON) run here: with limits on memory and time, without privileges,
network and file system. Nothing here depends on a format.
"""

from predictd.parsing.process import ParserLimits, parse_confined

__all__ = ["ParserLimits", "parse_confined"]
