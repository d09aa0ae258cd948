"""The node side of the cluster: a daemon that fetches, executes and reports the runs that the scheduler sends.

Nothing in this package imports the database, the storage or the server side.
"""
