"""A tenant's own HR system, played locally: it has a signing key, registers it, and puts signed orders on the queue."""

import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jwt
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import ServiceBusError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from infra.local.client import Client, ControlError, told
from infra.local.endpoints import Endpoints
from infra.local.screen import program

QUEUE = "check-requests"
REJECTED = "check-requests-rejected"


class HrSystem:
    """One tenant's HR system with its Ed25519 key, kept in the state directory."""

    def __init__(self, state: Path, deployed: Mapping[str, Any], endpoints: Endpoints) -> None:
        """`deployed` is what Azure knows of the tenant."""
        self._tenant = str(deployed["name"])
        self._issuer = deployed["directory_id"]
        self._audience = endpoints.env["BULKHEAD_API_AUDIENCE"]
        path = state / "hr_systems" / f"{self._tenant}.pem"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(
                Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            )
        key = load_pem_private_key(path.read_bytes(), None)
        assert isinstance(key, Ed25519PrivateKey)  # noqa: S101 - written above
        self._key = key
        self.key_id = f"{self._tenant}-hr"

    async def register_key(self, client: Client) -> None:
        """Register the public key beside those that the tenant has. Raises ControlError."""
        token = await client.token(self._tenant, ("Tenant.Admin",))
        current = await client.api("GET", "/tenant", token)
        if current.status != 200:
            unknown = "not_a_tenant" in current.text
            raise ControlError(
                f"Bulkhead does not serve the tenant '{self._tenant}' ({told(current)})."
                + (f" Register it with: {program()} tenant register {self._tenant}" if unknown else "")
            )
        keys = current.json["signing_keys"]
        if any(key["kid"] == self.key_id for key in keys):
            return
        jwk = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(self._key.public_key()))
        body = {"keys": [*keys, {**jwk, "kid": self.key_id, "alg": "EdDSA", "use": "sig"}]}
        reply = await client.api("PUT", "/tenant/signing_keys", token, body, {"If-Match": current.headers["ETag"]})
        if reply.status != 200:
            raise ControlError(f"Bulkhead refused the key: {told(reply)}")

    def order(self, candidate_id: str, package: str, key_id: str | None = None, **claims: Any) -> str:
        """A signed order (a compact JWS), good for an hour. `claims` and `key_id` replace what is true."""
        now = int(time.time())
        content = {
            "iss": self._issuer, "aud": self._audience, "jti": secrets.token_hex(16),
            "iat": now, "exp": now + 3600, "candidate_id": candidate_id, "package": package,
        }  # fmt: skip
        return jwt.encode(content | claims, self._key, algorithm="EdDSA", headers={"kid": key_id or self.key_id})


async def put_on_queue(connection_string: str, messages: list[str], queue: str = QUEUE) -> None:
    """Send messages as another system would. Raises ControlError."""
    try:
        async with (
            ServiceBusClient.from_connection_string(connection_string) as client,
            client.get_queue_sender(queue) as to,
        ):
            for message in messages:
                await to.send_messages(ServiceBusMessage(message, content_type="application/jose"))
    except ServiceBusError as error:
        why = str(error).partition("\n")[0]
        raise ControlError(
            f"The queue {queue} takes no message ({why}). Is a fault in force? {program()} faults"
        ) from error
