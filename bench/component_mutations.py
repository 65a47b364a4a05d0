"""Whether the attack tokens notice each of these ways to break the check of transaction tokens.

python -m bench.component_mutations
"""

from bench.verifier_mutations import Mutation, try_all

TESTS = (
    *("unit/test_component.py", "unit/test_components.py", "unit/test_component_keys.py"),
    *("unit/tools/test_edge.py", "isolation/test_component_tokens.py"),
)

TOKENS = (
    ("if not isinstance(token, str):", "if False:"),
    ("if proven.audience != at:", "if False:"),
    ("proven.issued_at - LEEWAY_SECONDS <= now", "True"),
    ("now < proven.expires_at + LEEWAY", "0 < LEEWAY"),
    ("LEEWAY_SECONDS = 5", "LEEWAY_SECONDS = 60"),
    ("principal.scopes & TENANT_SCOPES", "principal.scopes"),
    ("        token.require_whole()", "        pass"),
    ("if len(signed) > MAX_TOKEN_CHARACTERS:", "if False:"),
    ("if parsed.issuer != issuer:", "if False:"),
    ("        parsed.require_whole()", "        pass"),
    ("if dict(token.header) != {", "if False and {"),
    ('"typ": TYPE}:', '"typ": token.header["typ"]}:'),
    (" if isinstance(kid, str) else None", ""),
    ("if key is None:", "if False:"),
    ("if not ED25519.verify(", "if False and ("),
)
CLAIMS = (
    ("self.issuer.may_call(self.audience)", "True"),
    ("self.audience.tenant_id in (None, self.tenant_id)", "True"),
    ("0 < self.expires_at - self.issued_at", "self.expires_at - self.issued_at"),
    ("self.expires_at - self.issued_at <= LIFE_SECONDS", "self.expires_at - self.issued_at"),
    ("self.issuer.kind in STARTS", "True"),
    ("self.actors.components == (self.issuer,)", "True"),
    ("self._require_within(self.parent)", "pass"),
    ("parent.audience == self.issuer", "True"),
    ("parent.tenant_id == self.tenant_id", "True"),
    ("parent.subject_id == self.subject_id", "True"),
    ("parent.run_id == self.run_id", "True"),
    ("self.scopes <= parent.scopes", "True"),
    ("self.issued_at >= parent.issued_at", "True"),
    ("self.expires_at <= parent.expires_at", "True"),
    ("self.actors == parent.actors.then(self.issuer)", "True"),
    ('claims.keys() - {"par"} == NAMES', "True"),
    ('claims.keys() - {"par"} == NAMES', "claims.keys() >= NAMES"),
    ("except Invalid as error:", "except ZeroDivisionError as error:"),
    ("isinstance(text, str), ", "True, "),
    ("if text != _spelt(scopes):", "if False:"),
    (" or str(run_id) != text", ""),
    ("type(value) is not int or ", ""),
    ("type(value) is not int", "not isinstance(value, int)"),
    ("0 <= value < END_OF_DATES", "True"),
    ('act.keys() == {"sub", "act"}', '"act" in act'),
    ('or act.keys() != {"sub"}', 'or "sub" not in act'),
)
NAMES = (
    ("other.kind not in EDGES[self.kind] or", "False or"),
    (" or other.deployment != self.deployment", ""),
    ("self.tenant_id in (None, other.tenant_id)", "True"),
    ("isinstance(text, str) and 0 < len(text)", "0 < len(text)"),
    ("<= MAX_CREDENTIAL_CHARACTERS and", "< 10**9 and"),
    (" and text.isprintable()", ""),
    (" if NAME.match(tenant)", ""),
    ("not (whole if self.kind in OF_A_TENANT else plain)", "False"),
    (" and PART.match(self.name)", ""),
    ("isinstance(text, str) and DEPLOYMENT.match(text)", "isinstance(text, str)"),
)
KEYS = (
    ("if not isinstance(key, Ed25519PrivateKey):", "if key is None:"),
    ("if not isinstance(key, Ed25519PublicKey):", "if key is None:"),
    ("known.setdefault(each.key_id, each).component != each.component", "False"),
)
PROCESS = (
    ("if not scopes <= shown.scopes:", "if False:"),
    ("return self._clock() >= instant", "return instant == 0"),
    ("return self._clock() >= instant", "return True"),
)
GATE = (
    ("frozenset({Scope.TOOLS_USE, usable.spec.scope})", "frozenset({Scope.TOOLS_USE})"),
    ("frozenset({Scope.TOOLS_USE, usable.spec.scope})", "frozenset({usable.spec.scope})"),
    ("self._edge.verify(own, tenant_id", "self._edge.verify(token, tenant_id"),
    ("CONFIG_KEY: lambda: own,", "CONFIG_KEY: own,"),
    ("return replace(outcome, actors=actors)", "return outcome"),
)
PLACES = {
    "server/component_keys.py": KEYS,
    "server/components.py": PROCESS,
    "tools/gate.py": GATE,
    "server/transaction_tokens.py": TOKENS,
    "server/transaction_claims.py": CLAIMS,
    "tenancy/component.py": NAMES,
}
MUTATIONS = tuple(
    Mutation(file, old, new) for file, changes in PLACES.items() for old, new in changes
)

if __name__ == "__main__":
    try_all(MUTATIONS, TESTS)
