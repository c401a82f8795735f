"""Logs as JSON, an object a line: when, what, and of a request its id, route, status and size.

No text, key or address gets into a line: the fields are those named here, and of an exception only its type and where
it was raised, since its message may quote what a client sent.
"""

import json
import logging
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

FIELDS = ("request", "method", "endpoint", "status", "milliseconds", "bytes")

logger = logging.getLogger("kakehashi.serving")


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: record.__dict__[name] for name in FIELDS if name in record.__dict__}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["raised"] = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        return json.dumps(line, ensure_ascii=False)


def write_json_lines(stream: TextIO) -> None:
    """Lets our loggers and uvicorn's write to `stream`, in this form alone; other libraries' words may quote texts."""
    handler = logging.StreamHandler(stream)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    handler.addFilter(lambda record: record.name.split(".")[0] in ("kakehashi", "uvicorn"))
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
