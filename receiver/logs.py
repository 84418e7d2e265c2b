"""Log lines: one JSON object each, on stderr.

No line holds a payload, a secret, a URL with a token or a client's header other than the message id. Libraries are
heard from `warning` on, whatever the receiver's own level: at `debug` botocore writes every row and every signature, at
`info` httpx writes every URL.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime


class JsonLines(logging.Formatter):
    """Writes time, level, logger, message and the record's ``about``, a mapping."""

    def format(self, record: logging.LogRecord) -> str:
        """Give one line without a line break; of an exception its type and where it was raised, not what it says."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "about", {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = type(error).__name__
            line["where"] = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        return json.dumps(line)


def set_up_logging(level: str) -> None:
    """Send the log of this process to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("receiver").setLevel(level.upper())
