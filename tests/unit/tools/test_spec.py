from datetime import timedelta
from typing import Any

import pytest

from tenancy.errors import Invalid, Misconfigured
from tenancy.principal import Scope
from tenancy.tenant import ToolSetting
from tests.unit.tools.makers import named, on
from tools.spec import ToolSpec, spec_of


def spec(**metadata: Any) -> ToolSpec:
    return spec_of(named("lookup", **metadata), built_in=False, source="orders 1")


def test_a_tool_without_metadata_gets_the_defaults() -> None:
    plain = spec()
    assert (plain.scope, plain.requires_approval) == (Scope.TOOLS_USE, False)
    assert (plain.timeout, plain.settings) == (timedelta(seconds=30), {})


def test_metadata_is_read() -> None:
    said = spec(
        scope="documents:read", requires_approval=True, timeout_seconds=2.5, settings={"url": "x"}
    )
    assert (said.scope, said.requires_approval) == (Scope.DOCUMENTS_READ, True)
    assert (said.timeout, said.settings) == (timedelta(seconds=2.5), {"url": "x"})


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"require_approval": True}, "'require_approval' is unknown"),
        ({"scope": "everything"}, "scope"),
        ({"scope": "platform:*"}, "a scope a tenant can hold"),
        ({"scope": None}, "scope"),
        ({"requires_approval": "no"}, "True or False"),
        ({"timeout_seconds": 0}, "above 0"),
        ({"timeout_seconds": float("nan")}, "above 0"),
        ({"timeout_seconds": float("inf")}, "at most 600"),
        ({"timeout_seconds": True}, "a number"),
        ({"timeout_seconds": "30"}, "a number"),
        ({"settings": ["url"]}, "map each key"),
        ({"settings": {"url": 1}}, "'url' does not"),
        ({"settings": {"The URL": "x"}}, "'The URL' does not"),
        ({"settings": {"require_approval": "x"}}, "every tool has it"),
    ],
)
def test_wrong_metadata_is_refused_with_a_reason(metadata: dict[str, Any], words: str) -> None:
    with pytest.raises(Misconfigured, match="tool 'lookup'") as refusal:
        spec(**metadata)
    assert words in refusal.value.detail


@pytest.mark.parametrize("name", ["a b", "a.b", "", "x" * 65, "näme", "a\n"])
def test_a_name_a_model_endpoint_would_refuse_is_refused(name: str) -> None:
    tool = named("lookup")
    tool.name = name
    with pytest.raises(Misconfigured, match="a name must match"):
        spec_of(tool, built_in=False, source="orders 1")


def test_a_tool_says_what_it_is_for() -> None:
    with pytest.raises(Misconfigured, match="description is empty"):
        spec_of(named("lookup", description=" "), built_in=False, source="orders 1")


@pytest.mark.parametrize("said", ["true", "TRUE", "yes", "1", "certainly"])
def test_a_tenant_may_require_approval_of_any_tool(said: str) -> None:
    assert spec().needs_approval(on(require_approval=said))


@pytest.mark.parametrize("said", ["false", "No", "0", ""])
def test_a_tenant_may_say_that_it_requires_none(said: str) -> None:
    assert not spec().needs_approval(on(require_approval=said))


def test_a_tenant_cannot_waive_the_approval_a_tool_requires() -> None:
    assert spec(requires_approval=True).needs_approval(on(require_approval="false"))
    assert not spec().needs_approval(ToolSetting())


def test_settings_are_parsed_once() -> None:
    known = spec(settings={"url": "where"})
    assert known.parse_setting("url", "https://x") == ("url", "https://x")
    assert known.parse_setting("require_approval", "true") == ("require_approval", "true")


@pytest.mark.parametrize(
    ("key", "value"),
    [("color", "x"), ("url", "\0"), ("url", "x" * 4001), ("require_approval", "1")],
)
def test_an_unusable_setting_is_refused_by_its_name(key: str, value: str) -> None:
    with pytest.raises(Invalid) as refusal:
        spec(settings={"url": "where"}).parse_setting(key, value)
    assert refusal.value.field == key
