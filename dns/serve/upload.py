"""Reads the image of a request into memory, within limits of bytes and of time. Nothing is written to a disk."""

import asyncio

from fastapi import Request
from starlette.requests import ClientDisconnect

from dns.serve.refused import Refused

UPLOAD_S = 10.0  # from the first byte of the body to its last


async def read(request: Request, most_bytes: int) -> bytes:
    """Return the body. Raises Refused where it is empty, a form, too large or too slow."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise Refused(415, "the body is a form. Send the image alone: curl --data-binary @photo.jpg")
    try:
        content = await asyncio.wait_for(_counted(request, most_bytes), UPLOAD_S)
    except asyncio.TimeoutError:
        told = f"the image did not come within {UPLOAD_S:g} s. Send it again"
        raise Refused(408, told, {"Connection": "close"}) from None
    except ClientDisconnect:
        raise Refused(400, "the client went away") from None  # nobody reads it; metrics count it
    if not content:
        raise Refused(400, "the body is empty. Send an image: curl --data-binary @photo.jpg")
    return content


async def _counted(request: Request, most_bytes: int) -> bytes:
    """Read the body. Its bytes are counted as they come, because Content-Length may be missing or wrong."""
    declared = request.headers.get("content-length", "")
    parts, size = [], int(declared) if declared.isdecimal() else 0
    too_large = Refused(413, f"the image is larger than {most_bytes:,} bytes. Send a smaller one, or its crop")
    if size > most_bytes:
        raise too_large
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most_bytes:
            raise too_large
        parts.append(part)
    return b"".join(parts)
