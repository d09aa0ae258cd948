"""Everything of a deployment in one folder or tar file: every table and every object, with their hashes.

Knows tables by the metadata alone and objects by their keys, so that new ones need no word here.
"""

from predictd.backup.export import Exported, export_everything
from predictd.backup.restore import Imported, import_everything, refuse_unfinished_import

__all__ = ["Exported", "Imported", "export_everything", "import_everything", "refuse_unfinished_import"]
