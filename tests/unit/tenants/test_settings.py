import asyncio
import json
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from shared.core.errors import BulkheadError, Kind
from shared.core.ids import TenantId, new_id
from shared.tenants.models import KeySet, SigningKey, TenantPatch
from shared.tenants.registry import Registry
from shared.tenants.settings import TenantSettings
from tests.fakes import CONTOSO_HR, START, ManualClock, registry_documents, rsa_key

CLIENT = "C11E0000-0000-4000-8000-00000000000A"


@pytest.fixture
def documents() -> Any:
    return registry_documents()


@pytest.fixture
async def registry(documents: Any) -> Any:
    made = Registry(documents, ManualClock())
    await made.add(CONTOSO_HR.tenant())
    return made


@pytest.fixture
def settings(registry: Registry) -> Any:
    return TenantSettings(registry)


def jwk(public_key: Any, kid: str, alg: Any) -> Any:
    algorithm = jwt.get_algorithm_by_name(alg)
    fields = json.loads(algorithm.to_jwk(public_key))
    fields.pop("key_ops", None)
    return SigningKey(kid=kid, alg=alg, **fields)


async def test_locking_and_unlocking(settings: Any, registry: Registry) -> None:
    stored = await settings.set_status(CONTOSO_HR.tenant_id, "locked", START)
    assert stored.tenant.status == "locked"
    assert stored.tenant.updated_at == "2026-11-24T08:00:00.000Z"
    assert (await registry.get(CONTOSO_HR.tenant_id)).status == "locked"
    stored = await settings.set_status(CONTOSO_HR.tenant_id, "active", START)
    assert (await registry.read(CONTOSO_HR.tenant_id)) == stored
    assert stored.tenant.status == "active"


async def test_the_same_status_again_writes_nothing(settings: Any, documents: Any) -> None:
    before = await settings.set_status(CONTOSO_HR.tenant_id, "locked", START)
    documents.calls.clear()
    assert await settings.set_status(CONTOSO_HR.tenant_id, "locked", START) == before
    assert [operation for operation, _, _ in documents.calls] == ["read"]


async def test_an_unknown_tenant_cannot_be_locked(settings: Any) -> None:
    with pytest.raises(BulkheadError) as caught:
        await settings.set_status(TenantId(new_id("ten", START)), "locked", START)
    assert caught.value.kind is Kind.NOT_FOUND


async def test_the_emergency_brake_works_while_others_change_the_tenant(settings: Any, registry: Registry) -> None:
    """Whoever locks names no state, so a change at the same moment must not fail the lock."""
    stored = await registry.read(CONTOSO_HR.tenant_id)
    locking = asyncio.create_task(settings.set_status(CONTOSO_HR.tenant_id, "locked", START))
    await asyncio.sleep(0)  # it is reading
    await registry.replace(msgspec.structs.replace(stored.tenant, name="Renamed"), stored.etag)
    locked = (await locking).tenant
    assert (locked.status, locked.name) == ("locked", "Renamed")


async def test_endless_changes_by_others_end_in_an_error(settings: Any, documents: Any) -> None:
    documents.steals = 100
    with pytest.raises(BulkheadError) as caught:
        await settings.set_status(CONTOSO_HR.tenant_id, "locked", START)
    assert (caught.value.kind, caught.value.code) == (Kind.UNAVAILABLE, "busy")


async def test_a_registry_that_does_not_answer_is_told(settings: Any, documents: Any) -> None:
    documents.failures += [BulkheadError(Kind.UNAVAILABLE, "account_unavailable", "No.")]
    with pytest.raises(BulkheadError, match="account_unavailable"):
        await settings.set_status(CONTOSO_HR.tenant_id, "locked", START)


async def test_a_patch_changes_what_it_names(settings: Any, registry: Registry) -> None:
    stored = await registry.read(CONTOSO_HR.tenant_id)
    patched = await settings.patch(CONTOSO_HR.tenant_id, TenantPatch(allowed_client_ids=(CLIENT,)), stored.etag, START)
    assert patched.tenant.allowed_client_ids == (CLIENT.lower(),)
    assert patched.etag != stored.etag
    unchanged = await settings.patch(CONTOSO_HR.tenant_id, TenantPatch(), patched.etag, START)
    assert unchanged.tenant.allowed_client_ids == (CLIENT.lower(),)


async def test_a_patch_of_whatever_there_is_comes_after_changes_of_others(settings: Any, registry: Registry) -> None:
    patch = TenantPatch(allowed_client_ids=(CLIENT,))
    await asyncio.gather(
        settings.set_status(CONTOSO_HR.tenant_id, "locked", START),
        settings.patch(CONTOSO_HR.tenant_id, patch, "*", START),
    )
    stored = await registry.read(CONTOSO_HR.tenant_id)
    assert (stored.tenant.status, stored.tenant.allowed_client_ids) == ("locked", (CLIENT.lower(),))


async def test_a_patch_of_an_old_state_is_refused(settings: Any, registry: Registry) -> None:
    stored = await registry.read(CONTOSO_HR.tenant_id)
    await settings.set_status(CONTOSO_HR.tenant_id, "locked", START)
    with pytest.raises(BulkheadError) as caught:
        await settings.patch(CONTOSO_HR.tenant_id, TenantPatch(allowed_client_ids=()), stored.etag, START)
    assert caught.value.kind is Kind.PRECONDITION_FAILED
    assert (await registry.read(CONTOSO_HR.tenant_id)).tenant.status == "locked"


GOOD_KEYS = (
    jwk(ed25519.Ed25519PrivateKey.generate().public_key(), "ed", "EdDSA"),
    jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), "ec", "ES256"),
    jwk(rsa_key("hr").public_key(), "rsa", "RS256"),
    jwk(rsa_key("hr").public_key(), "pss", "PS256"),
)


async def test_signing_keys_are_replaced_as_a_whole(settings: Any, registry: Registry) -> None:
    stored = await registry.read(CONTOSO_HR.tenant_id)
    first = await settings.set_signing_keys(CONTOSO_HR.tenant_id, KeySet(keys=GOOD_KEYS), stored.etag, START)
    assert first.tenant.signing_keys == GOOD_KEYS
    second = await settings.set_signing_keys(CONTOSO_HR.tenant_id, KeySet(keys=GOOD_KEYS[:1]), None, START)
    assert second.tenant.signing_keys == GOOD_KEYS[:1]
    with pytest.raises(BulkheadError) as caught:
        await settings.set_signing_keys(CONTOSO_HR.tenant_id, KeySet(keys=()), first.etag, START)
    assert caught.value.kind is Kind.PRECONDITION_FAILED


def bad(number: Any, **changes: Any) -> Any:
    return msgspec.structs.replace(GOOD_KEYS[number], kid="bad", **changes)


SHORT = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - refused is what is tested


@pytest.mark.parametrize(
    "key",
    [
        bad(0, x=None),
        bad(0, x="AAAA"),
        bad(0, kty="EC"),
        bad(0, crv="P-256"),
        bad(0, crv=None),
        bad(0, alg="ES256"),
        bad(1, y=None),
        bad(1, x=GOOD_KEYS[1].y),  # not a point of the curve
        bad(1, crv="Ed25519"),
        bad(1, alg="RS256"),
        bad(2, n=None),
        bad(2, e="AA"),
        bad(2, n="!!"),
        bad(2, alg="EdDSA"),
        bad(2, crv="P-256"),
        jwk(SHORT.public_key(), "bad", "RS256"),
    ],
)
async def test_what_is_no_key_of_its_algorithm_is_refused(settings: Any, registry: Registry, key: Any) -> None:
    with pytest.raises(BulkheadError) as caught:
        await settings.set_signing_keys(CONTOSO_HR.tenant_id, KeySet(keys=(GOOD_KEYS[0], key)), None, START)
    assert caught.value.kind is Kind.UNPROCESSABLE
    assert [field.pointer for field in caught.value.fields] == ["/keys/1"]
    assert (await registry.read(CONTOSO_HR.tenant_id)).tenant.signing_keys == ()


async def test_each_key_needs_a_name_of_its_own(settings: Any) -> None:
    twice = KeySet(keys=(GOOD_KEYS[0], msgspec.structs.replace(GOOD_KEYS[1], kid="ed")))
    with pytest.raises(BulkheadError) as caught:
        await settings.set_signing_keys(CONTOSO_HR.tenant_id, twice, None, START)
    assert [field.pointer for field in caught.value.fields] == ["/keys"]


def test_a_private_key_is_refused() -> None:
    sent = msgspec.to_builtins(GOOD_KEYS[0]) | {"d": "c2VjcmV0"}
    with pytest.raises(msgspec.ValidationError, match=r"keys\[0\]\.d"):
        msgspec.convert({"keys": [sent]}, KeySet)


@pytest.mark.parametrize("private", ["p", "q", "k", "dp"])
def test_private_parts_of_a_key_are_never_kept(private: Any) -> None:
    sent = msgspec.to_builtins(GOOD_KEYS[0]) | {private: "c2VjcmV0"}
    keys = msgspec.convert({"keys": [sent]}, KeySet)
    assert "c2VjcmV0" not in msgspec.json.encode(keys).decode()
