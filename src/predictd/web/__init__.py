"""The pages that people open: Starlette handlers, templates, one style sheet and small scripts.

They read the database and change it by the functions that the resolvers use. No rule of the product lives here.
"""

from predictd.web.routes import web_routes

__all__ = ["web_routes"]
