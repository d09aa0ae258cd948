"""Health of the platform, and metrics of what waits and runs.

It reads the database and the machine, and changes nothing.
"""
