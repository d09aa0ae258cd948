"""The running server and the setup of a deployment.

No business rules here.
"""
