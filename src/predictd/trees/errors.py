"""The errors of the tree evaluator."""

from __future__ import annotations


class TreesError(Exception):
    """Base class of this package's errors."""


class UnsupportedModelError(TreesError):
    """A model, or a kind of prediction, that only its own library supports."""


class TablesError(TreesError):
    """Unusable tree tables: damaged, in another format, or of another model."""


class NativeError(TreesError):
    """The compiled library is missing or does not load."""
