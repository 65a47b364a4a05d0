"""What `langgraph dev` loads. It runs this file once for each name, so nothing may live here."""

from server.studio_auth import auth
from server.studio_house import app, graph, store

__all__ = ["app", "auth", "graph", "store"]
