"""Objects by key behind presigned URLs: pickles, submissions, data files. In a folder, or in a bucket of S3.

Nothing here knows what an object means, and nothing reads one but its owner's run or download.
"""

from predictd.storage.atomic_upload import Draft, Receiver
from predictd.storage.factory import open_storage
from predictd.storage.folder import FolderStorage
from predictd.storage.protocol import Storage, StoredObject

__all__ = ["Draft", "FolderStorage", "Receiver", "Storage", "StoredObject", "open_storage"]
