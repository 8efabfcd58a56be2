"""HTTP requests and answers as the worker sees them.

Source: `ToRpcHttp` in the host's GrpcMessageConversionExtensions.cs, with the capabilities that the Python worker
declares (RawHttpBodyBytes, RpcHttpBodyOnly): names of headers in lower case, several values joined by a comma without
the empty ones (StringValues.cs), empty query values left out, the body as bytes and only when the request has a
Content-Length above 0. A chunked request therefore arrives without its body, as on Azure
(Azure/azure-functions-nodejs-worker#524).
"""

from typing import Any

from aiohttp import web

from infra.local.host.worker import Datum


def request_datum(request: web.BaseRequest, values: dict[str, str], body: bytes) -> Any:
    """The datum of one request with its route `values`."""
    query = {name: _joined(request.rel_url.query.getall(name)) for name in request.rel_url.query}
    url = f"{request.scheme}://{request.headers.get('Host', '')}{request.raw_path}"
    return Datum(
        {
            "method": Datum(request.method, "string"),
            "url": Datum(url, "string"),
            "headers": {name.lower(): _joined(request.headers.getall(name)) for name in request.headers},
            "query": {name: datum for name, datum in query.items() if datum.value},
            "params": {name: Datum(value, "string") for name, value in values.items()},
            "body": Datum(body, "bytes"),
        },
        "http",
    )


def response(value: Any) -> web.Response:
    """The HTTP answer for what a function returned: an http datum, or text."""
    if value.type == "string":
        return web.Response(text=value.value, headers={"Server": "Kestrel"})
    content = value.value
    answer = web.Response(status=int(content["status_code"].value), body=content["body"].value)
    for name, header in content["headers"].items():
        if name.lower() not in ("content-length", "transfer-encoding"):  # the server's own affair
            answer.headers[name] = header.value
    for cookie in content.get("cookies") or ():
        for morsel in cookie.values():
            answer.headers.add("Set-Cookie", morsel.OutputString())
    answer.headers["Server"] = "Kestrel"
    return answer


def _joined(values: list[str]) -> Any:
    return Datum(",".join(filter(None, values)), "string")


def empty(status: int) -> web.Response:
    """An answer of the host itself: Azure's host adds no body to its refusals."""
    return web.Response(status=status, headers={"Server": "Kestrel"})
