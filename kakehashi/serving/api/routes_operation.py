"""For who runs a server: /health, /ready, /metrics."""

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response

from kakehashi.serving.api import messages
from kakehashi.serving.api.context import ThisServer, require_bearer
from kakehashi.serving.api.openapi import refusals
from kakehashi.serving.api.refusals import Refusal, busy
from kakehashi.serving.api.schemas import Health

router = APIRouter()


@router.get("/health", response_model=Health)
async def health() -> dict[str, str]:
    """The server runs."""
    return {"status": "ok"}


@router.get("/ready", response_model=Health, responses=refusals())
async def ready(server: ThisServer) -> dict[str, str]:
    """The server takes work: its engine has workers and accepts texts."""
    status = server.engine.status()
    if not status.accepting or not status.workers:
        raise busy(1.0)
    return {"status": "ready"}


@router.get("/metrics", response_class=Response, responses=refusals(401))
async def metrics(request: Request, server: ThisServer) -> Response:
    """Figures for Prometheus."""
    if not server.settings.metrics.enabled:
        raise Refusal(404, messages.NO_METRICS)
    if server.settings.metrics.token is not None:
        require_bearer(request, server.settings.metrics.token)
    return Response(server.metrics.render(), media_type=CONTENT_TYPE_LATEST)
