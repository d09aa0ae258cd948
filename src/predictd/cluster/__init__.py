"""Runs on other machines: what a server orders, Ray places and `predictd node` carries out.

Nothing here knows the database or the storage: a node gets one order at a time, with URLs that are good for that run.
"""
