"""Rounds: the calendar, opening and closing, scoring.

Only this package decides when a round opens, closes or is scored.
"""
