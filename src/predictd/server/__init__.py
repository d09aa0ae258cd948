"""Putting the rooms together: the first start's set-up and the running server.

No rules of the product live here.
"""
