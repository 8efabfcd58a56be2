"""HTTP functions and access keys.

Each expectation names its source: a page of Microsoft's documentation, a file of the host's or an extension's source
(Azure/azure-functions-host, Azure/azure-webjobs-sdk-extensions, Azure/azure-sdk-for-net), or an issue there.
"""

import contextlib
import http.client
import json
import re

import pytest

from tests.conformance.functions_host.bench import PATIENCE, Bench


def test_a_request_reaches_the_function_as_azure_delivers_it(bench: Bench) -> None:
    answer = bench.call(
        "/api/echo/7/Bob%20X?a=1&a=&a=2&empty=&code=c",
        method="POST",
        headers={"Content-Type": "text/plain", "X-Mixed": "V", "traceparent": f"00-{'a' * 32}-{'b' * 16}-01"},
        body="grüße".encode(),
    )
    seen = answer.json()
    # GrpcMessageConversionExtensions.cs, ToRpcHttp: the whole URL, header names in lower case, several query values
    # joined, empty ones left out (StringValues.cs), route values as text, the body as bytes
    assert seen["url"] == f"http://127.0.0.1:{bench.port}/api/echo/7/Bob%20X?a=1&a=&a=2&empty=&code=c"
    assert seen["method"] == "POST"
    assert seen["headers"]["x-mixed"] == "V"
    assert seen["params"] == {"a": "1,2", "code": "c"}
    assert seen["route_params"] == {"id": "7", "rest": "Bob X"}
    assert seen["body"] == "grüße"
    assert seen["function"] == "echo"
    # W3C trace context: the caller's trace goes on with a new span
    assert re.fullmatch(f"00-{'a' * 32}-(?!b{{16}})[0-9a-f]{{16}}-01", seen["trace_parent"])
    assert answer.status == 201
    assert answer.headers["X-One"] == "1"
    assert answer.headers["Content-Type"] == "application/json"


def test_a_chunked_request_arrives_without_its_body(bench: Bench) -> None:
    # ToRpcHttp reads a body only when `request.ContentLength > 0`; azure-functions-nodejs-worker#524
    connection = http.client.HTTPConnection("127.0.0.1", bench.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("POST", "/api/echo/7", iter([b"one", b"two"]), encode_chunked=True)
        assert json.loads(connection.getresponse().read())["body"] == ""


def test_several_cookies_are_set(bench: Bench) -> None:
    answer = bench.call("/api/cookies")
    assert answer.status == 204
    # From "Azure Functions Python developer guide": headers of one name are added one by one
    assert answer.headers.get_all("Set-Cookie") == ["a=1; HttpOnly; Path=/x", "b=2; Max-Age=60; Secure"]


def test_text_of_a_synchronous_function(bench: Bench) -> None:
    answer = bench.call("/api/text")
    assert (answer.status, answer.body) == (200, b"text")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize("path", ["/api/fails", "/api/nothing"])
def test_a_failure_is_500_without_details(bench: Bench, path: str) -> None:
    # "Azure Functions HTTP trigger": an unhandled exception is an empty 500; http.py of azure-functions has no
    # conversion for None
    answer = bench.call(path)
    assert (answer.status, answer.body) == (500, b"")


# ---- HTTP: routes and refusals


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/echo/x/y", b"rest x/y"),  # {id:int} does not fit, the catch-all takes it
        ("GET", "/API/Echo", b"rest -"),  # "Routing in ASP.NET Core": regardless of case; a catch-all may be empty
        # azure-functions-host#9876: routes are tried in the order of the functions' names, not by precedence
        ("GET", "/api/things/list", b"parameter list"),
    ],
)
def test_which_function_a_path_leads_to(bench: Bench, method: str, path: str, body: bytes) -> None:
    assert bench.call(path, method=method).body == body


def test_a_route_that_azure_would_never_reach_is_named_at_the_start(bench: Bench) -> None:
    expected = "Route 'api/things/list' of function 'b_literal' is hidden by route 'api/things/{name}' of function"
    assert expected in bench.log()


@pytest.mark.parametrize(
    "path",
    ["/nothing", "/echo/7", "/api/off"],  # the second lies outside of the prefix, the third is disabled
)
def test_what_is_not_there_is_404(bench: Bench, path: str) -> None:
    # From "Azure Functions HTTP trigger" and "How to disable functions in Azure Functions"
    answer = bench.call(path)
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE"])
def test_a_method_that_no_function_of_the_path_has_is_404_and_not_405(bench: Bench, method: str) -> None:
    # azure-functions-host#10098 and #11625
    answer = bench.call("/api/guarded", method=method)
    assert (answer.status, answer.body) == (404, b"")


def test_a_body_beyond_the_limit_is_413(bench: Bench) -> None:
    # From "HTTP trigger: limits", and FUNCTIONS_REQUEST_BODY_SIZE_LIMIT
    assert bench.call("/api/echo/7", method="POST", body=b"x" * 1001).status == 413
    assert bench.call("/api/echo/7", method="POST", body=b"x" * 1000).status == 201


def test_access_keys(bench: Bench) -> None:
    # "Work with access keys in Azure Functions"
    host_key = bench.keys["functionKeys"][0]["value"]
    own_key = bench.keys["functions"]["guarded"][0]["value"]
    other_key = bench.keys["functions"]["echo"][0]["value"]
    master = bench.keys["masterKey"]["value"]
    assert bench.call("/api/guarded").status == 401
    assert bench.call("/api/guarded", headers={"x-functions-key": other_key}).status == 401
    for key in (host_key, own_key, master):
        assert bench.call("/api/guarded", headers={"x-functions-key": key}).status == 200
        assert bench.call(f"/api/guarded?code={key}").status == 200
    assert bench.call("/api/vault", headers={"x-functions-key": host_key}).status == 401
    assert bench.call("/api/vault", headers={"x-functions-key": master}).status == 200
    assert not any(key in bench.log() for key in (host_key, own_key, master))
    assert (bench.state / "keys.json").stat().st_mode & 0o077 == 0
