"""Data versions: folders of the files that Numerai publishes, synthetic or imported, and the live files of each round.

This package has no database and does not decide when a round opens: callers pass the folder and the round.
"""

from predictd.data.files import list_files, read_ids, resolve, row_count
from predictd.data.live_files import publish_live
from predictd.data.sizes import PLANS, SyntheticPlan, plan_named
from predictd.data.synthetic import generate
from predictd.data.version_import import ImportedVersion, import_version

__all__ = [
    "PLANS",
    "ImportedVersion",
    "SyntheticPlan",
    "generate",
    "import_version",
    "list_files",
    "plan_named",
    "publish_live",
    "read_ids",
    "resolve",
    "row_count",
]
