"""Every request that carries an id, by the places where the OpenAPI document shows one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]
Place = tuple[str, str, str, str]  # method, path, where in the request, name

# parameters that name no thing
PLAIN = {"limit", "from", "to", "before", "query", "shared", "format", "wait", "prefer", "of"}


@dataclass(frozen=True, slots=True)
class Probe:
    """A request that carries an id: where, and of what kind of thing."""

    method: str
    path: str
    where: str
    name: str
    thing: str
    body: Json = field(default_factory=dict)
    list_in: str = ""  # the field of the body in whose list of ids this one is

    def __str__(self) -> str:
        kind = "".join(f" {name}" for name in ("stream", "resume") if name in self.body)
        return f"{self.method} {self.path} {self.where} {self.name}{kind}"

    @property
    def place(self) -> Place:
        """Where the OpenAPI document shows the id."""
        return self.method, self.path, self.where, self.name

    def request(self, id_: str) -> Json:
        """The request for the thing with this id."""
        sent: Json = {"method": self.method, "url": self.path}
        if self.method in {"POST", "PUT", "PATCH"}:
            sent["json"] = self.body
        if self.where == "path":
            sent["url"] = self.path.format(**{self.name: id_})
        elif self.where == "query":
            url = self.path.format(assistant_id="default", document_id=NO_DOCUMENT)
            sent |= {"url": url, "params": {self.name: id_}}
        elif self.where == "header":
            sent["headers"] = {self.name: id_}
        elif self.list_in:
            sent["json"] = {**self.body, self.list_in: {self.name: [id_]}}
        else:
            sent["json"] = {**self.body, self.name: id_}
        return sent


NO_DOCUMENT = "00000000-0000-4000-8000-000000000000"
OF_CORPUS = "/v1/corpora/{corpus_id}/subscription"
OF_DOCUMENT = "/v1/documents/{document_id}"
OF_USER = "/v1/limits/users/{subject}"
OF_THREAD = "/v1/threads/{thread_id}"
OF_ASSISTANT = "/v1/assistants/{assistant_id}"
TONE = {"content": {"tone": "dry"}}
OF_MEMORY = "/v1/memories/{memory_id}"
HI = {"message": "Hi"}
RESUME = {"resume": {"decisions": [{"type": "approve"}]}}
PROBES = [
    Probe("POST", "/v1/chat", "body", "thread_id", "thread", HI),
    Probe("POST", "/v1/chat", "body", "thread_id", "thread", {**HI, "stream": True}),
    Probe("POST", "/v1/chat", "body", "thread_id", "thread", RESUME),
    Probe("POST", "/v1/chat", "body", "assistant", "assistant", HI),
    Probe("POST", "/v1/chat", "header", "Idempotency-Key", "idempotency_key", HI),
    Probe("GET", "/v1/runs/{run_id}", "path", "run_id", "run"),
    Probe("GET", "/v1/threads", "query", "cursor", "cursor"),
    Probe("GET", OF_THREAD, "path", "thread_id", "thread"),
    Probe("PATCH", OF_THREAD, "path", "thread_id", "thread", {"title": "Mine"}),
    Probe("POST", f"{OF_THREAD}/copy", "path", "thread_id", "thread"),
    Probe("POST", f"{OF_THREAD}/fork", "path", "thread_id", "thread"),
    Probe("GET", f"{OF_THREAD}/export", "path", "thread_id", "thread"),
    Probe("DELETE", OF_THREAD, "path", "thread_id", "thread"),
    Probe("GET", "/v1/documents", "query", "cursor", "cursor"),
    Probe("GET", "/v1/documents/{document_id}", "path", "document_id", "document"),
    Probe("GET", "/v1/documents/{document_id}/text", "path", "document_id", "document"),
    Probe("GET", "/v1/documents/{document_id}/passages", "path", "document_id", "document"),
    Probe("GET", "/v1/documents/{document_id}/passages", "query", "cursor", "cursor"),
    Probe("POST", "/v1/documents/{document_id}/retry", "path", "document_id", "document"),
    Probe("DELETE", "/v1/documents/{document_id}", "path", "document_id", "document"),
    Probe("POST", "/v1/search", "body", "document_ids", "document", {"query": "x"}, "filter"),
    # a tenant is no corpus: as if there were none of its name
    Probe("GET", "/v1/documents", "query", "corpus", "tenant"),
    Probe("GET", OF_DOCUMENT, "query", "corpus", "tenant"),
    Probe("GET", f"{OF_DOCUMENT}/text", "query", "corpus", "tenant"),
    Probe("GET", f"{OF_DOCUMENT}/passages", "query", "corpus", "tenant"),
    Probe("PUT", OF_CORPUS, "path", "corpus_id", "tenant"),
    Probe("DELETE", OF_CORPUS, "path", "corpus_id", "tenant"),
    Probe("GET", "/v1/memories", "query", "cursor", "cursor"),
    Probe("PATCH", OF_MEMORY, "path", "memory_id", "memory", {"text": "Mine"}),
    Probe("DELETE", OF_MEMORY, "path", "memory_id", "memory"),
    Probe("GET", "/v1/limits/users", "query", "cursor", "subject"),
    Probe("PUT", OF_USER, "path", "subject", "subject", {"limits": {"user_burst": None}}),
    Probe("DELETE", OF_USER, "path", "subject", "subject"),
    Probe("GET", "/v1/assistants", "query", "cursor", "cursor"),
    Probe("GET", OF_ASSISTANT, "path", "assistant_id", "assistant"),
    Probe("PATCH", OF_ASSISTANT, "path", "assistant_id", "assistant", TONE),
    Probe("PUT", f"{OF_ASSISTANT}/draft", "path", "assistant_id", "assistant", TONE),
    Probe("POST", f"{OF_ASSISTANT}/publish", "path", "assistant_id", "assistant"),
    Probe("POST", f"{OF_ASSISTANT}/rollback", "path", "assistant_id", "assistant", {"version": 1}),
    Probe("GET", f"{OF_ASSISTANT}/versions", "path", "assistant_id", "assistant"),
    Probe("GET", f"{OF_ASSISTANT}/diff", "path", "assistant_id", "assistant"),
    Probe("GET", f"{OF_ASSISTANT}/effective", "path", "assistant_id", "assistant"),
    Probe("GET", f"{OF_ASSISTANT}/effective", "query", "user", "subject"),
    Probe("DELETE", OF_ASSISTANT, "path", "assistant_id", "assistant"),
    Probe("GET", "/v1/audit", "query", "cursor", "cursor"),
    Probe("GET", "/v1/keys", "query", "cursor", "cursor"),
    Probe("POST", "/v1/keys/{key_id}/rotate", "path", "key_id", "key"),
    Probe("DELETE", "/v1/keys/{key_id}", "path", "key_id", "key"),
    # the last, for it succeeds: from then on the asker has a thread of that id
    Probe("POST", "/v1/threads", "body", "thread_id", "thread"),
]
MISSING = [  # those that are a 404
    probe
    for probe in PROBES
    if (probe.where == "path" and (probe.method, probe.path) != ("PUT", OF_USER))
    or (probe.where == "query" and (probe.name == "corpus" or OF_DOCUMENT in probe.path))
    or (probe.path == "/v1/chat" and probe.where == "body")
]


def places(document: Mapping[str, Any]) -> set[Place]:
    """Every place of the OpenAPI document in which a client names a thing."""
    found: set[Place] = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation.get("tags") == ["operator"]:  # shut to every tenant: test_doors.py
                continue
            for parameter in operation.get("parameters", []):
                if parameter["name"] not in PLAIN:
                    found.add((method.upper(), path, parameter["in"], parameter["name"]))
            for content in operation.get("requestBody", {}).get("content", {}).values():
                found |= {
                    (method.upper(), path, "body", name)
                    for name in _ids_in(document, content["schema"])
                }
    return found


def _ids_in(document: Mapping[str, Any], schema: Any, name: str = "") -> set[str]:
    """The names of the fields of a schema that hold an id, however deep."""
    if isinstance(schema, list):
        return set().union(*(_ids_in(document, each, name) for each in schema))
    if not isinstance(schema, Mapping):
        return set()
    if target := schema.get("$ref"):
        return _ids_in(document, document["components"]["schemas"][target.split("/")[-1]], name)
    is_id = schema.get("format") == "uuid" or name.endswith("_id") or name == "assistant"
    found = {name} if is_id else set()
    for property_, inner in schema.get("properties", {}).items():
        found |= _ids_in(document, inner, property_)
    for word in ("anyOf", "allOf", "oneOf", "items"):
        found |= _ids_in(document, schema.get(word, []), name)
    return found
