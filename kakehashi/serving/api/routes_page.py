"""The page: the files of `web/`, which ask nothing of other hosts."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

WEB = Path(__file__).parents[1] / "web"
POLICY = {  # what comes from elsewhere, or stands in the page itself, is neither loaded nor run
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

router = APIRouter(include_in_schema=False)
files = Mount("/page", StaticFiles(directory=WEB))


@router.get("/")
async def translate() -> FileResponse:
    """Where people translate."""
    return FileResponse(WEB / "index.html", headers=POLICY)


@router.get("/review")
async def review() -> FileResponse:
    """Where corrections are reviewed; what it shows needs the admin key."""
    return FileResponse(WEB / "review.html", headers=POLICY)
