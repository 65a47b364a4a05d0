import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from server.component_keys import ComponentKey, load_key, load_public_key, new_key, registry
from tenancy.component import ComponentId, Kind, parse_deployment
from tenancy.errors import Misconfigured

HERE = parse_deployment("agents.example")
SERVER, GRAPH = ComponentId(HERE, Kind.SERVER), ComponentId(HERE, Kind.GRAPH)
PRIVATE = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
PUBLIC = (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
NOT_OURS = [ec.generate_private_key(ec.SECP256R1()), ed448.Ed448PrivateKey.generate()]


def test_a_fixed_key_is_the_same_in_every_process() -> None:
    made = new_key(SERVER)
    loaded = load_key(SERVER, made.key.private_bytes(*PRIVATE))
    known = load_public_key(SERVER, made.key.public_key().public_bytes(*PUBLIC))
    assert made.key_id == loaded.key_id == known.key_id
    assert registry([known])[loaded.key_id].component == SERVER


@pytest.mark.parametrize("key", NOT_OURS, ids=["P-256", "Ed448"])
def test_a_key_of_another_kind_is_no_components(key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(Misconfigured):
        load_key(SERVER, key.private_bytes(*PRIVATE))
    with pytest.raises(Misconfigured):
        load_public_key(SERVER, key.public_key().public_bytes(*PUBLIC))


@pytest.mark.parametrize("text", [b"", b"-----BEGIN PRIVATE KEY-----", b"\xff"])
def test_what_is_no_key_is_told_without_its_text(text: bytes) -> None:
    for load in (load_key, load_public_key):
        with pytest.raises(Misconfigured, match="in PEM"):
            load(SERVER, text)


def test_two_components_never_share_a_key() -> None:
    mine = new_key(SERVER)
    with pytest.raises(Misconfigured):
        registry([mine.public, ComponentKey(GRAPH, mine.key, mine.key_id).public])
