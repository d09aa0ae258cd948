"""What the evaluator of trees raises."""

from __future__ import annotations


class TreesError(Exception):
    """The root of this package's errors."""


class UnsupportedModel(TreesError):
    """A model, or a way of asking it, that only its own library answers. Its text says what and why."""


class TablesError(TreesError):
    """Tables of trees that can't be used: damaged, of another format, or of another model. Its text says which."""


class NativeError(TreesError):
    """The compiled library is missing or does not load. Its text says why."""
