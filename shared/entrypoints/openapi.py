"""The OpenAPI 3.1 document, made from what the endpoints declare."""

import re
from collections.abc import Sequence
from typing import Any, get_args, get_origin

import msgspec

from shared.core.policy import PUBLISHER_ROLES, TENANT_ROLES
from shared.entrypoints.paging import DEFAULT_LIMIT, LARGEST_LIMIT
from shared.entrypoints.reading import allowed_values
from shared.entrypoints.serving import Operation
from shared.screening.models import ReportStatus

_REF = "#/components/schemas/{name}"
_IF_MATCH = {"name": "If-Match", "in": "header", "required": True, "schema": {"type": "string"}}
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key", "in": "header", "required": False, "schema": {"type": "string", "maxLength": 255},
    "description": "The same key and body give the first answer again, for 24 hours.",
}  # fmt: skip
_TENANT = {
    "name": "Bulkhead-Tenant", "in": "header", "required": False, "schema": {"type": "string"},
    "description": "Chooses among several tenants of the token's directory.",
}  # fmt: skip
_PARAMETERS: dict[str, dict[str, Any]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": LARGEST_LIMIT, "default": DEFAULT_LIMIT},
    "status": {"type": "string", "enum": list(allowed_values(ReportStatus))},
}
_HEADERS = {
    "X-Request-Id": "Names this request in logs and in the tenant's access log.",
    "ETag": "The object's state, for If-Match.",
    "Location": "Where what was made is found.",
    "Retry-After": "Seconds after which to ask again.",
}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
        "detail": {"type": "string"}, "instance": {"type": "string"},
        "errors": {"type": "array", "items": {
            "type": "object", "required": ["pointer", "detail"],
            "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
        }},
    },
}  # fmt: skip


def document(operations: Sequence[Operation]) -> dict[str, Any]:
    """The description of `operations`."""
    models = {model for one in operations for model in (one.body, _item(one.result)) if model is not None}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(f"/{operation.route}", {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bulkhead", "version": "1",
            "description": "Background checks. Errors are RFC 9457 problem documents. Times are RFC 3339, UTC.",
        },
        "servers": [{"url": "/api"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": {**schemas, "Problem": _PROBLEM},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }  # fmt: skip


def _operation(operation: Operation) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", operation.route)
    ]
    for name in operation.query:
        schema = _PARAMETERS.get(name, {"type": "string"})
        parameters.append({"name": name, "in": "query", "required": False, "schema": schema})
    if operation.audience == "tenant":
        parameters.append(_TENANT)
    if operation.once:
        parameters.append(_IDEMPOTENCY_KEY)
    if operation.method in ("PUT", "PATCH"):
        parameters.append(_IF_MATCH)
    success: dict[str, Any] = {
        "description": operation.summary, "headers": _headers("X-Request-Id", *operation.headers)
    }  # fmt: skip
    if (shown := _schema(operation.result)) is not None:
        success["content"] = {"application/json": {"schema": shown}}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            **{str(status): success for status in operation.status},
            "default": {
                "description": "An error.",
                "headers": _headers("X-Request-Id", "Retry-After"),
                "content": {"application/problem+json": {"schema": {"$ref": _REF.format(name="Problem")}}},
            },
        },
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REF.format(name=operation.body.__name__)}}},
        }
    if operation.audience == "public":
        described["security"] = []
    elif operation.action is not None:
        roles = TENANT_ROLES.get(operation.action) or PUBLISHER_ROLES.get(operation.action) or frozenset()
        described["description"] = f"Needs one of the roles {', '.join(sorted(roles))}."
    return described


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in names}


def _item(result: Any) -> type | None:
    return get_args(result)[0] if get_origin(result) is list else result  # type: ignore[no-any-return]


def _schema(result: Any) -> dict[str, Any] | None:
    item = _item(result)
    if item is None:
        return None
    shown: dict[str, Any] = {"$ref": _REF.format(name=item.__name__)}
    if get_origin(result) is not list:
        return shown
    return {
        "type": "object",
        "required": ["data", "has_more", "next"],
        "properties": {
            "data": {"type": "array", "items": shown},
            "has_more": {"type": "boolean"},
            "next": {"type": ["string", "null"]},
        },
    }
