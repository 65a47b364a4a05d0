"""Transaction tokens as an attacker would make them, who even holds some component's key."""

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from jwt.algorithms import get_default_algorithms

from server.component_keys import ComponentKey, new_key, registry
from server.transaction_tokens import TransactionTokens
from tenancy.component import ComponentId, Kind, parse_deployment
from tenancy.ids import RunId, SubjectId, TenantId
from tenancy.principal import MEMBER_SCOPES, Principal, Role, Scope

HERE, ELSEWHERE = parse_deployment("agents.example"), parse_deployment("agents.example.evil")
ACME, GLOBEX = TenantId("acme"), TenantId("globex")
NOW = 1_893_456_000
SEED = 8693

SERVER, GRAPH, WORKER = (ComponentId(HERE, kind) for kind in (Kind.SERVER, Kind.GRAPH, Kind.WORKER))
CRM, MAIL = (ComponentId(HERE, Kind.TOOL, ACME, name) for name in ("crm", "mail"))
FILES = ComponentId(HERE, Kind.MCP, ACME, "files")
THEIR_CRM, THEIR_FILES = (
    ComponentId(HERE, kind, GLOBEX, name)
    for kind, name in ((Kind.TOOL, "crm"), (Kind.MCP, "files"))
)
OUR = (SERVER, GRAPH, WORKER, CRM, MAIL, FILES, THEIR_CRM, THEIR_FILES)
FOREIGN = tuple(
    ComponentId(ELSEWHERE, each.kind, each.tenant_id, each.name) for each in (SERVER, GRAPH, CRM)
)

KEYS = {each: new_key(each) for each in (*OUR, *FOREIGN)}
KNOWN = registry(key.public for key in KEYS.values())
RUN, OTHER_RUN = RunId(UUID(int=7)), RunId(UUID(int=8))
ANN = Principal(ACME, SubjectId("ann"), Role.MEMBER, MEMBER_SCOPES, "issuer:https://id.acme/")
USE = frozenset({Scope.TOOLS_USE})
HEADER = {"alg": "EdDSA", "typ": "txntoken+jwt"}


def tokens(now: float = NOW) -> TransactionTokens:
    """A verifier of its own, as at `now`."""
    return TransactionTokens(KNOWN, clock=lambda: now)


@dataclass(frozen=True)
class Attack:
    """A text shown to the component `at`."""

    how: str
    token: Any
    at: ComponentId
    now: float = NOW


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: str | bytes, claims: str | bytes, key: Any) -> str:
    """The token of any two texts."""
    parts = [part.encode() if isinstance(part, str) else part for part in (header, claims)]
    text = f"{encode(parts[0])}.{encode(parts[1])}"
    return f"{text}.{encode(key.sign(text.encode()))}"


def forged(by: ComponentKey, claims: dict[str, Any], **header: Any) -> str:
    """What `by` signs, whatever it says."""
    head = {**HEADER, "kid": by.key_id, **header}
    return signed(json.dumps(head), json.dumps(claims), by.key)


def claims_of(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


@dataclass(frozen=True)
class Step:
    """A genuine token, its issuer and whom it is for."""

    by: ComponentId
    at: ComponentId
    token: str

    @property
    def key(self) -> ComponentKey:
        return KEYS[self.by]

    @property
    def claims(self) -> dict[str, Any]:
        return claims_of(self.token)

    def with_claims(self, **changed: Any) -> str:
        """The token with other claims, signed by its own issuer; None leaves one out."""
        said = {**self.claims, **changed}
        return forged(self.key, {name: value for name, value in said.items() if value is not LEFT})


LEFT = object()


def root(to: ComponentId = GRAPH, who: Principal = ANN, run: RunId = RUN, now: float = NOW) -> str:
    return tokens(now).mint(KEYS[SERVER], to, who, run)


def steps() -> list[Step]:
    """One genuine token over each edge."""
    first, mine = root(), tokens()
    tool = mine.delegate(KEYS[GRAPH], first, CRM, USE)
    return [
        Step(SERVER, GRAPH, first),
        Step(SERVER, WORKER, root(WORKER)),
        Step(GRAPH, CRM, tool),
        Step(GRAPH, FILES, mine.delegate(KEYS[GRAPH], first, FILES, USE)),
        Step(GRAPH, WORKER, mine.delegate(KEYS[GRAPH], first, WORKER, USE)),
        Step(CRM, FILES, mine.delegate(KEYS[CRM], tool, FILES, USE)),
    ]


STEPS = steps()
DELEGATED = [step for step in STEPS if step.by != SERVER]
PARENT = {GRAPH: STEPS[0], CRM: STEPS[2]}  # what each may pass on

NO_TEXT: list[Any] = [None, True, False, 0, 7, -1, 1.5, [], {}, [[]], "", {"a": 1}, 2**64]
COMPONENTS = [str(each) for each in (*OUR, *FOREIGN)]
NO_COMPONENT = [
    *NO_TEXT,
    *("server", "graph", "*", "spiffe://", "spiffe://agents.example", "spiffe://agents.example/"),
    *("SPIFFE://agents.example/graph", "spiffe://Agents.example/graph", "https://agents.example/"),
    *("spiffe://agents.example/graph/", "spiffe://agents.example//graph", "spiffe:///graph"),
    *("spiffe://agents.example/graph\n", "spiffe://agents.example/graph\0", " " + str(GRAPH)),
    *("spiffe://agents.example/tenant/acme/tool", "spiffe://agents.example/tenant/acme/tool/"),
    *("spiffe://agents.example/tenant/acme/graph", "spiffe://agents.example/tool/crm"),
    *("spiffe://agents.example/tenant/ACME/tool/crm", "spiffe://agents.example/tenant//tool/crm"),
    *("spiffe://agents.example/tenant/acme/tool/crm/x", str(CRM) + "?x", str(CRM) + "#x"),
    *("spiffe://agents.example/tenant/acme/tool/../mail", "spiffe://agents.example/./graph"),
    *(
        "spiffe://agents.example:443/graph",
        "spiffe://x@agents.example/graph",
        str(CRM)[:-1] + "%6d",
    ),
    *("spiffe://agents.example/tenant/acme/tool/" + "x" * 65, "spiffe://agents.example/grаph"),
]
NO_DATE = [
    None,
    True,
    False,
    "",
    str(NOW),
    [],
    {},
    [NOW],
    1.5,
    float(NOW),
    -1,
    2**63,
    1e300,
    10**30,
]
WRONG: dict[str, list[Any]] = {
    "iss": [*NO_COMPONENT, [str(SERVER)], *COMPONENTS],
    "aud": [*NO_COMPONENT, *COMPONENTS],
    "sub": [*NO_TEXT, ["ann"], "bob", "Ann", "ann ", "ann\0", "a" * 257, "\ud800", "\x1b[31m"],
    "tenant_id": [*NO_TEXT, ["acme"], "globex", "Acme", "acme ", "acme\0", "acme}x", "*", "acmé"],
    "scope": [
        *(each for each in NO_TEXT if each != ""),
        *("platform:*", "tools:use platform:*", "*", "tools:use ", " tools:use", "TOOLS:USE"),
        *("tools:use tools:use", "tools:use  chat", "tools:use,chat", ["tools:use"], "tools:use\n"),
        *("chat tools:use unknown", "tools:use chat", {"tools:use": True}, "tools:use\0"),
    ],
    "txn": [
        *NO_TEXT,
        str(RUN).upper() + "x",
        RUN.hex,
        f"{{{RUN}}}",
        f"urn:uuid:{RUN}",
        "7",
        [str(RUN)],
    ],
    "iat": [*NO_DATE, NOW + 6, NOW + 120, NOW - 1, NOW - 3600, 0],
    "exp": [*NO_DATE, NOW, NOW - 1, NOW + 121, NOW + 3600, 0, 253402300799, 253402300800],
    "act": [
        *NO_TEXT,
        *([{"sub": "x"}], {"sub": str(SERVER)}, {"sub": str(GRAPH)}, {"act": {"sub": "x"}}),
        *({"sub": str(CRM), "act": {"sub": "x"}}, {"sub": str(SERVER), "act": None}),
        *({"sub": str(SERVER), "act": []}, {"sub": str(SERVER), "act": {}}, {"sub": ["x"]}),
        *({"sub": str(SERVER), "act": {"sub": ""}}, {"sub": str(SERVER), "act": {"sub": 1}}),
        *(
            {"sub": str(SERVER), "act": {"sub": "x\0"}},
            {"sub": str(SERVER), "act": {"sub": "x" * 601}},
        ),
        {"sub": str(SERVER), "act": {"sub": "x", "iss": "y"}},
        {"sub": str(SERVER), "iss": "y", "act": {"sub": "x"}},
    ],
}
MORE_CLAIMS = [
    ("nbf", 0),
    ("jti", "1"),
    ("cnf", {}),
    ("role", "admin"),
    ("scopes", ["x"]),
    ("", ""),
]


# Who starts a transaction says on whose behalf.
THE_SERVERS_TO_SAY = {"sub": ("bob", "Ann", "ann "), "tenant_id": ("globex",), "scope": ("",)}


def legal(step: Step, claim: str, value: Any) -> bool:
    """Whether the issuer may say this: it is what it said, or nothing that is bound by a parent."""
    if step.by == SERVER and value in THE_SERVERS_TO_SAY.get(claim, ()):
        return True
    own = step.claims[claim]
    return bool(own == value and type(own) is type(value))


def wrongly_claimed() -> Iterator[Attack]:
    """Genuine signatures of the genuine issuer under what it may not say."""
    for step in STEPS:
        for claim, values in WRONG.items():
            for value in values:
                if not legal(step, claim, value):
                    yield Attack(f"{claim}={value!r}", step.with_claims(**{claim: value}), step.at)
            yield Attack(f"no {claim}", step.with_claims(**{claim: LEFT}), step.at)
        for claim, value in MORE_CLAIMS:
            yield Attack(f"more: {claim}", step.with_claims(**{claim: value}), step.at)


WRONG_HEADERS: dict[str, list[Any]] = {
    "alg": [
        "none",
        "None",
        "",
        "HS256",
        "ES256",
        "Ed25519",
        "Ed448",
        "eddsa",
        "EDDSA",
        None,
        1,
        [],
    ],
    "typ": ["JWT", "at+jwt", "", "TXNTOKEN+JWT", "application/txntoken+jwt", None, 1, [], {}],
    "kid": ["", "x", str(SERVER), "../key", None, True, 0, [], {}, ["x"], "k" * 4000, "\0"],
    "crit": [[], ["exp"], ["b64"]],
    "b64": [False, True],
    "jku": ["https://evil.example/keys"],
    "jwk": [{}, {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}],
    "x5u": ["https://evil.example/cert"],
    "x5c": [[], ["MIIB"]],
    "cty": ["JWT"],
    "zip": ["DEF"],
    "enc": ["A128GCM"],
    "iss": [str(SERVER)],
}


def wrongly_headed() -> Iterator[Attack]:
    """Genuine claims and signatures under another header."""
    for step in STEPS:
        for member, values in WRONG_HEADERS.items():
            for value in values:
                token = forged(step.key, step.claims, **{member: value})
                yield Attack(f"header {member}={value!r}", token, step.at)
        for member in ("alg", "typ", "kid"):
            head = {**HEADER, "kid": step.key.key_id}
            del head[member]
            token = signed(json.dumps(head), json.dumps(step.claims), step.key.key)
            yield Attack(f"header without {member}", token, step.at)


def replayed() -> Iterator[Attack]:
    """Genuine tokens, shown to whom they are not for, or when they are not for."""
    for step, other in product(STEPS, (*OUR, *FOREIGN)):
        if other != step.at:
            yield Attack("another's", step.token, other)
    for step in STEPS:
        for seconds in (-3600, -60, -6, 125, 126, 3600, 86400 * 365):
            yield Attack(f"{seconds} s later", step.token, step.at, NOW + seconds)


ALLOWED = {
    *((step.by, step.at) for step in STEPS),
    *((GRAPH, MAIL), (MAIL, FILES)),
    (FOREIGN[0], FOREIGN[1]),  # the server and the graph of another deployment
}


def over_no_edge() -> Iterator[Attack]:
    """Each component calls each one that it may not, with its own key and its best parent."""
    for by, to in product((*OUR, *FOREIGN), repeat=2):
        if (by, to) in ALLOWED:
            continue
        parents = [LEFT, *(step.token for step in STEPS if step.at == by)]
        for parent in parents or [LEFT]:
            claims = claims_of(root())
            before = claims["act"] if parent is LEFT else claims_of(str(parent))["act"]
            act = {"sub": str(by), "act": before if parent is not LEFT else {"sub": ANN.credential}}
            claims.update(iss=str(by), aud=str(to), scope="tools:use", act=act, par=parent)
            said = {name: value for name, value in claims.items() if value is not LEFT}
            yield Attack(f"{by.short} calls {to.short}", forged(KEYS[by], said), to)


def widened() -> Iterator[Attack]:
    """What a component with a key and a genuine parent might add for the next one."""
    narrow = Principal(ACME, ANN.subject_id, Role.MEMBER, USE, ANN.credential)
    short = root(now=NOW - 60)
    for to in (CRM, FILES, WORKER):
        base = claims_of(tokens().delegate(KEYS[GRAPH], root(), to, USE))
        for scope in (*Scope, "tools:use " + Scope.THREADS_ALL, " ".join(sorted(Scope))):
            if scope != Scope.TOOLS_USE:
                said = {**base, "scope": str(scope), "par": root(who=narrow)}
                yield Attack(f"scope {scope}", forged(KEYS[GRAPH], said), to)
        for seconds in (1, 5, 30, 60):
            said = {**base, "par": short, "exp": NOW + 60 + seconds}
            yield Attack("outlives its parent", forged(KEYS[GRAPH], said), to)
        for seconds in (61, 65, 3600):
            said = {**base, "par": short, "iat": NOW - seconds, "exp": NOW - seconds + 100}
            yield Attack("older than its parent", forged(KEYS[GRAPH], said), to)


def chained_otherwise() -> Iterator[Attack]:
    """The actor chain of each delegated token, rewritten in every way."""
    credential = {"sub": ANN.credential}
    for step in DELEGATED:
        genuine = step.claims["act"]
        for each in (*OUR, *FOREIGN):
            said = [
                {"sub": str(each), "act": credential},
                {"sub": str(each), "act": genuine},
                {"sub": str(each), "act": genuine["act"]["act"]},
            ]
            if each != step.by:
                said.append({"sub": str(each), "act": genuine["act"]})
            for act in (act for act in said if act != genuine):
                yield Attack(f"chain {act}", step.with_claims(act=act), step.at)
        for act in (
            credential,
            genuine["act"],
            {"sub": str(step.by), "act": {"sub": str(SERVER), "act": {"sub": "key:other"}}},
            {**genuine, "client_id": "x"},
            deep(genuine, 4),
            deep(genuine, 60),
        ):
            if act != genuine:
                yield Attack("chain", step.with_claims(act=act), step.at)


def deep(inner: Any, levels: int) -> Any:
    for _ in range(levels):
        inner = {"sub": str(GRAPH), "act": inner}
    return inner


def fathered_otherwise() -> Iterator[Attack]:
    """A parent that is missing, another's, no token, or not what it seems."""
    bob = Principal(ACME, SubjectId("bob"), Role.MEMBER, MEMBER_SCOPES, ANN.credential)
    gus = Principal(GLOBEX, ANN.subject_id, Role.MEMBER, MEMBER_SCOPES, ANN.credential)
    keyed = Principal(ACME, ANN.subject_id, Role.MEMBER, MEMBER_SCOPES, "key:1")
    strangers = {
        "another run's": root(run=OTHER_RUN),
        "another subject's": root(who=bob),
        "another tenant's": root(who=gus),
        "another credential's": root(who=keyed),
        "another component's": root(WORKER),
        "expired": root(now=NOW - 200),
        "not yet": root(now=NOW + 300),
        "of another type": forged(KEYS[SERVER], claims_of(root()), typ="JWT"),
        "of no key": forged(KEYS[SERVER], claims_of(root()), kid="x"),
        "signed by the graph": forged(KEYS[GRAPH], claims_of(root())),
        "signed as the server": forged(KEYS[GRAPH], claims_of(root()), kid=KEYS[SERVER].key_id),
        "unsigned": root().rpartition(".")[0] + ".",
        "of algorithm none": unsigned(claims_of(root())),
        "a delegated one": STEPS[2].token,
        "too long": root() + "A" * 9000,
    }
    for step in DELEGATED:
        for how, parent in strangers.items():
            if parent == step.claims["par"]:
                continue
            yield Attack(f"parent {how}", step.with_claims(par=parent), step.at)
        for parent in (*NO_TEXT, LEFT, "..", "a.b.c", [root()], step.token, "\ud800"):
            yield Attack(f"parent {parent!r:.40}", step.with_claims(par=parent), step.at)
    for step in STEPS[:2]:
        for parent in (*NO_TEXT, root(), root(WORKER), "a.b.c"):
            yield Attack("a root with a parent", step.with_claims(par=parent), step.at)


def unsigned(claims: dict[str, Any], alg: str = "none") -> str:
    head = {**HEADER, "kid": KEYS[SERVER].key_id, "alg": alg}
    return f"{encode(json.dumps(head).encode())}.{encode(json.dumps(claims).encode())}."


def signed_by_another() -> Iterator[Attack]:
    """The right words and a wrong key: another component's, a stranger's, another kind."""
    stranger = new_key(SERVER)
    for step in STEPS:
        for other in (*KEYS.values(), stranger):
            if other is not step.key:
                yield Attack("own kid", forged(other, step.claims), step.at)
                token = forged(other, step.claims, kid=step.key.key_id)
                yield Attack("the issuer's kid", token, step.at)
        for key in (ed448.Ed448PrivateKey.generate(), ed25519.Ed25519PrivateKey.generate()):
            head = json.dumps({**HEADER, "kid": step.key.key_id})
            yield Attack("another curve", signed(head, json.dumps(step.claims), key), step.at)
        elliptic = ec.generate_private_key(ec.SECP256R1())
        for alg, said in product(("ES256",), ("ES256", "EdDSA")):
            text = without_signature(step, alg=said)
            signature = get_default_algorithms()[alg].sign(text.encode(), elliptic)
            yield Attack(f"{alg} as {said}", f"{text}.{encode(signature)}", step.at)
        yield Attack("none", unsigned(step.claims), step.at)
        public = step.key.public.key.public_bytes_raw()
        for secret, alg in product((public, encode(public).encode(), b""), ("HS256", "EdDSA")):
            text = without_signature(step, alg=alg)
            digest = hmac.digest(secret, text.encode(), hashlib.sha256)
            yield Attack(f"HMAC as {alg}", f"{text}.{encode(digest)}", step.at)


def without_signature(step: Step, **header: Any) -> str:
    head = json.dumps({**HEADER, "kid": step.key.key_id, **header})
    return f"{encode(head.encode())}.{encode(json.dumps(step.claims).encode())}"


def spelt_otherwise() -> Iterator[Attack]:
    """Texts that one parser might read and another would read differently."""
    chance = random.Random(SEED)  # noqa: S311 - the same forgeries each time
    for step in STEPS:
        head, claims = json.dumps({**HEADER, "kid": step.key.key_id}), json.dumps(step.claims)
        for twice in ("tenant_id", "sub", "aud", "act", "scope", "exp", "iss", "txn"):
            for text in (
                claims[:-1] + f', "{twice}": {json.dumps(step.claims[twice])}}}',
                f'{{"{twice}": "x", ' + claims[1:],
            ):
                yield Attack(f"{twice} twice", signed(head, text, step.key.key), step.at)
        for text in (
            *(claims + "x", f"[{claims}]", "\ufeff" + claims, claims.replace("}", ",}"), "null"),
            *(claims.replace(str(NOW), "NaN"), claims.replace(str(NOW), "Infinity"), "", "{}"),
            *(claims.replace(str(NOW), "1e400"), claims.replace(str(NOW), "9" * 5000), '"x"'),
            *(claims[:-1] + ', "x": ' + "[" * 3000 + "]" * 3000 + "}", "[" * 6000),
        ):
            yield Attack("claims", signed(head, text, step.key.key), step.at)
        for data in (claims.encode("utf-16"), claims.encode() + b"\xff", b"\xff\xfe", b"\0" * 40):
            yield Attack("claims in bytes", signed(head, data, step.key.key), step.at)
        for text in (head[:-1] + ', "alg": "none"}', head[:-1] + ', "kid": "x"}', "[]", "", "1"):
            yield Attack("header", signed(text, claims, step.key.key), step.at)
        yield from tampered(step, chance)


def tampered(step: Step, chance: random.Random) -> Iterator[Attack]:
    token = step.token
    one, two, three = token.split(".")
    for text in (
        *(token + "=", token + "==", token + "\n", " " + token, token + ".", "." + token),
        *(f"{one}=.{two}.{three}", f"{one}.{two}=.{three}", f"{one}..{three}", f"{one}.{two}."),
        *(f"{two}.{one}.{three}", f"{one}.{two}", one, "", f"{one}.{two}.{three[:-2]}"),
        *(f"{one}.{two}.{three}AA", f"{one}\n.{two}.{three}", f"{one}.{two}.{encode(bytes(64))}"),
        *(token[:-1] + chr(ord(token[-1]) + 1), token.replace(".", "\u3002"), token + "\ud800"),
        *(token + "A" * 9000, "A" * 100_000, "." * 500, token.upper(), "Bearer " + token),
    ):
        yield Attack("text", text, step.at)
    for _ in range(40):
        at = chance.randrange(len(token))
        other = chance.choice([c for c in "ABCabc019-_.=" if c != token[at]])
        yield Attack("a character", token[:at] + other + token[at + 1 :], step.at)
    for nothing in (None, 0, True, b"", token.encode(), [token], {"token": token}, (token,)):
        yield Attack("no text", nothing, step.at)


END_OF_DATES = 253_402_300_800  # the year 10000


def at_the_ends_of_time() -> Iterator[Attack]:
    """Dates that are none, when nothing else is wrong with them."""
    for step in STEPS[:2]:
        for begins, ends, now in (
            *((True, 60, 10), (False, 60, 10), (-1, 60, 10), (-50, True, -10)),
            *((0, 60.0, 10), (0.0, 60, 10), (-2.5, 60, 10)),
            (END_OF_DATES - 60, END_OF_DATES, END_OF_DATES - 10),
        ):
            token = step.with_claims(iat=begins, exp=ends)
            yield Attack(f"from {begins} to {ends}", token, step.at, now)


FAMILIES = (
    at_the_ends_of_time,
    wrongly_claimed,
    wrongly_headed,
    replayed,
    over_no_edge,
    widened,
    chained_otherwise,
    fathered_otherwise,
    signed_by_another,
    spelt_otherwise,
)
