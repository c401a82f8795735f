"""What the routes of one server share, and the way in: parameters read, limits kept, values checked, in this order."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar, cast

from fastapi import Depends, Request
from pydantic import BaseModel, SecretStr

from kakehashi.serving.api import messages
from kakehashi.serving.api.codes import Codes
from kakehashi.serving.api.limits import Allowance, Gate, hashed
from kakehashi.serving.api.metrics import Metrics
from kakehashi.serving.api.parameters import parameters, query_parameters
from kakehashi.serving.api.refusals import Refusal
from kakehashi.serving.api.schemas import Asked, checked
from kakehashi.serving.api.settings import ServerSettings
from kakehashi.serving.api.shelf import Shelf
from kakehashi.serving.corrections.memory import Memory
from kakehashi.serving.engine.engine import Engine

M = TypeVar("M", bound=BaseModel)
A = TypeVar("A", bound=Asked)


@dataclass(frozen=True)
class Server:
    engine: Engine
    memory: Memory
    settings: ServerSettings
    gate: Gate
    metrics: Metrics
    codes: Codes
    shelf: Shelf


async def server_of(request: Request) -> Server:  # a function that is not async would be given to a thread
    return cast(Server, request.app.state.server)


ThisServer = Annotated[Server, Depends(server_of)]


@dataclass(frozen=True)
class Admitted(Generic[A]):
    """A request that passed, and what its client may send."""

    asked: A
    allowance: Allowance


def admitted(schema: type[A]) -> Callable[[Request, ThisServer], Awaitable[Admitted[A]]]:
    """The dependency of a route that clients may use. Raises Refusal."""

    async def admit(request: Request, server: ThisServer) -> Admitted[A]:
        values, problem = await _parameters(request)
        key = str(values.get("api_key") or _bearer(request) or "")
        client = server.gate.client(key, _address(request))
        server.gate.count(client, _cost(values.get("q")))
        server.gate.check(key)
        if problem:
            raise problem
        return Admitted(checked(schema, values | {"api_key": key}), client.allowance)

    return admit


async def _parameters(request: Request) -> tuple[dict[str, Any], Refusal | None]:
    """A body that cannot be read counts against the limits too."""
    try:
        return await parameters(request), None
    except Refusal as refusal:
        return {}, refusal


def _cost(q: object) -> int:
    return len(cast(list[object], q)) if isinstance(q, list) else 1


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def require_bearer(request: Request, secret: SecretStr) -> None:
    """Raises Refusal (401) unless the request bears the secret."""
    if hashed(_bearer(request)) != hashed(secret.get_secret_value()):
        raise Refusal(401, messages.NO_BEARER, {"WWW-Authenticate": "Bearer"})


async def reviewer(request: Request, server: ThisServer) -> None:
    """The dependency of a route for reviewers. Wrong keys count against the limits. Raises Refusal."""
    if server.settings.admin_key is None:
        raise Refusal(403, messages.NO_REVIEWING)
    server.gate.count(server.gate.client(None, _address(request)), 1)
    require_bearer(request, server.settings.admin_key)


def from_anywhere(schema: type[M]) -> Callable[[Request], Awaitable[M]]:
    """The dependency that reads and checks parameters, whoever sends them."""

    async def read(request: Request) -> M:
        return checked(schema, await parameters(request))

    return read


def from_query(schema: type[M]) -> Callable[[Request], Awaitable[M]]:
    """The same of the query string alone, where the body is something else."""

    async def read(request: Request) -> M:
        return checked(schema, query_parameters(request))

    return read
