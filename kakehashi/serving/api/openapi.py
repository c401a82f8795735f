"""What the OpenAPI description says beyond the routes' own types: bodies that are read by hand, and refusals."""

from typing import Any

from pydantic import BaseModel

from kakehashi.serving.api.schemas import Error

_WHY = {
    400: "Something is missing or not as it must be.",
    401: "The bearer's key is not the right one.",
    403: "Not allowed: the key is not known, or the server does not offer this.",
    404: "There is no such thing.",
    408: "The body took too long to arrive.",
    409: "The same is there already.",
    413: "The body is too large.",
    429: "Too many requests: try again after `Retry-After` seconds.",
    503: "The server is busy: try again after `Retry-After` seconds.",
}
USUAL = (400, 403, 408, 413, 429, 503)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route that clients may use, and further ones."""
    return {status: {"model": Error, "description": _WHY[status]} for status in sorted({*USUAL, *statuses})}


def body(schema: type[BaseModel]) -> dict[str, Any]:
    """A request body as JSON or as a form."""
    described = schema.model_json_schema()
    kinds = ("application/json", "application/x-www-form-urlencoded")
    return {"requestBody": {"required": True, "content": {kind: {"schema": described} for kind in kinds}}}


def form(schema: type[BaseModel]) -> dict[str, Any]:
    """A request body as a form with a file."""
    described = schema.model_json_schema()
    described["properties"]["file"]["type"] = "string"
    described["required"] = ["file", *described["required"]]
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": described}}}}


def query(schema: type[BaseModel]) -> dict[str, Any]:
    """The fields of a schema as parameters of the query string."""
    described = schema.model_json_schema()
    required = described.get("required", [])
    return {
        "parameters": [
            {"name": name, "in": "query", "required": name in required, "schema": field}
            for name, field in described["properties"].items()
        ]
    }
