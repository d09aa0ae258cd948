"""Objects by key behind presigned URLs: pickles, submissions, data files.

Nothing here knows what an object means, and nothing reads one but its owner's run or download.
"""

from predictd.storage.folder import Draft, FolderStorage
from predictd.storage.protocol import Storage, StoredObject

__all__ = ["Draft", "FolderStorage", "Storage", "StoredObject"]
