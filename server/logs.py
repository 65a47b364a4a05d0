"""Structured logs: one JSON object a line, with tenant, run and thread where there are any."""

import logging
import sys
from typing import Any

import orjson
import structlog


def configure_logs(level: int = logging.INFO) -> None:
    """Send our events and the libraries' warnings to standard error as JSON lines."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Bridge()], force=True)


def silence_logs() -> None:
    """Drop everything: for a command that provokes what would be logged."""
    structlog.configure(processors=[_drop])
    logging.disable(logging.CRITICAL)


def _drop(_logger: Any, _name: str, _event: Any) -> Any:
    raise structlog.DropEvent


class _Bridge(logging.Handler):
    """Hands the records of other libraries to structlog: name and message, never their payloads."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(record.levelno, "library", logger=record.name, said=record.msg)


def _dumps(event: dict[str, Any], **_options: Any) -> bytes:
    return orjson.dumps(event, default=str)
