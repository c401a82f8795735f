"""The application: routes, what surrounds them, errors as JSON. Another part of the API is a router in `ROUTERS`."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from kakehashi.serving.api import (
    messages,
    routes_corrections,
    routes_files,
    routes_operation,
    routes_page,
    routes_translate,
)
from kakehashi.serving.api.codes import Codes
from kakehashi.serving.api.context import Server
from kakehashi.serving.api.limits import Gate
from kakehashi.serving.api.logs import logger
from kakehashi.serving.api.metrics import Metrics
from kakehashi.serving.api.middleware import Surroundings
from kakehashi.serving.api.refusals import Refusal, busy
from kakehashi.serving.api.settings import ServerSettings
from kakehashi.serving.api.shelf import Shelf
from kakehashi.serving.corrections.memory import Memory
from kakehashi.serving.engine.engine import Engine

ROUTERS = (
    routes_translate.router,
    routes_files.router,
    routes_corrections.router,
    routes_corrections.review,
    routes_operation.router,
    routes_page.router,
)
AGAIN = 1.0  # seconds after which a database may be there again


def create_app(engine: Engine, memory: Memory, settings: ServerSettings) -> FastAPI:
    """An ASGI application over an engine that has begun and a memory that is open; it closes neither."""
    app = FastAPIOffline(  # its /docs fetches nothing from other hosts
        title="Kakehashi",
        description="Translation by models of one's own, behind LibreTranslate's API. Parameters stand in JSON, in a "
        "form or in the query string.",
        openapi_url="/spec",
        docs_url="/docs",
        redoc_url=None,
    )
    metrics = Metrics(engine)
    gate, codes = Gate(settings.limits, settings.access), Codes(engine.languages())
    app.state.server = Server(engine, memory, settings, gate, metrics, codes, Shelf(settings.files))
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes.append(routes_page.files)
    app.add_middleware(Surroundings, engine=engine, metrics=metrics, body=settings.limits.body)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(OperationalError, _no_database)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(RequestValidationError, _not_found)
    return app


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refusal)
    return error.response(request)


async def _no_database(request: Request, error: Exception) -> JSONResponse:
    """A database that is locked, full or away."""
    logger.error("no database", exc_info=error)
    return await _refused(request, busy(AGAIN))


async def _no_route(request: Request, error: Exception) -> JSONResponse:
    """404 and 405, with the methods that there are."""
    assert isinstance(error, HTTPException)
    message = messages.NO_METHOD if error.status_code == 405 else messages.NOT_FOUND
    return Refusal(error.status_code, message, error.headers).response(request)


async def _not_found(request: Request, error: Exception) -> JSONResponse:
    """A part of a path that is not what the route takes."""
    return Refusal(404, messages.NOT_FOUND).response(request)
