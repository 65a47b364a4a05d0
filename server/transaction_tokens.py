"""Transaction tokens: minted by the server, narrowed from component to component, checked at each.

Names are those of draft-ietf-oauth-transaction-tokens and RFC 8693; `par` is the token that a
component was called with, so that whoever is called sees the whole way and can check each step.
"""

import time
from collections.abc import Callable, Mapping
from functools import lru_cache

import orjson
from jwt.algorithms import OKPAlgorithm

from server.component_keys import ComponentKey, PublicKey
from server.jws import MAX_TOKEN_CHARACTERS, UnverifiedToken, encode_segment, read_token
from server.refusal import BadCredential
from server.transaction_claims import (
    LIFE_SECONDS,
    TransactionToken,
    parse_transaction,
    plain_claims,
)
from tenancy.component import ActorChain, ComponentId
from tenancy.ids import RunId
from tenancy.principal import TENANT_SCOPES, Principal, Scope

ALGORITHM = "EdDSA"
TYPE = "txntoken+jwt"
LEEWAY_SECONDS = 5  # between the clocks of two machines
KEPT = 2048  # tokens proven once; a few kilobytes each

ED25519 = OKPAlgorithm()


class TransactionTokens:
    """Mints, delegates and verifies. Whatever is wrong with a token is a `BadCredential`."""

    def __init__(
        self, keys: Mapping[str, PublicKey], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = dict(keys)
        self._clock = clock
        # By the whole text, and only what does not change with time: dates are checked each time.
        self._proven = lru_cache(KEPT)(self._prove)

    def mint(self, by: ComponentKey, to: ComponentId, principal: Principal, run_id: RunId) -> str:
        """Start a transaction on behalf of a verified caller."""
        now = int(self._clock())
        return self._sign(
            by,
            TransactionToken(
                issuer=by.component,
                audience=to,
                tenant_id=principal.tenant_id,
                subject_id=principal.subject_id,
                scopes=principal.scopes & TENANT_SCOPES,
                run_id=run_id,
                issued_at=now,
                expires_at=now + LIFE_SECONDS,
                actors=ActorChain(principal.credential, (by.component,)),
            ),
        )

    def delegate(
        self, by: ComponentKey, token: str, to: ComponentId, scopes: frozenset[Scope]
    ) -> str:
        """Pass on what `by` was called with, to `to` alone: less scope, no longer life."""
        held = self.verify(token, by.component)
        now = int(self._clock())
        return self._sign(
            by,
            TransactionToken(
                issuer=by.component,
                audience=to,
                tenant_id=held.tenant_id,
                subject_id=held.subject_id,
                scopes=scopes,
                run_id=held.run_id,
                issued_at=max(now, held.issued_at),
                expires_at=min(now + LIFE_SECONDS, held.expires_at),
                actors=held.actors.then(by.component),
                parent=held,
                parent_text=token,
            ),
        )

    def verify(self, token: object, at: ComponentId) -> TransactionToken:
        """The token, as the component `at` may believe it."""
        if not isinstance(token, str):
            raise BadCredential("the token is no text")
        proven = self._proven(token)
        if proven.audience != at:
            raise BadCredential("the token is for another component")
        now = self._clock()
        # The chain needs no look: a token begins after its parent and ends before it.
        if not proven.issued_at - LEEWAY_SECONDS <= now < proven.expires_at + LEEWAY_SECONDS:
            raise BadCredential("the token has expired, or is not yet valid")
        return proven

    def _sign(self, by: ComponentKey, token: TransactionToken) -> str:
        token.require_whole()
        header = orjson.dumps({"alg": ALGORITHM, "kid": by.key_id, "typ": TYPE})
        text = f"{encode_segment(header)}.{encode_segment(orjson.dumps(plain_claims(token)))}"
        signed = f"{text}.{encode_segment(ED25519.sign(text.encode(), by.key))}"
        if len(signed) > MAX_TOKEN_CHARACTERS:
            raise BadCredential("the token is too long")
        return signed

    def _prove(self, text: str) -> TransactionToken:
        """Everything about a token and its chain that holds at any time."""
        token = read_token(text)
        issuer = self._signer(token)
        parsed = parse_transaction(token.claims, self._proven)
        if parsed.issuer != issuer:
            raise BadCredential("the token's key is another component's")
        parsed.require_whole()
        return parsed

    def _signer(self, token: UnverifiedToken) -> ComponentId:
        kid = token.header.get("kid")
        if dict(token.header) != {"alg": ALGORITHM, "kid": kid, "typ": TYPE}:
            raise BadCredential("the token's header is not a transaction token's")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise BadCredential("the token names no key of a component")
        if not ED25519.verify(token.signed, key.key, token.signature):
            raise BadCredential("the signature does not hold")
        return key.component
