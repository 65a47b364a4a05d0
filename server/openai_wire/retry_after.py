"""How long an endpoint asks to be left alone."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST = timedelta(hours=1)  # who wants a longer rest says so again


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """What `retry-after-ms` says, else `retry-after` in seconds or as an HTTP date.

    A date counts from the answer's own, so that no clock needs to be right. At most an hour.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    wanted = headers.get("retry-after")
    seconds = _number(wanted)
    return _until(wanted, headers.get("date")) if seconds is None else _bounded(seconds)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(number) or number < 0 else number


def _until(text: str | None, now: str | None) -> timedelta | None:
    then = _date(text)
    if then is None:
        return None
    return _bounded((then - (_date(now) or datetime.now(UTC))).total_seconds())


def _date(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _bounded(seconds: float) -> timedelta:
    return timedelta(seconds=min(max(seconds, 0.0), LONGEST.total_seconds()))
