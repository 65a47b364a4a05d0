"""A compact JWS read strictly: what two parsers might understand differently is refused."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from server.refusal import BadCredential

MAX_TOKEN_CHARACTERS = 8192  # what proxies let through in one header


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """A well-formed token of which nothing is proven yet."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes


def read_token(text: str) -> UnverifiedToken:
    """Read header and claims without trusting them; raises `BadCredential` for any other text."""
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise BadCredential("the token is too long")
    try:
        header, claims, signature = text.split(".")
        return UnverifiedToken(
            strict_json(decode_segment(header)),
            strict_json(decode_segment(claims)),
            signed=f"{header}.{claims}".encode(),
            signature=decode_segment(signature),
        )
    except (ValueError, RecursionError):
        raise BadCredential("the token is malformed") from None


def decode_segment(text: str) -> bytes:
    """Decode base64url in its one canonical spelling; raises `ValueError` for any other."""
    decoded = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    # The decoder skips what it does not know; the encoder knows one spelling.
    if encode_segment(decoded) != text:
        raise ValueError("not canonical base64url")
    return decoded


def encode_segment(data: bytes) -> str:
    """The canonical spelling of `data` in base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def strict_json(text: bytes) -> dict[str, Any]:
    """Parse a JSON object without duplicate members or non-finite numbers; raises `ValueError`."""
    value = json.loads(
        text.decode(), object_pairs_hook=_distinct_members, parse_constant=_refuse_constant
    )
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _distinct_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate JSON member")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
