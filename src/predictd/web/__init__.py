"""The web pages: Starlette handlers, templates, a style sheet, and small scripts.

Rules of the product do not belong here: pages call the same services as the API.
"""

from predictd.web.routes import web_routes

__all__ = ["web_routes"]
