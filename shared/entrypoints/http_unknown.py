"""HTTP: what no other function serves. A problem document in place of the platform's empty 404."""

import re

import azure.functions as func

from shared.core.errors import BulkheadError, Kind, not_found
from shared.entrypoints.idempotency import Answer
from shared.entrypoints.serving import NO_CONTENT, OPERATIONS, served

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]

_NAME = "zz_no_such_route"  # the last of all: Azure's host tries routes in the order of the functions' names


@blueprint.function_name(_NAME)
@blueprint.route(route="{*path}", auth_level=func.AuthLevel.ANONYMOUS)
async def no_such_route(req: func.HttpRequest) -> func.HttpResponse:
    """Answer 405 where another method would have been right, OPTIONS with what is, and else 404."""
    allowed = _methods(req.route_params.get("path", ""))

    async def work(_: object) -> Answer:
        if allowed and req.method == "OPTIONS":
            return NO_CONTENT
        if not allowed or req.method in allowed:  # the latter: served by the other plane's deployment
            raise not_found("route")
        raise BulkheadError(Kind.NOT_ALLOWED, "method_not_allowed", f"This route takes {', '.join(allowed)}.")

    response = await served(_NAME, work)
    if allowed and response.status_code in (204, 405):
        response.headers["Allow"] = ", ".join(allowed)
    return response


def _methods(path: str) -> list[str]:
    """What a path takes; nothing for one that is no route."""
    found = {
        operation.method
        for operation in OPERATIONS
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(operation.route)), path.strip("/"), re.IGNORECASE)
    }
    return sorted({*found, "OPTIONS", *(["HEAD"] if "GET" in found else [])}) if found else []
