from shared.core.audit import Head
from shared.tenants.anchors import RegistryAnchors
from tests.fakes import CONTOSO_HR, FABRIKAM_HR, registry_documents


async def test_every_writer_s_newest_anchor_is_given_and_of_that_tenant_only() -> None:
    anchors = RegistryAnchors(registry_documents())
    heads = [Head(writer=f"wri_{number:026}", number=2, hash=f"{number}") for number in range(250)]
    for head in heads:
        for number in (1, 2):
            await anchors.keep(CONTOSO_HR.tenant_id, Head(writer=head.writer, number=number, hash=head.hash))
    await anchors.keep(FABRIKAM_HR.tenant_id, heads[0])
    assert sorted(await anchors.of(CONTOSO_HR.tenant_id), key=lambda head: head.writer) == heads
    assert await anchors.of(FABRIKAM_HR.tenant_id) == [heads[0]]
