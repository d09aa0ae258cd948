"""The node side of the cluster: a daemon that executes jobs and reports their progress.

Nothing in this package imports the database, the storage or the server.
"""
