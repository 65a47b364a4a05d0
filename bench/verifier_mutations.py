"""Whether a test notices each of these ways to break the verifier of credentials.

    python -m bench.verifier_mutations

One change at a time in a copy of the source; a change that the tests let pass survives.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HOUSE = Path(__file__).parent.parent
FOLDERS = ("tenancy", "server", "storage", "tools", "knowledge", "graph", "tests")
TESTS = tuple(
    f"unit/test_{name}.py" for name in ("tokens", "token_rules", "revocation", "api_keys")
)


@dataclass(frozen=True, slots=True)
class Mutation:
    """In `file`, the only `old` becomes `new`."""

    file: str
    old: str
    new: str


MUTATIONS = (
    # the text
    Mutation("server/jws.py", "if len(text) > MAX_TOKEN_CHARACTERS:", "if False:"),
    Mutation("server/jws.py", "if encode_segment(decoded) != text:", "if False:"),
    Mutation("server/jws.py", "if len(members) != len(pairs):", "if False:"),
    Mutation("server/jws.py", "parse_constant=_refuse_constant", "parse_constant=float"),
    Mutation("server/jws.py", "(ValueError, RecursionError)", "ValueError"),
    Mutation("server/jws.py", "if not isinstance(value, dict):", "if False:"),
    Mutation("server/jws.py", 'f"{header}.{claims}".encode()', 'f"{claims}.{header}".encode()'),
    # the header
    Mutation("server/tokens.py", "if header.keys() - HEADER_MEMBERS:", "if False:"),
    Mutation("server/tokens.py", '"x5t", "x5t#S256"}', '"x5t", "x5t#S256", "crit"}'),
    Mutation("server/tokens.py", '"x5t", "x5t#S256"}', '"x5t", "x5t#S256", "jwk"}'),
    Mutation("server/tokens.py", '"x5t", "x5t#S256"}', '"x5t", "x5t#S256", "jku"}'),
    Mutation("server/tokens.py", "typ.lower() not in issuer.rules.types", "False"),
    Mutation("server/tokens.py", "not isinstance(typ, str) or ", ""),
    Mutation("server/tokens.py", '"kid" not in header and len(keys) == 1', '"kid" not in header'),
    Mutation("server/tokens.py", "not isinstance(kid, str) or kid not in keys", "kid not in keys"),
    Mutation("server/tokens.py", "len(issuer) > MAX_ISSUER_CHARACTERS", "False"),
    Mutation("server/tokens.py", "return issuer.isprintable()", "return True or issuer"),
    # the signature
    Mutation("server/tokens.py", 'if token.header.get("alg") != alg:', "if False:"),
    Mutation("server/tokens.py", "if not key.Algorithm.verify(", "if False and ("),
    Mutation("server/tokens.py", "_require_signature(token, *", "print(token, *"),
    # the claims
    Mutation("server/claims.py", 'claims.get("iss") == issuer.url', "True"),
    Mutation("server/claims.py", "    _require_audience(claims, issuer)", "    pass"),
    Mutation("server/claims.py", "not accepted.isdisjoint(named)", "True"),
    Mutation("server/claims.py", "    _require_current(claims, now.timestamp())", "    pass"),
    Mutation("server/claims.py", 'now - leeway < _date(claims, "exp")', "True"),
    Mutation("server/claims.py", 'now - leeway < ', 'now < '),
    Mutation("server/claims.py", "timedelta(seconds=30)", "timedelta(seconds=3600)"),
    Mutation("server/claims.py", '_date(claims, "nbf") <= now + leeway', "True"),
    Mutation("server/claims.py", '_date(claims, "iat") <= now + leeway', "True"),
    Mutation("server/claims.py", "isinstance(value, bool) or ", ""),
    Mutation("server/claims.py", "0 <= value <= END_OF_DATES", "True"),
    Mutation("server/claims.py", "    _require_values(claims, issuer.rules.required)", "    pass"),
    Mutation("server/claims.py", "issuer.may_speak_for(parsed.tenant_id)", "True"),
    Mutation("server/claims.py", "issuer.platform or not operator", "True"),
    Mutation("server/claims.py", "if not isinstance(token_id, str):", "if False:"),
    Mutation("server/claims.py", "or value not in rules.tenants", ""),
    Mutation("server/claims.py", "return rules.tenants[value]", "return TenantId(value)"),
    Mutation("server/claims.py", "widest(each for each in known", "widest(each for each in Role"),
    Mutation("server/auth.py", "frozenset() if role is Role.OPERATOR else granted", "granted"),
    Mutation("server/auth.py", "whole if words is None else whole & named", "whole"),
    Mutation("server/claims.py", "frozenset.intersection(*named)", "frozenset.union(*named)"),
    Mutation("server/claims.py", 'raise BadCredential("the role', 'return Role.ADMIN  # ("the'),
    # the keys
    Mutation("server/jwks.py", "alg not in algorithms:", "False:"),
    Mutation("server/jwks.py", "if symmetric_allowed else {}", ""),
    Mutation("server/jwks.py", "if not algorithms or alg in algorithms}", "}"),
    Mutation("server/jwks.py", '_require(jwk.get("kty") == kty', "_require(True"),
    Mutation("server/jwks.py", "not curves or jwk.get(\"crv\") in curves, f", "True, f"),
    Mutation("server/jwks.py", "key.key.key_size in RSA_BITS", "True"),
    Mutation("server/jwks.py", "exponent >= MIN_RSA_EXPONENT", "True"),
    Mutation("server/jwks.py", "len(key.key) >= HMAC_BYTES", "True"),
    Mutation("server/jwks.py", "not PRIVATE_MEMBERS & jwk.keys()", "True"),
    Mutation("server/jwks.py", '_require(kid not in vetted, "has', '_require(True, "has'),
    Mutation("server/jwks.py", "len(keys) > MAX_KEYS", "False"),
    Mutation("server/key_sets.py", "=issuer.development", "=True"),
    Mutation("server/key_sets.py", "if record is not issuer:", "if record is None:"),
)  # fmt: skip


def passes(house: Path, tests: Iterable[str]) -> bool:
    """Whether the tests pass on the source in `house`."""
    paths = [f"tests/{name}" for name in tests]
    command = (sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", *paths)
    return subprocess.run(command, cwd=house, capture_output=True, check=False).returncode == 0


@contextmanager
def mutated(house: Path, mutation: Mutation) -> Iterator[None]:
    """`house` with the change in it; raises `LookupError` where there is no one place for it."""
    file = house / mutation.file
    whole = file.read_text(encoding="utf-8")
    if whole.count(mutation.old) != 1:
        raise LookupError(
            f"{mutation.file}: {mutation.old!r} is there {whole.count(mutation.old)}×"
        )
    file.write_text(whole.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(whole, encoding="utf-8")


def copied(to: Path) -> Path:
    """The source, in a folder of its own."""
    for folder in FOLDERS:
        shutil.copytree(HOUSE / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(HOUSE / "pyproject.toml", to)
    return to


def try_all(mutations: Sequence[Mutation], tests: Iterable[str]) -> None:
    """Print what survived; exit with 1 when something did."""
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        house = copied(Path(folder))
        if not passes(house, tests):
            raise SystemExit("the tests fail before anything is changed")
        for mutation in mutations:
            with mutated(house, mutation):
                if passes(house, tests):
                    survived += 1
                    print(f"survived: {mutation.file}: {mutation.old} → {mutation.new}")
    print(f"{len(mutations) - survived} of {len(mutations)} mutations caught")
    raise SystemExit(bool(survived))


if __name__ == "__main__":
    try_all(MUTATIONS, TESTS)
