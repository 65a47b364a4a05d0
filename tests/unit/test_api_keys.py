"""An API key is recognisable, unguessable and stored as its digest alone."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.api_keys import mint, parse


def test_a_minted_key_is_found_by_its_digest():
    key = mint()
    assert parse(key.text) == key.digest == hashlib.sha256(key.text.encode()).digest()
    assert key.key_id.hex in key.text


def test_a_key_has_a_shape_that_scanners_can_look_for():
    assert re.fullmatch(r"tnk_[0-9a-f]{32}_[0-9A-Za-z]{43}_[0-9a-f]{8}", mint().text)


def test_keys_differ():
    assert len({mint().text for _ in range(100)}) == 100


def test_a_typing_error_is_no_key():
    text = mint().text
    for position in range(len(text)):
        mistyped = text[:position] + ("x" if text[position] != "x" else "y") + text[position + 1 :]
        assert parse(mistyped) is None


@pytest.mark.parametrize(
    "change", [str.upper, lambda t: t + "\n", lambda t: " " + t, lambda t: t[:-1]]
)
def test_only_the_exact_text_is_a_key(change):
    assert parse(change(mint().text)) is None


@given(st.text())
def test_other_text_is_not_mine(text):
    assert parse(text) is None
    assert parse(f"tnk_{text}") is None
