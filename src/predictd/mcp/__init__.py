"""Tools for agents (Model Context Protocol) over a GraphQL backend.

Over stdio the backend is a remote server, reached by `client`; on a server it is the server itself.
"""

from predictd.mcp.backend import Backend, Call, RemoteBackend
from predictd.mcp.local_files import LocalFiles
from predictd.mcp.server import build_server

__all__ = ["Backend", "Call", "LocalFiles", "RemoteBackend", "build_server"]
