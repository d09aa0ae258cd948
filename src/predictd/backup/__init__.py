"""Export a deployment to a folder or a tar file, and import it: all tables and objects, with their hashes.

Tables come from the metadata and objects from their keys, so new ones require no change here.
"""

from predictd.backup.export import ExportResult, export_deployment
from predictd.backup.restore import ImportResult, import_deployment, refuse_unfinished_import

__all__ = ["ExportResult", "ImportResult", "export_deployment", "import_deployment", "refuse_unfinished_import"]
