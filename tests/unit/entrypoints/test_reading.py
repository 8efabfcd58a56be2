"""Bodies into models. Nothing of the input's values comes back in an error: canaries look for it."""

import json
from typing import Any

import azure.functions as func
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.errors import BulkheadError, Kind
from shared.core.ids import RequestId
from shared.entrypoints import reading
from shared.entrypoints.problems import problem
from shared.screening.models import (
    AuthorizationData,
    CandidateData,
    CandidatePatch,
    PackageData,
    ReportOrder,
    ReportStatus,
    ReviewDecision,
)
from shared.tenants.models import KeySet, Registration, TenantPatch

BODIES = [
    AuthorizationData, CandidateData, CandidatePatch, PackageData, ReportOrder, ReviewDecision, KeySet, Registration,
    TenantPatch,
]  # fmt: skip
GOOD = {"first_name": "Ada", "last_name": "Ferrero"}


def request(body: Any = None, *, raw: bytes | None = None, media_type: Any = "application/json", **headers: Any) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if media_type is not None:
        named["Content-Type"] = media_type
    content = raw if raw is not None else json.dumps(body).encode()
    return func.HttpRequest("POST", "https://x.example/api/candidates", headers=named, body=content)


def refused(call: Any, *arguments: Any) -> Any:
    with pytest.raises(BulkheadError) as caught:
        call(*arguments)
    return caught.value


def faults(body: Any, model: Any = CandidateData) -> Any:
    error = refused(reading.body, request(body), model)
    assert (error.kind, error.code) == (Kind.UNPROCESSABLE, "validation_failed")
    return {field.pointer: field.detail for field in error.fields}


# --- what a request is ---


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", "application/merge-patch+json"],
)
def test_json_is_read(media_type: Any) -> None:
    assert reading.body(request(GOOD, media_type=media_type), CandidateData).first_name == "Ada"


@pytest.mark.parametrize(
    "media_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"]
)
def test_other_media_types_are_refused(media_type: Any) -> None:
    error = refused(reading.body, request(GOOD, media_type=media_type), CandidateData)
    assert error.kind is Kind.UNSUPPORTED_MEDIA_TYPE


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"nope", b'{"a":}', b"\xff\xfe", b'{"first_name":"\xff"}', b"{} {}", b"[" * 100_000, b'{"a":NaN}',
        b'{"a":"\\ud800"}', b'{"a":' * 50_000,
    ],
)  # fmt: skip
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    error = refused(reading.body, request(raw=raw), CandidateData)
    assert (error.kind, error.code) == (Kind.INVALID, "malformed_json")


def test_a_body_may_be_large_but_not_too_large() -> None:
    exact = json.dumps({"x": ""}).encode()
    padded = exact[:-2] + b"x" * (reading.LARGEST_BODY - len(exact)) + exact[-2:]
    assert len(padded) == reading.LARGEST_BODY
    assert refused(reading.body, request(raw=padded), CandidateData).kind is Kind.UNPROCESSABLE
    error = refused(reading.body, request(raw=padded + b" "), CandidateData)
    assert (error.kind, error.code) == (Kind.TOO_LARGE, "body_too_large")


@pytest.mark.parametrize("body", [None, [], "x", 5, True, [GOOD]])
def test_a_body_is_an_object(body: Any) -> None:
    assert faults(body) == {"": "Expected an object."}


# --- every fault is named ---


def test_all_faults_are_named_at_once() -> None:
    found = faults({
        "first_name": "", "dob": "1990-02-30", "ssn": "12", "gender": "x", "nationalities": ["US", "usa"],
        "address": {"country": "Italy"}, "email": 5,
    })  # fmt: skip
    assert set(found) == {
        "/first_name", "/last_name", "/dob", "/ssn", "/gender", "/nationalities/1", "/address/country", "/email",
    }  # fmt: skip
    assert found["/last_name"] == "This field is required."


def test_unknown_fields_are_refused_and_the_known_are_named() -> None:
    found = faults(GOOD | {"canary": 1})
    assert list(found) == [""]
    assert "canary" not in found[""]
    assert "first_name" in found[""]
    found = faults(GOOD | {"address": {"canary": 1, "country": "usa", "city": 5}})
    assert list(found) == ["/address/city", "/address/country", "/address"]
    assert found["/address"].endswith("Known are: city, country, state, street, zipcode.")


def test_faults_of_items_have_their_place() -> None:
    key = {"kid": "k", "kty": "OKP", "alg": "EdDSA"}
    assert set(faults({"keys": [key, key | {"alg": "HS256"}, key | {"kid": ""}]}, KeySet)) == {
        "/keys/1/alg", "/keys/2/kid",
    }  # fmt: skip
    assert set(faults({"keys": [key, {"kty": "OKP", "alg": "EdDSA"}]}, KeySet)) == {"/keys/1/kid"}
    assert set(faults({"keys": [key, 5, None]}, KeySet)) == {"/keys/1", "/keys/2"}
    assert set(faults({"keys": key}, KeySet)) == set(faults({"keys": [key] * 21}, KeySet)) == {"/keys"}
    assert len(faults({"keys": [{}] * 50_000}, KeySet)) == 300, "no more than of the first hundred are told"
    assert set(faults(GOOD | {"other_names": ["", 5, "Ada", "x" * 101]})) == {
        "/other_names/0", "/other_names/1", "/other_names/3",
    }  # fmt: skip
    assert set(faults({"allowed_client_ids": ["x"]}, TenantPatch)) == {"/allowed_client_ids/0"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ssn", "219-09-9998\n"), ("ssn", "\uff12\uff11\uff19-09-9998"), ("ssn", " 219-09-9998"),
        ("nationalities", ["US\n"]),
        ("email", "a@example.com\n"), ("email", "a@b@c.d"), ("email", "a b@example.com"), ("phone", "+1 555 0100\n"),
        ("phone", "٣٣٣٣٣٣٣"), ("first_name", "x" * 101), ("other_names", ["x"] * 21), ("custom_id", "x" * 256),
    ],
)  # fmt: skip
def test_texts_have_their_form_from_end_to_end(field: Any, value: Any) -> None:
    assert [pointer.split("/")[1] for pointer in faults(GOOD | {field: value})] == [field]


def test_a_patch_tells_absent_from_null() -> None:
    patch = reading.body(request({"middle_name": None}), CandidatePatch)
    assert patch.middle_name is None
    assert patch.last_name is msgspec.UNSET
    assert set(faults({"first_name": None}, CandidatePatch)) == {"/first_name"}


# --- nothing of the input comes back ---

CANARY = "Zq7canary"
VALUES = st.recursive(
    st.one_of(
        st.text(max_size=20).map(lambda text: CANARY + text),
        st.text(max_size=20).map(lambda text: text + CANARY),
        st.sampled_from(
            [f"{CANARY} - at `$.x`", f"`{CANARY}`", f"Expected `{CANARY}`", f" - at `$.{CANARY}`", f"{CANARY}\n"]
        ),
        st.integers().map(lambda number: 770_077_007_700 + abs(number)),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.none(),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([CANARY, "x", "$"]), inner, max_size=3),
    max_leaves=6,
)


def names(model: Any) -> Any:
    return [field.encode_name for field in msgspec.structs.fields(model)]


@st.composite
def odd_bodies(draw: Any) -> Any:
    model = draw(st.sampled_from(BODIES))
    body = draw(st.dictionaries(st.sampled_from([*names(model), CANARY, f"{CANARY}`", ""]), VALUES, max_size=6))
    nested = draw(st.sampled_from(["address", "disclosure", "keys"]))
    if nested in names(model):
        inner = draw(
            st.dictionaries(st.sampled_from(["country", "city", "sha256", "kid", "alg", CANARY]), VALUES, max_size=3)
        )
        body[nested] = [inner] if nested == "keys" else inner
    return model, body


KNOWN = {name for each in BODIES for name in names(each)} | {
    "street", "city", "state", "zipcode", "country", "version", "sha256", "kid", "kty", "alg", "crv", "x", "y", "n",
    "e", "use",
}  # fmt: skip


def refusal(body: Any, model: Any) -> Any:
    try:
        reading.body(request(body), model)
    except BulkheadError as error:
        return error
    return None


@given(odd_bodies())
def test_no_value_and_no_unknown_name_is_echoed(odd: Any) -> None:
    model, body = odd
    told = refusal(body, model)
    if told is None:
        return
    answer = problem(told, RequestId("req_1")).get_body().decode()
    assert CANARY not in answer + str(told)
    assert "77007700" not in answer + str(told)
    for field in told.fields:
        assert all(step in KNOWN or step.isdigit() for step in field.pointer.split("/")[1:])


def test_what_is_expected_is_told_in_words_of_json() -> None:
    found = faults({
        "first_name": " \t", "last_name": "a\x00b", "ssn": "1", "dob": "x", "email": 5, "address": [],
        "other_names": {},
    })  # fmt: skip
    assert found == {
        "/first_name": "Expected text that is not blank, without control characters.",
        "/last_name": "Expected text that is not blank, without control characters.",
        "/ssn": "Expected text of the form [0-9]{3}-?[0-9]{2}-?[0-9]{4}.",
        "/dob": "Expected a date, YYYY-MM-DD.",
        "/email": "Expected 'string | null', got 'integer'.",
        "/address": "Expected 'object | null', got 'array'.",
        "/other_names": "Expected 'array', got 'object'.",
    }


def test_names_of_all_scripts_are_taken() -> None:
    for name in (
        "Zoë",
        "O'Brien-Núñez",
        "王小明",
        "مريم",
        "J. R. R.",
        "\u0e19\u0e34\u0e14",
        "\U0001f469\u200d\U0001f680",
    ):
        assert reading.parse(GOOD | {"first_name": name}, CandidateData).first_name == name


def test_a_compressed_body_is_refused() -> None:
    assert reading.body(request(GOOD, Content_Encoding="identity"), CandidateData).first_name == "Ada"
    error = refused(reading.body, request(raw=b"\x1f\x8b", Content_Encoding="gzip"), CandidateData)
    assert (error.kind, error.code) == (Kind.UNSUPPORTED_MEDIA_TYPE, "encoded")


def test_a_body_that_did_not_come_is_told_from_one_that_is_no_json() -> None:
    assert "Content-Length" in refused(reading.body, request(raw=b""), CandidateData).detail


# --- headers and parameters ---


def test_if_match_is_required() -> None:
    assert reading.if_match(request({}, If_Match=' "etag" ')) == '"etag"'
    for headers in ({}, {"If_Match": ""}, {"If_Match": "  "}):
        assert refused(reading.if_match, request({}, **headers)).kind is Kind.PRECONDITION_REQUIRED


@pytest.mark.parametrize("sent", ["*", '""', '"a-b"', 'W/"x"', '"a,b"'])
def test_an_etag_is_taken_as_it_was_given(sent: Any) -> None:
    assert reading.if_match(request({}, If_Match=sent)) == sent


@pytest.mark.parametrize("sent", ["abc", '"a', '"a", "b"', '"a"b"', '"ä"', '"\udcff"', '"a\x00"', "w/", "**"])
def test_what_is_no_etag_is_refused(sent: Any) -> None:
    error = refused(reading.if_match, request({}, If_Match=sent))
    assert (error.kind, error.code) == (Kind.INVALID, "invalid_if_match")


def test_a_parameter_that_would_have_no_effect_is_refused() -> None:
    asked = func.HttpRequest("GET", "https://x/", params={"limit": "5", "canary": "1"}, body=b"")
    reading.require_known_parameters(asked, ("limit", "canary"))
    error = refused(reading.require_known_parameters, asked, ("limit", "cursor"))
    assert (error.kind, error.code) == (Kind.INVALID, "unknown_parameter")
    assert "limit, cursor" in error.detail
    assert "canary" not in error.detail
    assert "None is known" in refused(reading.require_known_parameters, asked, ()).detail


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (None, None), ("abc", "abc"), ('"abc"', "abc"), (" abc ", "abc"), ("x" * 255, "x" * 255), ("a b", "a b"),
        ('"', '"'), ('"x', '"x'),
    ],
)  # fmt: skip
def test_an_idempotency_key_bare_or_quoted(sent: Any, read: Any) -> None:
    headers = {} if sent is None else {"Idempotency_Key": sent}
    assert reading.idempotency_key(request({}, **headers)) == read


@pytest.mark.parametrize("sent", ["", " ", '""', "x" * 256, "ä", "a\tb", "a\x00"])
def test_other_idempotency_keys_are_refused(sent: Any) -> None:
    error = refused(reading.idempotency_key, request({}, Idempotency_Key=sent))
    assert (error.kind, error.code) == (Kind.INVALID, "invalid_idempotency_key")


def test_the_values_that_a_status_may_have() -> None:
    assert reading.allowed_values(ReportStatus) == (
        "pending", "suspended", "paused", "complete", "dispute", "canceled",
    )  # fmt: skip
