"""Storage on URIs: whole objects below one root, in S3, other object stores, or a folder treated as one."""

from neglora.storage.cache import CACHE, cache_folder
from neglora.storage.errors import StorageError, Transient
from neglora.storage.objects import ObjectStorage, is_name
from neglora.storage.uri import is_uri, shown

__all__ = ["CACHE", "ObjectStorage", "StorageError", "Transient", "cache_folder", "is_name", "is_uri", "shown"]
