"""The service: REST and web pages over the same functions as the command line, on one database."""

from indexing.server.app import create_app
from indexing.server.context import Context, Limits
from indexing.server.run import serve

__all__ = ["Context", "Limits", "create_app", "serve"]
