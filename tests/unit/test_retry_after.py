"""How long an endpoint asks to be left alone, in every way it may say so."""

import pytest

from server.openai_wire.retry_after import retry_after

NOW = "Wed, 25 Nov 2026 12:00:00 GMT"

SAID = {
    "seconds": ({"retry-after": "7"}, 7),
    "part of a second": ({"retry-after": "0.5"}, 0.5),
    "none": ({"retry-after": "0"}, 0),
    "milliseconds": ({"retry-after-ms": "250"}, 0.25),
    "both": ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
    "unreadable milliseconds": ({"retry-after-ms": "soon", "retry-after": "7"}, 7),
    "a date": ({"retry-after": "Wed, 25 Nov 2026 12:00:30 GMT", "date": NOW}, 30),
    "a date of another zone": ({"retry-after": "Wed, 25 Nov 2026 13:00:30 +0100", "date": NOW}, 30),
    "a date of no zone": ({"retry-after": "Wed, 25 Nov 2026 12:00:30 -0000", "date": NOW}, 30),
    "a date gone by": ({"retry-after": "Wed, 25 Nov 2026 11:59:00 GMT", "date": NOW}, 0),
    "a date and no clock": ({"retry-after": "Wed, 25 Nov 1998 12:00:00 GMT"}, 0),
    "for ever": ({"retry-after": "1e300"}, 3600),
    "infinitely": ({"retry-after": "inf"}, 3600),
    "a date far away": ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT", "date": NOW}, 3600),
}


@pytest.mark.parametrize(("headers", "seconds"), SAID.values(), ids=SAID)
def test_what_is_said_is_understood(headers: dict[str, str], seconds: float) -> None:
    wanted = retry_after(headers)
    assert wanted is not None
    assert wanted.total_seconds() == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "nan", "-1", "-inf", "Wed, 99 Nov 2026", "12:00", "\ud800", "٧ hours"]
)
def test_what_says_nothing_is_nothing(text: str) -> None:
    assert retry_after({"retry-after": text}) is None
    assert retry_after({"retry-after-ms": text}) is None
    assert retry_after({}) is None
