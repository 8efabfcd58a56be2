"""Microsoft Graph: its host is played so that calls are journalled and refused; none is implemented yet."""

from infra.local.standin.wire import Answer, Call, Handler, ServiceName, fault_message, retry_after_header


class Graph:
    """Implements `HttpService` for graph.microsoft.com."""

    name: ServiceName = "graph"
    operations: frozenset[str] = frozenset()

    def route(self, call: Call) -> Handler | None:
        """No call is implemented."""
        call.target = call.path
        return None

    def error(self, status: int, retry_after: float | None) -> Answer:
        """Graph's error body. Source: learn.microsoft.com/graph/errors."""
        codes = {429: "tooManyRequests", 501: "notImplemented", 503: "serviceNotAvailable"}
        body = {"error": {"code": codes.get(status, "generalException"), "message": fault_message(status)}}
        return Answer(status, body, retry_after_header(retry_after))
