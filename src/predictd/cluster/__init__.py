"""Runs on other machines: a server submits jobs, Ray schedules them, and `predictd node` executes them.

Nothing here has access to the database or the storage: a node gets a job spec with URLs that are valid for one run.
"""
