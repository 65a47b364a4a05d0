"""Settings: what is refused, in which words, and what is never shown."""

from pathlib import Path

import pytest

from server.setting_names import unknown_settings
from server.settings import OFFLINE_MODEL, Environment, load_settings, variables
from tenancy.errors import Misconfigured


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def refusal(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> str:
    """What `load_settings` says of one invalid variable."""
    monkeypatch.setenv(name, value)
    with pytest.raises(Misconfigured) as raised:
        load_settings()
    return raised.value.detail


INVALID = [
    ("TENANTRY_PORT", "abc"),
    ("TENANTRY_PORT", "70000"),
    ("TENANTRY_PORT", "-1"),
    ("TENANTRY_ENV", "prod"),
    ("TENANTRY_MODEL_TIMEOUT", "0"),
    ("TENANTRY_MODEL_TIMEOUT", "inf"),
    ("TENANTRY_MODEL_TIMEOUT", "soon"),
    ("OPENAI_BASE_URL", "ftp://x"),
    ("OPENAI_BASE_URL", "http://"),
    ("OPENAI_BASE_URL", "http://host:port"),
    ("REDIS_URL", "sesame"),
    ("REDIS_URL", "redis://:sesame@host:port"),
    ("REDIS_URL", "http://host"),
    ("REDIS_URL", "redis+cluster://"),
    ("REDIS_URL", "redis+cluster://:sesame@host:1,,other:2/"),
    ("REDIS_URL", "redis+cluster://:sesame@host:1,other:port/"),
    ("REDIS_URL", "redis+cluster://host:0/"),
    ("REDIS_URL", "redis+cluster://host:1/3"),
    ("REDIS_URL", "unix+cluster://host:1/"),
    ("DATABASE_URL", "sesame"),
    ("DATABASE_URL", "mysql://root:sesame@host/db"),
    ("TENANTRY_OWNER_DATABASE_URL", "sesame"),
    ("STUDIO_TENANT_ID", "Acme Inc"),
    ("TENANTRY_CURRENCY", "usd"),
    ("TENANTRY_CURRENCY", "EURO"),
    ("TENANTRY_CURRENCY", "ÄÖÜ"),
    ("TENANTRY_TRUSTED_PROXIES", "everybody"),
    ("TENANTRY_TRUSTED_PROXIES", "10.0.0.1/8"),
    ("TENANTRY_ALERT_WEBHOOK", "sesame"),
    ("TENANTRY_ALERT_WEBHOOK", "http://sesame.example/hook"),
    ("TENANTRY_ALERT_WEBHOOK", "http://10.0.0.1/sesame"),
    ("TENANTRY_ALERT_WEBHOOK", "https:///sesame"),
    ("TENANTRY_ALERT_WEBHOOK", "https://sesame@host/hook"),
    ("TENANTRY_ALERT_WEBHOOK", "https://host:port/sesame"),
    ("TENANTRY_ALERT_WEBHOOK", "https://host/sesame#part"),
    ("TENANTRY_ALERT_WEBHOOK", "https://host/ses ame"),
    ("TENANTRY_ALERT_SECRET", "sesame"),
    ("TENANTRY_FETCH", "sometimes"),
    ("TENANTRY_MODEL_SLOTS", "0"),
    ("TENANTRY_MODEL_SLOTS", "many"),
    ("TENANTRY_ENDPOINTS", "sesame"),
    ("TENANTRY_ENDPOINTS", '["sesame"]'),
    ("TENANTRY_ENDPOINTS", '{"backup": "sesame"}'),
    ("TENANTRY_ENDPOINTS", '{"backup": {"api_key": "sesame"}}'),
    ("TENANTRY_ENDPOINTS", '{"backup": {"base_url": "sesame"}}'),
    ("TENANTRY_ENDPOINTS", '{"backup": {"base_url": "https://h/v1", "sesame": ""}}'),
    ("TENANTRY_ENDPOINTS", '{"backup": {"base_url": "https://h/v1", "api_key": ["sesame"]}}'),
    ("TENANTRY_ENDPOINTS", '{"Sesame": {"base_url": "https://h/v1", "api_key": "sesame"}}'),
    ("TENANTRY_ENDPOINTS", '{"default": {"base_url": "https://h/v1", "api_key": "sesame"}}'),
    ("TENANTRY_ENDPOINTS", '{"offline": {"base_url": "https://h/v1", "api_key": "sesame"}}'),
]


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_an_invalid_value_is_one_line_that_names_the_variable_and_hides_the_value(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    said = refusal(monkeypatch, name, value)
    assert said.startswith(f"{name}: ")
    assert "\n" not in said
    assert "sesame" not in said.lower()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app:pw@host:5432/db",
        "postgres://app@host/db?sslmode=require",
        "postgresql://app@one:1,two:2/db",
        "host=/tmp dbname=db user=app",
    ],
)
def test_every_way_to_write_a_postgres_url_is_taken(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    settings = load_settings()
    assert settings.database_url
    assert settings.database_url.get_secret_value() == url


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:1/0",
        "rediss://:pw@h",
        "unix://:pw@/a.sock",
        "redis+cluster://h",
        "rediss+cluster://me:pw@one:1,two:2,[::1]:3/?ssl_check_hostname=false",
    ],
)
def test_every_way_to_write_a_redis_url_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    settings = load_settings()
    assert settings.redis_url
    assert settings.redis_url.get_secret_value() == url


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:sesame@host/db")
    monkeypatch.setenv("OPENAI_API_KEY", "sesame")
    assert "sesame" not in repr(load_settings())


def test_a_variable_beats_the_env_file_and_an_option_beats_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Path(".env").write_text("TENANTRY_PORT=1001\nTENANTRY_HOST=file\n")
    monkeypatch.setenv("TENANTRY_PORT", "1002")
    assert load_settings().host == "file"
    assert load_settings().port == 1002
    assert load_settings(port=1003).port == 1003
    assert load_settings(port=0).port == 0


@pytest.mark.parametrize(
    ("text", "fetches"), [("on", True), ("off", False), ("false", False), ("", True)]
)
def test_fetching_can_be_switched_off(
    monkeypatch: pytest.MonkeyPatch, text: str, fetches: bool
) -> None:
    monkeypatch.setenv("TENANTRY_FETCH", text)
    assert load_settings().fetch is fetches


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_PORT", "")
    monkeypatch.setenv("DATABASE_URL", "")
    assert load_settings().port == 8000
    assert load_settings().database_url is None


@pytest.mark.parametrize(("said", "on"), [("", True), ("on", True), ("off", False), ("0", False)])
def test_copies_of_threads_are_switched(
    monkeypatch: pytest.MonkeyPatch, said: str, on: bool
) -> None:
    monkeypatch.setenv("TENANTRY_HOT_CONTEXT", said)
    assert load_settings().hot_context is on


def test_an_unknown_name_of_ours_gets_the_nearest_one() -> None:
    Path(".env").write_text("TENANTRY_MODLE=x\n")
    assert unknown_settings() == ["TENANTRY_MODLE is no setting; did you mean TENANTRY_MODEL?"]
    meant = "TENANTRY_REDIS_URL is no setting; did you mean REDIS_URL?"
    assert unknown_settings(["TENANTRY_REDIS_URL"]) == [meant]
    assert unknown_settings(["TENANTRY_XYZZY"]) == ["TENANTRY_XYZZY is no setting."]
    assert unknown_settings(["TENANT", "TENANTRY_PORT", "PATH"]) == []


def test_endpoints_have_names_and_keep_their_keys_to_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = '{"backup": {"base_url": "https://h/v1", "api_key": "sesame"}, "own-1": {"base_url": "http://h"}}'
    monkeypatch.setenv("TENANTRY_ENDPOINTS", said)
    endpoints = load_settings().endpoints
    assert [(name, each.base_url) for name, each in endpoints.items()] == [
        ("backup", "https://h/v1"),
        ("own-1", "http://h"),
    ]
    assert endpoints["backup"].api_key
    assert endpoints["backup"].api_key.get_secret_value() == "sesame"
    assert "sesame" not in repr(load_settings())


def test_the_default_model_may_be_at_a_named_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_MODEL", "backup/gpt-9")
    with pytest.raises(Misconfigured, match="TENANTRY_MODEL needs"):
        load_settings().require_models()
    monkeypatch.setenv("TENANTRY_ENDPOINTS", '{"backup": {"base_url": "https://h/v1"}}')
    load_settings().require_models()
    assert load_settings().chat_model == "backup/gpt-9"


def test_a_model_needs_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_MODEL", "gpt-9")
    with pytest.raises(Misconfigured, match="TENANTRY_MODEL needs"):
        load_settings().require_models()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:9/v1")
    load_settings().require_models()
    assert load_settings().chat_model == "gpt-9"


def test_an_embedding_model_needs_an_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_EMBEDDING_MODEL", "embed-9")
    with pytest.raises(Misconfigured, match="TENANTRY_EMBEDDING_MODEL needs"):
        load_settings().require_models()


def test_production_answers_offline_only_when_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_ENV", Environment.PRODUCTION.value)
    with pytest.raises(Misconfigured, match="only when TENANTRY_MODEL names it"):
        load_settings().require_models()
    monkeypatch.setenv("TENANTRY_MODEL", OFFLINE_MODEL)
    load_settings().require_models()


SECRET = "a secret of thirty-two characters"


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example/tenantry?of=us",
        "http://127.0.0.1:9/hook",
        "http://localhost/hook",
        "http://[::1]:9/hook",
    ],
)
def test_alerts_are_posted_where_it_is_safe(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    assert load_settings().alert_receiver is None
    monkeypatch.setenv("TENANTRY_ALERT_WEBHOOK", url)
    monkeypatch.setenv("TENANTRY_ALERT_SECRET", SECRET)
    assert load_settings().alert_receiver == (url, SECRET)
    assert url not in repr(load_settings())
    monkeypatch.setenv("TENANTRY_ENV", Environment.PRODUCTION.value)
    if url.startswith("https:"):
        assert load_settings().alert_receiver == (url, SECRET)
    else:
        with pytest.raises(Misconfigured, match="must be https in production"):
            assert load_settings().alert_receiver


def test_a_webhook_needs_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENANTRY_ALERT_WEBHOOK", "https://hooks.example/")
    with pytest.raises(Misconfigured, match="TENANTRY_ALERT_WEBHOOK needs TENANTRY_ALERT_SECRET"):
        assert load_settings().alert_receiver
