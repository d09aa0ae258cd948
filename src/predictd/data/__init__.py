"""Data versions: folders of the files that Numerai publishes, synthetic or imported, and the live files of each round.

No database and no decision of when a round opens: callers say which folder and which round.
"""

from predictd.data.files import list_files, read_ids, resolve, row_count
from predictd.data.importing import ImportedVersion, import_version
from predictd.data.live import publish_live
from predictd.data.sizes import PLANS, SyntheticPlan, plan_named
from predictd.data.synthetic import generate

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
