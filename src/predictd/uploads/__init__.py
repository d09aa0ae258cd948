"""Uploaded files and what becomes of them: registration, checks, runtime selection, assignment, submissions, quotas.

One service for each use case. GraphQL, pages, MCP tools and commands all call these.
"""
