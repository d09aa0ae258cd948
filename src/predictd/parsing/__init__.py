"""Files that nobody vouches for, parsed in a process that can do nothing but read them.

Whatever parses uploaded bytes (parquet, CSV, tar, JSON) runs here: with limits of memory and time, without privileges,
without the network and the file system. Nothing here knows a format.
"""

from predictd.parsing.process import ParserLimits, parse_confined

__all__ = ["ParserLimits", "parse_confined"]
