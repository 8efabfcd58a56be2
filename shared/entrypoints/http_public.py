"""HTTP: health and the API's own description. No token, no tenant."""

import functools

import azure.functions as func

from shared.bootstrap import app
from shared.core.errors import BulkheadError
from shared.entrypoints.idempotency import Answer
from shared.entrypoints.openapi import document
from shared.entrypoints.serving import OPERATIONS, Api, answer

blueprint = func.Blueprint()  # type: ignore[no-untyped-call]
api = Api(blueprint)


@api.public("GET", "health/live")
async def health_live(_: func.HttpRequest) -> Answer:
    """Tell that the process answers."""
    return answer({"status": "ok"})


@api.public("GET", "health/ready", status=(200, 503), headers=("Retry-After",))
async def health_ready(_: func.HttpRequest) -> Answer:
    """Tell whether requests can be served: the registry answers."""
    application = app()
    try:
        # The publisher has no tenants, so no entry can be unreadable here; and asked often it is answered from memory.
        await application.registry.of_directory(application.settings.publisher_directory_id)
    except BulkheadError as error:
        return answer({"status": "unavailable", "registry": error.code}, 503, retry_after="5")
    return answer({"status": "ok", "registry": "ok"})


@api.public("GET", "openapi.json")
async def openapi(_: func.HttpRequest) -> Answer:
    """Describe the API."""
    return _description()


@functools.cache  # it costs milliseconds, and anybody may ask for it
def _description() -> Answer:
    return answer(document(OPERATIONS))
