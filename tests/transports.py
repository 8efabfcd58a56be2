"""A fake transport for azure-core's pipelines: the SDKs run as they are, only the wire is missing."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest import HttpRequest
from azure.core.rest._http_response_impl_async import AsyncHttpResponseImpl


class _Wire:
    async def close(self) -> None:
        """Nothing to close."""


def response(
    request: HttpRequest, status: int, body: Any = None, headers: Mapping[str, str] | None = None
) -> AsyncHttpResponseImpl:
    """An answer to `request`: `body` is JSON unless it is bytes."""
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    media_type = "text/plain" if isinstance(body, bytes) else "application/json"
    made = AsyncHttpResponseImpl(
        request=request,
        internal_response=_Wire(),
        status_code=status,
        reason="",
        content_type=media_type,
        headers={"Content-Type": media_type, **(headers or {})},
        stream_download_generator=None,
    )
    made._content = content
    return made


class FakeTransport(AsyncHttpTransport[HttpRequest, AsyncHttpResponseImpl]):
    """Answers each request by `answer`, which gives (status, body, headers) or raises. Keeps the requests."""

    def __init__(self, answer: Callable[[HttpRequest], tuple[Any, ...]]) -> None:
        self._answer = answer
        self.requests: list[HttpRequest] = []
        self.slept: list[float] = []

    async def send(self, request: HttpRequest, **_: Any) -> AsyncHttpResponseImpl:
        self.requests.append(request)
        return response(request, *self._answer(request))

    async def sleep(self, duration: float) -> None:
        self.slept.append(duration)

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""


class UnhurriedTransport(FakeTransport):
    """One whose pauses do not end, as good as those of a long Retry-After."""

    async def sleep(self, duration: float) -> None:
        self.slept.append(duration)
        await asyncio.Event().wait()
