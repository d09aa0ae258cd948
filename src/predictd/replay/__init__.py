"""Recorded runs executed again: to reproduce one, to test a runtime upgrade, or to compare a new pickle."""
