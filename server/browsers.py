"""A person who opens the address of a document in a browser is led to the page that shows it.

A browser keeps the fragment on the way, so `/v1/documents/{id}#passage` opens at the passage. It
sends no credential by itself: who sends one gets the JSON it came for.
"""

import re

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from server.auth import CREDENTIAL_HEADERS
from server.middleware import route_path

DOCUMENT = re.compile(r"/v1(/documents/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")


class BrowserMiddleware:
    """Leads browsers without a credential from a document to the console, and nobody else.

    Whether there is such a document makes no difference: nothing is looked up.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Redirect, or pass the request on."""
        page = _page(scope) if scope["type"] == "http" else None
        if page is None:
            return await self.app(scope, receive, send)
        headers = {"Cache-Control": "no-store", "Vary": "Accept, Authorization, X-Api-Key"}
        return await RedirectResponse(page, 303, headers)(scope, receive, send)


def _page(scope: Scope) -> str | None:
    """The page of the console that shows what is asked for, if a person asks."""
    document = DOCUMENT.fullmatch(route_path(scope))
    if document is None or scope["method"] != "GET":
        return None
    if any(name.lower() in CREDENTIAL_HEADERS for name, _ in scope["headers"]):
        return None
    if "text/html" not in Headers(scope=scope).get("accept", ""):
        return None
    query: str = scope["query_string"].decode("latin-1")
    return f"/console{document[1]}" + (f"?{query}" if query else "")
