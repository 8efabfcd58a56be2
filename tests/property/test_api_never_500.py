"""Whatever is sent to the API, it is answered, never with a 500: as OpenAPI tells, or with a whole problem document."""

import asyncio
import json
import re
from typing import Any, get_origin
from urllib.parse import quote

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import bootstrap
from shared.core.clock import rfc3339
from shared.entrypoints.serving import OPERATIONS, Operation
from shared.screening import candidates
from shared.screening.models import AuthorizationData, CandidateData, Report, Screening
from shared.screening.store import ScreeningStore
from tests.fakes import CONTOSO, CONTOSO_HR, CONTOSO_RETAIL, FABRIKAM_HR, PUBLISHER
from tests.world import ADMIN, OPERATE, World

IDS = {name: f"{name}_01arz3ndektsv4rrffq69g5fav" for name in ("cand", "auth", "rep", "scr", "ten")}
IN_PATHS = {
    "candidate_id": IDS["cand"], "authorization_id": IDS["auth"], "report_id": IDS["rep"], "screening_id": IDS["scr"],
    "tenant_id": IDS["ten"], "slug": "ours",
}  # fmt: skip
CONSENT = {
    "permissible_purpose": "employment", "employer_certification": True, "signed_at": "2026-01-02T03:04:05Z",
    "disclosure": {"version": "1", "sha256": "0" * 64}, "authorization": {"version": "1", "sha256": "0" * 64},
}  # fmt: skip
GOOD: dict[str, Any] = {
    **CONSENT, "first_name": "Ada", "last_name": "Ferrero", "dob": "1990-02-28", "ssn": "219-09-9998",
    "other_names": ["A B"], "address": {"country": "US"}, "name": "Ours", "candidate_id": IDS["cand"],
    "package": "essential", "screenings": ["watchlist"], "decision": "confirmed", "allowed_client_ids": [CONTOSO],
    "keys": [], "application_id": CONTOSO_RETAIL.application_id, "daemon_client_id": CONTOSO, "credential": "secret",
    "credential_name": "daemon", "vault": "https://bulkhead-kv.vault.azure.net",
}  # fmt: skip

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["", "..", "null", "%00", "a\n", "\r\nX: y", "\U0001f469\u200d\U0001f680", "x" * 300, "\udcff"]),
    st.sampled_from([*IDS.values(), "essential", "US", "1990-02-30", "219-09-9998", "AQAB", "0" * 64]),
)
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.just(10**400))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
BASE64 = st.sampled_from(["", "AQAB", "AAAA", "A" * 43, "_" * 43, "_" * 342, "x", "_" * 1400, "_" * 5000])
FIELDS = {
    "dob": st.sampled_from(["0001-01-01", "9999-12-31", "1990-02-30", "1990-02-28T00:00:00Z", "202\u0664-01-01"]),
    "signed_at": st.sampled_from([
        "2026-02-29T25:61:61Z", "2026-02-28T23:59:60Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59",
        "2026-01-01T00:00:00+99:99", "2026-01-01T00:00:00.1234567890123Z",
    ]),
    "keys": st.lists(st.fixed_dictionaries(
        {"kid": st.just("k"), "kty": st.sampled_from(["OKP", "EC", "RSA"]),
         "alg": st.sampled_from(["EdDSA", "ES256", "RS256", "PS256"])},
        optional={"crv": st.sampled_from(["Ed25519", "P-256"]), "x": BASE64, "y": BASE64, "n": BASE64, "e": BASE64},
    ), min_size=1, max_size=2),
}  # fmt: skip
RAW = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([b"", b"{", b"[" * 100_000, b'{"a":' * 50_000, b"\xef\xbb\xbf{}", b"NaN", b'{"name": "\xff"}']),
    st.sampled_from([b'{"first_name": "\\ud800"}', b'{"a": 1e999}', b'{"a": 1, "a": 2}', b"x" * 300_000]),
)
CURSORS = st.sampled_from(["cursor=%FF", "cursor=AAAA", "cursor=x!", "cursor=_w", "limit=2", "limit=0&limit=6"])
QUERIES = st.one_of(
    st.sampled_from(["limit=5", "limit=", "status=complete", "x=1"]),
    st.tuples(st.sampled_from(["limit", "cursor", "status", "candidate_id", "application_id", "x"]), TEXTS).map(
        lambda pair: f"{pair[0]}={quote(pair[1].encode(errors='replace'))}"
    ),
)
HEADERS = st.one_of(
    st.tuples(st.sampled_from(["Content_Type", "Content_Encoding", "If_Match", "Bulkhead_Tenant"]), TEXTS),
    st.tuples(st.just("If_Match"), st.sampled_from(['"etag-1"', 'W/"x"', '"a", "b"', '"\udcff"'])),
    st.tuples(st.just("Bulkhead_Tenant"), st.sampled_from([IDS["ten"], FABRIKAM_HR.tenant_id])),
    st.tuples(st.just("Idempotency_Key"), TEXTS),
    st.tuples(st.just("token"), st.one_of(TEXTS, st.text("a.\udcff", max_size=5))),
)
PARTS = ("method", "path", "query", "header", "field", "field", "body")


@st.composite
def requests(draw: st.DrawFn) -> tuple[Operation, dict[str, Any]]:
    """A request that is right but for a part or two, and the operation that it was made for."""
    operation: Operation = draw(st.sampled_from(OPERATIONS))
    publisher = operation.audience == "publisher"
    names = operation.body.__struct_fields__ if operation.body else ()
    path, values = operation.route, dict(IN_PATHS)
    body = {name: GOOD[name] for name in names if name in GOOD}
    request: dict[str, Any] = {
        "method": operation.method, "directory": PUBLISHER if publisher else CONTOSO,
        "roles": OPERATE if publisher else ADMIN, "If_Match": "*", "Content_Type": "application/json",
    }  # fmt: skip
    query, raw = "", None
    for odd in draw(st.lists(st.sampled_from(PARTS), max_size=3)):
        match odd:
            case "method":
                request["method"] = draw(st.sampled_from(["HEAD", "OPTIONS", "DELETE", "POST", "PATCH", "TRACE"]))
            case "path":
                text = draw(TEXTS).encode(errors="replace")
                values[draw(st.sampled_from(sorted(IN_PATHS)))] = quote(text, safe="") or "x"
            case "query":
                query = draw(st.one_of(CURSORS, QUERIES) if "cursor" in operation.query else QUERIES)
            case "header":
                name, value = draw(HEADERS)
                request[name] = value
            case "field" if names:
                name = draw(st.sampled_from(names))
                body[name] = draw(st.one_of(FIELDS[name], VALUES) if name in FIELDS else VALUES)
            case _:
                raw = draw(st.one_of(RAW, VALUES.map(lambda value: json.dumps(value).encode())))
    path = re.sub(r"{(\w+)}", lambda found: values[found[1]], path)
    return operation, request | {"path": f"{path}?{query}", "raw": json.dumps(body).encode() if raw is None else raw}


async def peopled() -> World:
    """A world in which each of IDS is there."""
    world = World()
    await world.add(msgspec.structs.replace(CONTOSO_HR.tenant(), id=IDS["ten"]), FABRIKAM_HR.tenant())
    store = ScreeningStore(world.account(CONTOSO_HR))
    now = world.clock.now()
    await candidates.create(store, CandidateData(first_name="Ada", last_name="Ferrero"), IDS["cand"], now)
    consent = msgspec.convert(CONSENT, AuthorizationData)
    await candidates.authorize(store, IDS["cand"], IDS["auth"], consent, "somebody", now)
    screening = Screening(id=IDS["scr"], type="watchlist", review_required=True, created_at=rfc3339(now))
    await store.add_report(Report(
        id=IDS["rep"], candidate_id=IDS["cand"], authorization_id=IDS["auth"], package="watchlist",
        screenings=(screening,), source="api", created_at=rfc3339(now), updated_at=rfc3339(now),
    ))  # fmt: skip
    bootstrap._app = world.app
    return world


async def answered(operation: Operation, request: dict[str, Any]) -> None:
    world = await peopled()
    for _ in range(2):  # the second finds what the first may have made
        answer = await world.call(**request)
        assert answer.status < 500, answer.text
        if answer.status >= 400:
            assert answer.media_type == "application/problem+json"
            assert answer.json["status"] == answer.status
            assert answer.code not in ("", "internal_error")
        elif request["method"] == operation.method:
            assert answer.status in operation.status
            if operation.result is not None:
                of_list = get_origin(operation.result) is list
                msgspec.convert(answer.json["data"] if of_list else answer.json, operation.result)


@given(made=requests())
@settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_no_input_is_our_fault(made: tuple[Operation, dict[str, Any]]) -> None:
    try:
        asyncio.run(answered(*made))
    finally:
        bootstrap._app = None
