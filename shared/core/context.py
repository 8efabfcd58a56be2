"""The invocation that is running: its correlation id goes out with every request, so that it can be followed."""

from contextvars import ContextVar

from shared.core.ids import RequestId

REQUEST_ID: ContextVar[RequestId] = ContextVar("request_id", default=RequestId(""))  # noqa: B039 - a NewType of str
