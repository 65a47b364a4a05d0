"""The keys of components: each has its own, and the registry says whose each public half is."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

from server.jws import encode_segment
from tenancy.component import ComponentId
from tenancy.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class PublicKey:
    """What others need to check a component's tokens. `key_id` is RFC 7638's thumbprint."""

    component: ComponentId
    key: Ed25519PublicKey

    @property
    def key_id(self) -> str:
        """The same wherever the key is read."""
        point = encode_segment(self.key.public_bytes_raw())
        members = orjson.dumps({"crv": "Ed25519", "kty": "OKP", "x": point})
        return encode_segment(hashlib.sha256(members).digest())


@dataclass(frozen=True, slots=True, repr=False)
class ComponentKey:
    """A component's private key: whoever has it speaks as that component."""

    component: ComponentId
    key: Ed25519PrivateKey
    key_id: str

    @property
    def public(self) -> PublicKey:
        """The half that others may have."""
        return PublicKey(self.component, self.key.public_key())


def new_key(component: ComponentId) -> ComponentKey:
    """A key that lives as long as its process."""
    return _owned(component, Ed25519PrivateKey.generate())


def load_key(component: ComponentId, pem: bytes) -> ComponentKey:
    """A fixed key (PKCS 8), for a component with a process of its own; raises `Misconfigured`."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise Misconfigured(f"the key of {component} must be an Ed25519 private key, in PEM")
    return _owned(component, key)


def load_public_key(component: ComponentId, pem: bytes) -> PublicKey:
    """The public half of another process's key; raises `Misconfigured`."""
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise Misconfigured(f"the key of {component} must be an Ed25519 public key, in PEM")
    return PublicKey(component, key)


def _owned(component: ComponentId, key: Ed25519PrivateKey) -> ComponentKey:
    return ComponentKey(component, key, PublicKey(component, key.public_key()).key_id)


def registry(keys: Iterable[PublicKey]) -> Mapping[str, PublicKey]:
    """The keys by their id; raises `Misconfigured` where two components share one."""
    known: dict[str, PublicKey] = {}
    for each in keys:
        if known.setdefault(each.key_id, each).component != each.component:
            raise Misconfigured(f"{each.component} has the key of another component")
    return known
