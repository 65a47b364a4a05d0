"""The deployment's settings, from the environment and a `.env` file."""

from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import (
    AliasChoices,
    Field,
    Json,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from server.endpoints import (
    DEFAULT,
    EndpointName,
    EndpointSettings,
    HttpUrl,
    split_model,
)
from server.setting_values import (
    CurrencyCode,
    DeploymentName,
    LongSecret,
    Networks,
    PostgresUrl,
    RedisUrl,
    TenantName,
    WebhookUrl,
)
from tenancy.errors import Misconfigured

PREFIX = "TENANTRY_"
DEFAULT_BASE_URL = "https://api.openai.com/v1"
OFFLINE_MODEL = "offline-extractive"
OFFLINE_EMBEDDINGS = "offline-minilm"
ENDPOINTS_FORM = '{"backup": {"base_url": "https://host/v1", "api_key": "…"}}'
FORMS = {"TENANTRY_ENDPOINTS": ENDPOINTS_FORM}


class Environment(StrEnum):
    """What the deployment is for."""

    DEVELOPMENT = "development"
    PRODUCTION = "production"


def _named(name: str) -> AliasChoices:
    return AliasChoices(name)


class Settings(BaseSettings):
    """One field for each variable. An empty variable counts as unset."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: PostgresUrl | None = Field(
        default=None,
        validation_alias=_named("DATABASE_URL"),
        description="Postgres as the role tenantry_app. Unset: an embedded server.",
    )
    owner_database_url: PostgresUrl | None = Field(
        default=None,
        validation_alias=_named("TENANTRY_OWNER_DATABASE_URL"),
        description="The same database as the owner role: migrations and administration.",
    )
    operator_database_url: PostgresUrl | None = Field(
        default=None,
        validation_alias=_named("TENANTRY_OPERATOR_DATABASE_URL"),
        description="The same database as the operator role: usage and audit across tenants.",
    )
    seal_key: LongSecret | None = Field(
        default=None,
        validation_alias=_named("TENANTRY_SEAL_KEY"),
        description="What tenants are sealed with in the database: 32 random characters or more."
        " Unset: made once, in the data directory.",
    )
    redis_url: RedisUrl | None = Field(
        default=None,
        validation_alias=_named("REDIS_URL"),
        description="Redis 6.2 or later; of a cluster redis+cluster://host:port,host:port/."
        " Unset: an embedded server.",
    )
    openai_api_key: SecretStr | None = Field(
        default=None,
        validation_alias=_named("OPENAI_API_KEY"),
        description="Key of the model endpoint. With neither this nor a URL, answers are offline.",
    )
    openai_base_url: HttpUrl | None = Field(
        default=None,
        validation_alias=_named("OPENAI_BASE_URL"),
        description=f"Any OpenAI-compatible endpoint; {DEFAULT_BASE_URL} with a key alone.",
    )
    endpoints: Json[dict[EndpointName, EndpointSettings]] = Field(
        default={},
        validate_default=False,  # a mapping is no JSON
        validation_alias=_named("TENANTRY_ENDPOINTS"),
        description=f"More model endpoints, by name: {ENDPOINTS_FORM}."
        " The model `backup/gpt-4o` is `gpt-4o` there.",
    )
    model_slots: PositiveInt = Field(
        default=64,
        validation_alias=_named("TENANTRY_MODEL_SLOTS"),
        description="Most model calls in flight at one endpoint, over all replicas.",
    )
    model: str | None = Field(
        default=None,
        validation_alias=_named("TENANTRY_MODEL"),
        description=f"The default chat model. Without an endpoint: {OFFLINE_MODEL}.",
    )
    hot_context: bool = Field(
        default=True,
        validation_alias=_named("TENANTRY_HOT_CONTEXT"),
        description="on, or off: whether Redis has copies of threads' latest checkpoints.",
    )
    embedding_model: str = Field(
        default=OFFLINE_EMBEDDINGS,
        validation_alias=_named("TENANTRY_EMBEDDING_MODEL"),
        description=f"{OFFLINE_EMBEDDINGS}, or the name of an embedding model of the endpoint.",
    )
    former_embedding_model: str | None = Field(
        default=None,
        validation_alias=_named("TENANTRY_FORMER_EMBEDDING_MODEL"),
        description="What passages were embedded with before; searched until they are anew.",
    )
    model_timeout: PositiveFloat = Field(
        default=60.0,
        allow_inf_nan=False,
        validation_alias=_named("TENANTRY_MODEL_TIMEOUT"),
        description="Seconds until a silent model endpoint is given up on (504).",
    )
    audience: str = Field(
        default="tenantry",
        min_length=1,
        validation_alias=_named("TENANTRY_AUDIENCE"),
        description="The `aud` that tokens must name.",
    )
    deployment: DeploymentName = Field(
        default="tenantry",
        validation_alias=_named("TENANTRY_DEPLOYMENT"),
        description="The trust domain of this deployment's components: spiffe://<deployment>/….",
    )
    component_keys: Path | None = Field(
        default=None,
        validation_alias=_named("TENANTRY_COMPONENT_KEYS"),
        description="A folder with server.pem and graph.pem, to sign transaction tokens with."
        " Unset: keys made at each start.",
    )
    environment: Environment = Field(
        default=Environment.DEVELOPMENT,
        validation_alias=_named("TENANTRY_ENV"),
        description="development or production; production issues no tokens of its own.",
    )
    currency: CurrencyCode = Field(
        default="USD",
        validation_alias=_named("TENANTRY_CURRENCY"),
        description="Currency of prices, budgets and costs (ISO 4217). It is a name: changing it"
        " converts nothing.",
    )
    data_dir: Path = Field(
        default=Path(".tenantry"),
        validation_alias=_named("TENANTRY_DATA_DIR"),
        description="Embedded servers, their passwords and the development secret.",
    )
    host: str = Field(
        default="127.0.0.1",
        validation_alias=_named("TENANTRY_HOST"),
        description="Address to serve on.",
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        validation_alias=_named("TENANTRY_PORT"),
        description="Port to serve on.",
    )
    trusted_proxies: Networks = Field(
        default="",
        validation_alias=_named("TENANTRY_TRUSTED_PROXIES"),
        description="Networks of proxies whose X-Forwarded-For is believed, with commas between"
        " them. Unset: none, the address of a client is its peer's.",
    )
    alert_webhook: WebhookUrl | None = Field(
        default=None,
        validation_alias=_named("TENANTRY_ALERT_WEBHOOK"),
        description="Where alerts about budgets are posted. Unset: they are audit records only.",
    )
    alert_secret: LongSecret | None = Field(
        default=None,
        validation_alias=_named("TENANTRY_ALERT_SECRET"),
        description="What posts to the webhook are signed with: 32 random characters or more.",
    )
    fetch: bool = Field(
        default=True,
        validation_alias=_named("TENANTRY_FETCH"),
        description="on, or off: then nothing is fetched from the web for a tenant.",
    )
    studio_tenant_id: TenantName | None = Field(
        default=None,
        validation_alias=_named("STUDIO_TENANT_ID"),
        description="Tenant of an unauthenticated Studio user, in development only.",
    )

    @property
    def has_endpoint(self) -> bool:
        """Whether a model endpoint is named."""
        return self.openai_api_key is not None or self.openai_base_url is not None

    @property
    def chat_model(self) -> str:
        """The default chat model. Raises `Misconfigured` for one that this deployment lacks."""
        if self.model and split_model(self.model, self.endpoints)[0] != DEFAULT:
            return self.model
        if self.model not in (None, OFFLINE_MODEL) and not self.has_endpoint:
            raise Misconfigured("TENANTRY_MODEL needs OPENAI_API_KEY or OPENAI_BASE_URL.")
        if self.has_endpoint:
            return self.model or DEFAULT_MODEL
        if self.environment is Environment.PRODUCTION and self.model is None:
            raise Misconfigured(
                f"No model endpoint is set: production serves {OFFLINE_MODEL} "
                f"only when TENANTRY_MODEL names it."
            )
        return OFFLINE_MODEL

    @property
    def alert_receiver(self) -> tuple[str, str] | None:
        """Where alerts are posted, and what they are signed with. Raises `Misconfigured`."""
        if self.alert_webhook is None:
            return None
        url = self.alert_webhook.get_secret_value()
        if self.alert_secret is None:
            raise Misconfigured("TENANTRY_ALERT_WEBHOOK needs TENANTRY_ALERT_SECRET.")
        if self.environment is Environment.PRODUCTION and urlsplit(url).scheme != "https":
            raise Misconfigured("TENANTRY_ALERT_WEBHOOK must be https in production.")
        return url, self.alert_secret.get_secret_value()

    def require_models(self) -> None:
        """Raise `Misconfigured` unless the named models can be had here."""
        if self.chat_model and self.embedding_model == OFFLINE_EMBEDDINGS:
            return
        if not self.has_endpoint:
            raise Misconfigured("TENANTRY_EMBEDDING_MODEL needs OPENAI_API_KEY or OPENAI_BASE_URL.")


DEFAULT_MODEL = "gpt-4o-mini"


def load_settings(**overrides: object) -> Settings:
    """The settings, with what a command line said on top.

    Raises `Misconfigured` with one readable line that holds no value.
    """
    given = {key: value for key, value in overrides.items() if value is not None}
    try:
        base = Settings()
        return base if not given else base.model_copy(update=given)
    except ValidationError as error:
        raise Misconfigured(_readable(error)) from None


def variables() -> dict[str, str]:
    """The variables, in order, with what each is for."""
    return {
        str(field.validation_alias.choices[0]): field.description or ""
        for field in Settings.model_fields.values()
        if isinstance(field.validation_alias, AliasChoices)
    }


def env_example() -> str:
    """The text of `.env.example`."""
    lines = ["# Every setting of Tenantry. Copy to .env and change what you need.", ""]
    for field in Settings.model_fields.values():
        if isinstance(field.validation_alias, AliasChoices):
            shown = f"# {field.validation_alias.choices[0]}={_shown(field.default)}"
            lines += [f"# {field.description}", shown]
            lines.append("")
    return "\n".join(lines)


def _shown(default: object) -> object:
    if isinstance(default, bool):
        return "on" if default else "off"
    return "" if default is None else default


def _readable(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False)[0]
    name, reason = str(first["loc"][0]), first["msg"].removeprefix("Value error, ")
    if name in FORMS and first["type"] != "value_error":
        reason = f"must be like {FORMS[name]}"
    return f"{name}: {reason[0].lower()}{reason[1:]}."
