"""An application for uvicorn: says whether it leads, and notes in a file when its work begins and ends."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from fastapi import FastAPI

from leasekit import aio
from leasekit.integrations.asgi import BackgroundLeadership

_notes = Path(os.environ["NOTES"])


def _note(text: str) -> None:
    with _notes.open("a") as notes:
        notes.write(f"{text}\n")


async def _work(leadership: aio.Leadership) -> None:
    _note(f"began {os.getpid()} {leadership.token}")
    try:
        await asyncio.sleep(3600)
    finally:
        _note(f"ended {os.getpid()} {leadership.token}")


# Long enough to be kept on a busy machine, short enough to be waited for.
reports = BackgroundLeadership("reports", ttl_s=6, on_elected=_work)
app = FastAPI(lifespan=reports.lifespan)


@app.get("/role")
async def role() -> dict[str, object]:
    """Who answers, and what it is at this moment."""
    return {"pid": os.getpid(), "leading": reports.leading}
