"""Log lines: one JSON object each, few of them, none a request.

For start-up, errors and, rate-limited, degradation; what happens per request is in metrics and traces. As a net under
the rule that no direct identifier is ever logged, whatever is shaped like an e-mail address or a phone number is masked
in every line, exceptions included. The net has holes (a name, a number of digits only), so the rule stays.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

MASK = "[masked]"

_EMAIL = re.compile(r"[^\s@\"'<>(),;:=&?/\[\]]+(?:@|%40)[^\s@\"'<>(),;:=&?/\[\]]+\.[\w-]+", re.IGNORECASE)
#: With a plus and a country code, or three to five groups of digits; not up to a clock time's or a port's colon. Groups
#: of digits can be other things: `_is_phone`.
_PHONE = re.compile(
    r"(?<![\w.:+-])(?:\+\d(?:[ ().\-/]{0,2}\d){6,14}|\(?\d{2,5}\)?(?:[ ./-]{1,2}\(?\d{2,5}\)?){2,4})(?!\w|:\d\d|[.-]\d)"
)
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.|$)){4}")
#: A phone number without country code has nine digits or more; a date has eight.
_PHONE_DIGITS_MIN = 9

#: What every record has; anything else came in by `extra=` and is a field of the line.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


def mask(text: str) -> str:
    """The text with everything shaped like an e-mail address or a phone number replaced."""
    return _PHONE.sub(_mask_phone, _EMAIL.sub(MASK, text))


def _mask_phone(match: re.Match[str]) -> str:
    return MASK if _is_phone(match[0]) else match[0]


def _is_phone(text: str) -> bool:
    if text.startswith("+"):
        return True
    return sum(char.isdigit() for char in text) >= _PHONE_DIGITS_MIN and not _IPV4.fullmatch(text)


class JsonLines(logging.Formatter):
    """`{"at", "level", "logger", "message", …}`; `extra` members are fields, an exception is `error`."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": mask(record.getMessage()),
        }
        line |= {key: _masked(value) for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            line["error"] = mask(self.formatException(record.exc_info))
        return orjson.dumps(line, option=orjson.OPT_NON_STR_KEYS).decode()


def _masked(value: object) -> object:
    if isinstance(value, dict):
        return {mask(str(key)): _masked(member) for key, member in value.items()}
    if isinstance(value, bool | int | float) or value is None:
        return value
    return mask(str(value))


def configure(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send all logging of this process through one handler, to stderr unless `stream` is given."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # It reports every failed delivery; we report losses once a minute, with a count.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)


class Summary:
    """One warning a period with counts, however often a thing happens. The first is logged at once; those that follow
    are counted and logged with the first one after the period, or by `flush`."""

    def __init__(
        self,
        logger: logging.Logger,
        message: str,
        period_s: float = 10.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = logger
        self._message = message
        self._period_s = period_s
        self._clock_s = clock_s
        self._counts: Counter[str] = Counter()
        self._next_s = clock_s()

    def note(self, what: str, n: int = 1) -> None:
        """`what` is a member of a closed list (a degradation, a kind of error)."""
        self._counts[str(what)] += n
        now_s = self._clock_s()
        if now_s >= self._next_s:
            self._next_s = now_s + self._period_s
            self.flush()

    def flush(self) -> None:
        """Log what was counted since the last line, if anything."""
        if self._counts:
            self._logger.warning(self._message, extra={"counts": dict(self._counts)})
            self._counts.clear()
