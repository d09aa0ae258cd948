"""The objects of the product: states and their allowed transitions, failures, errors.

Imported by every other package and imports none of them: no database, no files, no clock.
"""
