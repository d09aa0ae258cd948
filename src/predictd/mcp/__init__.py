"""The tools of the contract for agents (Model Context Protocol), whatever answers their GraphQL.

Over stdio that is a server reached by `client`; on the server it is the server itself. No rules live here.
"""

from predictd.mcp.backend import Backend, Call, RemoteBackend
from predictd.mcp.files import LocalFiles
from predictd.mcp.server import build_server

__all__ = ["Backend", "Call", "LocalFiles", "RemoteBackend", "build_server"]
