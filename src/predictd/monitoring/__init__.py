"""How the platform itself is: its health, and figures of what waits and runs.

It reads the database and the machine, and changes nothing.
"""
