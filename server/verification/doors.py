"""How to knock on each door of the HTTP interface. A door that is not here is a finding."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from server.verification.rivals import Rival


@dataclass(frozen=True, slots=True)
class Door:
    """What to send. `ids` are the fields of the body that name a thing; those of the path are seen.

    `makes` says that who names what is not there makes it, for itself; `ends` that the thing named
    is gone afterwards. An operator's door is shut to both; `refused` is the status that is
    always answered to what is sent.
    """

    json: Mapping[str, Any] | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    upload: bool = False
    ids: tuple[str, ...] = ()
    makes: bool = False
    ends: bool = False
    operators: bool = False
    refused: int | None = None

    def request(self, rival: Rival, named: Mapping[str, str]) -> dict[str, Any]:
        """The request of `rival` for the things `named`."""
        request: dict[str, Any] = {"params": dict(self.params)}
        if self.upload:
            words = f"{rival.canary('document')} and {uuid4().hex}, of what both know"
            request["files"] = (f"{rival.canary('file name')}.txt", words.encode())
        elif self.json is not None:
            body = {name: _filled(value, rival) for name, value in self.json.items()}
            request["json"] = {**body, **{name: named[name] for name in self.ids if name in named}}
        return request


def _filled(value: Any, rival: Rival) -> Any:
    if isinstance(value, Mapping):
        return {name: _filled(each, rival) for name, each in value.items()}
    return rival.canary(value[1:]) if isinstance(value, str) and value.startswith("$") else value


CONTENT = {"content": {"persona": "$persona of a draft"}}
PROFILE = {"says": {"persona": "$persona", "instructions": "$instructions"}}
DOORS: Mapping[str, Door] = {
    "POST /v1/chat": Door({"message": "$message"}, ids=("thread_id",)),
    "GET /v1/runs/{run_id}": Door(),
    "POST /v1/threads": Door({"title": "$title"}, ids=("thread_id",), makes=True),
    "GET /v1/threads": Door(),
    "GET /v1/threads/{thread_id}": Door(),
    "PATCH /v1/threads/{thread_id}": Door({"title": "$title"}),
    "POST /v1/threads/{thread_id}/copy": Door({}),
    "POST /v1/threads/{thread_id}/fork": Door({}),
    "GET /v1/threads/{thread_id}/export": Door(),
    "DELETE /v1/threads/{thread_id}": Door(ends=True),
    "POST /v1/documents": Door(upload=True),
    "GET /v1/documents": Door(),
    "POST /v1/documents/fetch": Door({"url": "http://127.0.0.1/"}, refused=422),
    "GET /v1/documents/{document_id}": Door(),
    "GET /v1/documents/{document_id}/text": Door(),
    "GET /v1/documents/{document_id}/passages": Door(),
    "POST /v1/documents/{document_id}/retry": Door(),
    "DELETE /v1/documents/{document_id}": Door(ends=True),
    "POST /v1/search": Door({"query": "what both know"}),
    "GET /v1/corpora": Door(),
    "PUT /v1/corpora/{corpus_id}/subscription": Door(ends=True),
    "DELETE /v1/corpora/{corpus_id}/subscription": Door(ends=True),
    "POST /v1/memories": Door({"text": "$memory", "of": "tenant"}),
    "GET /v1/memories": Door(),
    "GET /v1/memories/export": Door(params={"of": "tenant"}),
    "PATCH /v1/memories/{memory_id}": Door({"text": "$changed memory"}),
    "DELETE /v1/memories/{memory_id}": Door(ends=True),
    "DELETE /v1/memories": Door(ends=True),
    "GET /v1/memory": Door(),
    "PUT /v1/memory": Door({"enabled": True}),
    "GET /v1/tools": Door(),
    "GET /v1/quota": Door(),
    "GET /v1/usage": Door(),
    "GET /v1/audit": Door(),
    "POST /v1/keys": Door({"subject": "$key"}),
    "GET /v1/keys": Door(),
    "POST /v1/keys/{key_id}/rotate": Door({}),
    "DELETE /v1/keys/{key_id}": Door(ends=True),
    "GET /v1/limits": Door(),
    "GET /v1/limits/users": Door(),
    "PUT /v1/limits/users/{subject}": Door({"limits": {"user_tokens_per_day": 9}}, makes=True),
    "DELETE /v1/limits/users/{subject}": Door(ends=True),
    "POST /v1/assistants": Door({"slug": "$slug", **CONTENT}),
    "GET /v1/assistants": Door(),
    "GET /v1/assistants/{assistant_id}": Door(),
    "PATCH /v1/assistants/{assistant_id}": Door(CONTENT),
    "PUT /v1/assistants/{assistant_id}/draft": Door(CONTENT),
    "POST /v1/assistants/{assistant_id}/publish": Door(),
    "POST /v1/assistants/{assistant_id}/rollback": Door({"version": 1}),
    "GET /v1/assistants/{assistant_id}/versions": Door(),
    "GET /v1/assistants/{assistant_id}/diff": Door(),
    "GET /v1/assistants/{assistant_id}/effective": Door(),
    "DELETE /v1/assistants/{assistant_id}": Door(ends=True),
    "GET /v1/profile": Door(),
    "PUT /v1/profile": Door(PROFILE),
    "GET /v1/preferences": Door(),
    "PUT /v1/preferences": Door({"says": {"instructions": "$wish"}}),
    "GET /v1/tenants": Door(operators=True),
    "GET /v1/tenants/{tenant_id}": Door(operators=True),
    "POST /v1/tenants/{tenant_id}/suspend": Door(operators=True),
    "POST /v1/tenants/{tenant_id}/resume": Door(operators=True),
    "GET /v1/tenants/{tenant_id}/limits": Door(operators=True),
    "PUT /v1/tenants/{tenant_id}/limits": Door({"limits": {}}, operators=True),
    "GET /v1/plans": Door(operators=True),
    "PUT /v1/plans/{plan_id}": Door({"limits": {}}, operators=True),
    "GET /v1/prices": Door(operators=True),
    "PUT /v1/prices": Door({"model": "verify", "input": 1, "output": 1}, operators=True),
    "DELETE /v1/prices": Door(params={"model": "verify"}, operators=True),
    "GET /v1/universal/profiles": Door(operators=True),
    "PUT /v1/universal/profiles": Door({"says": {}}, operators=True),
    "GET /v1/universal/assistants": Door(operators=True),
    "PUT /v1/universal/assistants/{slug}": Door(CONTENT, operators=True),
    "DELETE /v1/universal/assistants/{slug}": Door(operators=True),
    "GET /v1/issuers": Door(operators=True),
    "POST /v1/issuers": Door({"url": "https://verify.invalid/"}, operators=True),
    "DELETE /v1/issuers": Door(params={"url": "https://verify.invalid/"}, operators=True),
    "GET /v1/revocations": Door(params={"tenant": "verify"}, operators=True),
    "POST /v1/revocations": Door({"tenant": "verify", "everyone": True}, operators=True),
    "GET /v1/noisiest": Door(operators=True),
}
