"""What a model costs, in integers: no amount is ever rounded in the tenant's favour."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from tenancy.errors import Invalid
from tenancy.plan import MAX_NAME_CHARACTERS
from tenancy.usage import Tokens

MICROS = 1_000_000  # micro-units of a minor unit: what budgets and events are counted in
NANOS_PER_MICRO = 1_000
MAX_PRICE = Decimal(10**9)  # minor units for a million tokens
ANY_MODEL = "*"


@dataclass(frozen=True, slots=True)
class Price:
    """Nano-units of a minor unit for one token, which are milli-units for a million of them."""

    model: str
    input_nanos: int
    output_nanos: int

    def cost(self, tokens: Tokens) -> int:
        """Micro-units of a minor unit for one call, rounded up."""
        nanos = tokens.input_tokens * self.input_nanos + tokens.output_tokens * self.output_nanos
        return -(-nanos // NANOS_PER_MICRO)


Prices = Mapping[str, Price]


def minor_units(micros: int) -> str:
    """An amount of micro-units, written in minor units."""
    return f"{(Decimal(micros) / MICROS).normalize():f}"


def price_document(price: Price) -> dict[str, str]:
    """A price as it is shown: minor units for a million tokens, as text, for it has a fraction."""
    return {
        "model": price.model,
        "input": _for_a_million(price.input_nanos),
        "output": _for_a_million(price.output_nanos),
    }


def _for_a_million(nanos: int) -> str:
    return f"{(Decimal(nanos) / 1000).normalize():f}"


def price_of(prices: Prices, model: str) -> Price | None:
    """The price of `model`: its own, or that of `*`, or none."""
    return prices.get(model) or prices.get(ANY_MODEL)


def parse_model(field: str, text: object) -> str:
    """Return `text` as a model's name, or `*` for any; raises `Invalid`."""
    said = text.strip() if isinstance(text, str) and text.isprintable() else ""
    if 0 < len(said) <= MAX_NAME_CHARACTERS:
        return said
    raise Invalid(field, f"must be 1 to {MAX_NAME_CHARACTERS} printable characters")


def parse_price(field: str, text: str) -> int:
    """Minor units for a million tokens, at most three decimals, as nano-units for one token."""
    try:
        amount = Decimal(text.strip())
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or not 0 <= amount <= MAX_PRICE or amount * 1000 % 1:
        raise Invalid(field, "must be minor units for a million tokens, like 15 or 7.5")
    return int(amount * 1000)
