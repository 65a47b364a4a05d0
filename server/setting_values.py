"""What a setting may be: each kind of value, and what is wrong with another."""

import re
from contextlib import suppress
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from server.client_address import ClientAddresses
from server.endpoints import scheme_of
from storage.redis_url import is_cluster, seeds_of
from storage.seal import MIN_CHARACTERS, is_long_enough
from tenancy.component import parse_deployment
from tenancy.errors import Invalid
from tenancy.ids import parse_tenant_id

REDIS_SCHEMES = {"redis", "rediss", "unix"}
CURRENCY = re.compile(r"[A-Z]{3}")  # ISO 4217


def _postgres(url: SecretStr) -> SecretStr:
    from psycopg import ProgrammingError  # noqa: PLC0415  # not every command needs the driver
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        conninfo_to_dict(url.get_secret_value())
    except ProgrammingError:  # its text quotes the URL
        raise ValueError("must be like postgresql://user:password@host:5432/database") from None
    return url


def _long_secret(text: SecretStr) -> SecretStr:
    if not is_long_enough(text.get_secret_value()):
        raise ValueError(f"must be at least {MIN_CHARACTERS} characters, random ones")
    return text


def _redis(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    if not (_names_nodes(text) if is_cluster(text) else scheme_of(text) in REDIS_SCHEMES):
        raise ValueError(
            "must be like redis://:password@host:6379/0, rediss://…, unix://…"
            " or redis+cluster://host:6379,host:6379/"
        )
    return url


def _names_nodes(url: str) -> bool:
    try:
        return bool(seeds_of(url))
    except ValueError:
        return False


def _currency(code: str) -> str:
    if not CURRENCY.fullmatch(code):
        raise ValueError("must be three upper-case letters, like EUR")
    return code


def _networks(text: str) -> str:
    try:
        ClientAddresses(text)
    except ValueError:
        raise ValueError("must be like 10.0.0.0/8, 2001:db8::/32") from None
    return text


def _tenant(name: str) -> str:
    try:
        return parse_tenant_id(name)
    except Invalid as error:
        raise ValueError(error.message) from None


def _deployment(name: str) -> str:
    try:
        return parse_deployment(name)
    except Invalid as error:
        raise ValueError(error.message) from None


def _webhook(url: SecretStr) -> SecretStr:
    try:
        place = urlsplit(url.get_secret_value())
        plain = place.username is None and not place.fragment and place.port != 0
        plain &= url.get_secret_value().isprintable() and " " not in url.get_secret_value()
        secure = place.scheme == "https" or (place.scheme == "http" and _loopback(place.hostname))
    except ValueError:
        plain = secure = False
    if not plain or not secure or not place.hostname:
        raise ValueError("must be like https://host/path; http for a receiver on this machine")
    return url


def _loopback(host: str | None) -> bool:
    with suppress(ValueError):
        return host == "localhost" or ip_address(host or "").is_loopback
    return False


PostgresUrl = Annotated[SecretStr, AfterValidator(_postgres)]
LongSecret = Annotated[SecretStr, AfterValidator(_long_secret)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]
WebhookUrl = Annotated[SecretStr, AfterValidator(_webhook)]
CurrencyCode = Annotated[str, AfterValidator(_currency)]
Networks = Annotated[str, AfterValidator(_networks)]
TenantName = Annotated[str, AfterValidator(_tenant)]
DeploymentName = Annotated[str, AfterValidator(_deployment)]
