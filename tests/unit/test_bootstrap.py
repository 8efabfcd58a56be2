import msgspec
import pytest

from shared.access.models import CredentialName
from shared.bootstrap import App
from shared.core.errors import BulkheadError
from shared.core.lease import Purpose
from shared.settings import Settings
from tests.fakes import CONTOSO_HR
from tests.world import ENV

PURPOSE = Purpose("user:1", "candidates.read", "cand_1", "req_1", writes=False)


async def test_without_the_setting_a_federated_daemon_opens_nothing() -> None:
    """No request is sent: there is nothing here that could answer one."""
    target = CONTOSO_HR.tenant().target
    target = msgspec.structs.replace(
        target, daemon=msgspec.structs.replace(target.daemon, credential=CredentialName(kind="federated"))
    )
    application = App(Settings.from_env(ENV))
    try:
        with pytest.raises(BulkheadError) as caught:
            async with application.broker.lease(target, PURPOSE, watched=False):
                pass
    finally:
        await application.close()
    assert caught.value.code == "tenant_access_misconfigured"
