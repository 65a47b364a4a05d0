"""Model endpoints by name: what a setting may say of them, and which one a model's name means."""

import re
from collections.abc import Container
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, SecretStr

DEFAULT = "default"  # the endpoint of OPENAI_BASE_URL
OFFLINE = "offline"  # the model that needs none
NAME = re.compile(r"[a-z0-9-]{1,63}")


def scheme_of(url: str) -> str | None:
    """The scheme of `url`; None where that is no URL at all."""
    try:
        place = urlsplit(url)
        return place.scheme if place.port != 0 else None
    except ValueError:
        return None


def _http(url: str) -> str:
    if scheme_of(url) not in {"http", "https"} or not urlsplit(url).hostname:
        raise ValueError("must be like https://host/v1")
    return url


def _name(name: str) -> str:
    if not NAME.fullmatch(name) or name in {DEFAULT, OFFLINE}:
        raise ValueError(
            f"names of endpoints are a-z, 0-9 and -, at most 63, and neither {DEFAULT}"
            f" nor {OFFLINE}"
        )
    return name


HttpUrl = Annotated[str, AfterValidator(_http)]
EndpointName = Annotated[str, AfterValidator(_name)]


class EndpointSettings(BaseModel):
    """Where an endpoint is, and the key it wants."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    base_url: HttpUrl
    api_key: SecretStr | None = None


def split_model(name: str, endpoints: Container[str]) -> tuple[str, str]:
    """The endpoint and its own name of the model `name`: `backup/gpt-4o` is `gpt-4o` at `backup`.

    What names none of `endpoints` is a model of the default one: many names hold a slash.
    """
    endpoint, _, model = name.partition("/")
    return (endpoint, model) if model and endpoint in endpoints else (DEFAULT, name)
