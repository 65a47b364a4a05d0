"""What the command line takes and refuses, before anything is reached."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from server.cli import main
from server.cli.terminal import duration, pairs, show
from tenancy.errors import Invalid

ISSUE = ["token", "issue", "--tenant", "acme", "--subject", "ann"]
KEY = ["key", "create", "--tenant", "acme", "--subject", "ann"]
ISSUER = ["issuer", "add", "https://idp.example"]


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1h", timedelta(hours=1)),
        ("7d", timedelta(days=7)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, length: timedelta) -> None:
    assert duration(text) == length


@pytest.mark.parametrize(
    "text", ["", "1", "h", "0h", "-1h", "1.5h", "1w", "1 h", "1h30m", "²h", "9999999d"]
)
def test_anything_else_is_no_duration(text: str) -> None:
    with pytest.raises(Invalid, match="The request"):
        duration(text)


def test_pairs_split_at_the_first_equals_sign() -> None:
    assert pairs(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize("argument", ["a", "=1", ""])
def test_what_is_no_pair_is_refused(argument: str) -> None:
    with pytest.raises(Invalid):
        pairs([argument])


def test_a_table_is_as_wide_as_it_must_be(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"a": 1, "b": None}, {"a": "long", "b": ["x"]}], as_json=False, columns=("a", "b"))
    assert capsys.readouterr().out.splitlines() == ["a     b", "1", 'long  ["x"]']


REFUSED = [
    ("No such command", ["sing"]),
    ("Missing argument", ["tenant", "create"]),
    ("Missing option '--tenant'", ["token", "issue", "--subject", "ann"]),
    ("Invalid value for '--role'", [*ISSUE, "--role", "boss"]),
    ("Invalid value for '--port'", ["up", "--port", "70000"]),
    ("Invalid value for 'KEY_ID'", ["key", "revoke", "abc"]),
    ("Invalid value for 'KEY_ID'", ["key", "rotate", "abc"]),
    ("--overlap must be like", ["key", "rotate", str(UUID(int=0)), "--overlap", "-1h"]),
    ("Invalid value for '--thread'", ["chat", "--tenant", "acme", "--thread", "abc", "hi"]),
    ("Invalid value for '--limit'", ["audit", "list", "--tenant", "acme", "--limit", "0"]),
    ("NAME must match", ["tenant", "create", "Acme Inc"]),
    ("--tenant must match", ["token", "issue", "--tenant", "Acme", "--subject", "ann"]),
    ("--ttl must be like", [*ISSUE, "--ttl", "soon"]),
    ("--ttl must be like", [*KEY, "--ttl", "0h"]),
    ("--scope everything is none of", [*ISSUE, "--scope", "everything"]),
    ("--role operator is no role inside a tenant", [*KEY, "--role", "operator"]),
    ("persona is not KEY=VALUE", ["tenant", "set", "acme", "persona"]),
    ("mood is no preference", ["tenant", "set", "acme", "mood=good"]),
    ("mood is no field of a plan", ["plan", "set", "tiny", "mood=good"]),
    ("weight must be 1 to 1000", ["plan", "set", "tiny", "weight=0"]),
    ("weight is not KEY=VALUE", ["tenant", "limit", "acme", "weight"]),
    ("mood is no field of a plan", ["tenant", "limit", "acme", "mood="]),
    ("weight must be a whole number", ["tenant", "limit", "acme", "weight=1.5"]),
    ("weight is no limit of a user", ["tenant", "limit", "acme", "weight=1", "--user", "ann"]),
    ("--user must be 1 to 256", ["tenant", "limit", "acme", "burst=1", "--user", ""]),
    ("input must be minor units", ["price", "set", "gpt", "input=-1", "output=1"]),
    ("output must be minor units", ["price", "set", "gpt", "input=1"]),
    ("currency is no part of a price", ["price", "set", "gpt", "currency=EUR"]),
    ("MODEL must be 1 to 128", ["price", "remove", ""]),
    ("--jwks or --jwks-url is needed", [*ISSUER, "--any-tenant"]),
    ("--tenant or --map or --any-tenant is needed", [*ISSUER, "--jwks", "keys.json"]),
    ("cannot be read as JSON", [*ISSUER, "--jwks", "no-such.json", "--any-tenant"]),
    ("must be like https://", [*ISSUER, "--jwks-url", "http://idp.example/jwks", "--any-tenant"]),
    ("org_1 is not of this form", [*ISSUER, "--jwks-url", "https://a.example/", "--map", "org_1"]),
    ("MESSAGE must be 1 to", ["chat", "--tenant", "acme", "  "]),
    ("MESSAGE must be 1 to", ["chat", "--tenant", "acme", "x" * 32_001]),
    ("MESSAGE must be UTF-8", ["chat", "--tenant", "acme", "caf\udce9"]),
    ("does not exist", ["ingest", "--tenant", "acme", "no-such-file.md"]),
]


@pytest.mark.parametrize(("said", "words"), REFUSED, ids=[said for said, _ in REFUSED])
def test_a_wrong_command_line_exits_with_2_and_a_readable_reason(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    said: str,
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(words)
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert said in " ".join(err.split())
    assert out == ""
    assert "Traceback" not in err


def test_an_operators_token_is_issued_in_development(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TENANTRY_ENV", raising=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main([*ISSUE, "--role", "operator", "--data-dir", str(tmp_path)])
    assert ended.value.code == 0
    assert capsys.readouterr().out.count(".") == 2
