"""What operators' commands print, and their exit codes. Their way to Azure is in the functional tests."""

import json
from argparse import Namespace
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from shared.adapters.waiting_messages import WaitingMessage
from shared.operations import access_log, messages
from shared.operations.__main__ import main
from shared.tenants.anchors import RegistryAnchors
from shared.tenants.registry import Registry
from tests.fakes import CONTOSO_HR, FakeBroker, ManualClock, registry_documents, tenant_documents


class FakePlaces:
    """shared.adapters.waiting_messages.WaitingMessages."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = set(numbers)

    async def all(self, place: str) -> list[WaitingMessage]:
        return [
            WaitingMessage(
                number=number, enqueued_at="2026-11-24T08:00:00.000Z", reason="expired", deliveries=1,
                correlation_id="req_1", body=f"body of {number} in {place}",
            )
            for number in sorted(self.numbers)
        ]  # fmt: skip

    async def send_again(self, _: str, numbers: list[int]) -> set[int]:
        sent = self.numbers & set(numbers)
        self.numbers -= sent
        return sent


def options(*numbers: int, as_json: bool = False) -> Namespace:
    return Namespace(place="check-requests-rejected", numbers=list(numbers), json=as_json)


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_list_shows_no_bodies(capsys: pytest.CaptureFixture[str], *, as_json: bool) -> None:
    application: Any = SimpleNamespace(waiting_messages=FakePlaces(1, 2))
    assert await messages.show_all(application, options(as_json=as_json)) == 0
    shown = capsys.readouterr().out
    assert "expired" in shown
    assert "body" not in shown
    if as_json:
        assert [one["number"] for one in json.loads(shown)["messages"]] == [1, 2]


async def test_an_empty_place_is_said_to_be_empty(capsys: pytest.CaptureFixture[str]) -> None:
    application: Any = SimpleNamespace(waiting_messages=FakePlaces())
    assert await messages.show_all(application, options()) == 0
    assert capsys.readouterr().out == "Nothing waits here.\n"


@pytest.mark.parametrize(("numbers", "code"), [((1,), 0), ((1, 2), 0), ((1, 9), 1), ((9,), 1)])
async def test_reading_says_whether_all_were_there(
    capsys: pytest.CaptureFixture[str], numbers: tuple[int, ...], code: int
) -> None:
    application: Any = SimpleNamespace(waiting_messages=FakePlaces(1, 2, 3))
    assert await messages.read(application, options(*numbers)) == code
    shown, said = capsys.readouterr()
    assert [number for number in (1, 2, 3) if f"body of {number} in check-requests-rejected" in shown] == [
        number for number in numbers if number != 9
    ]
    assert said == ("     9  is not there\n" if 9 in numbers else "")


@pytest.mark.parametrize("run", [messages.show_all, messages.read])
@pytest.mark.parametrize("as_json", [False, True])
async def test_what_a_stranger_wrote_moves_no_cursor(
    capsys: pytest.CaptureFixture[str], run: Any, *, as_json: bool
) -> None:
    """Whoever may send to a queue chooses the body, and the reason of a dead letter."""

    class Forged(FakePlaces):
        async def all(self, place: str) -> list[WaitingMessage]:
            text = "\x1b[2J\x1b]0;title\x07\x9b1A\nbody: another\r"
            return [msgspec.structs.replace(one, reason=text, body=text) for one in await super().all(place)]

    application: Any = SimpleNamespace(waiting_messages=Forged(1))
    assert await run(application, options(1, as_json=as_json)) == 0
    shown = capsys.readouterr().out
    assert not {letter for letter in shown if not letter.isprintable()} - {"\n"}
    assert "\nbody: another" not in shown


@pytest.mark.parametrize(("numbers", "code"), [((1, 2), 0), ((1, 9), 1)])
@pytest.mark.parametrize("as_json", [False, True])
async def test_sending_again_says_which_were_there(
    capsys: pytest.CaptureFixture[str], numbers: tuple[int, ...], code: int, *, as_json: bool
) -> None:
    application: Any = SimpleNamespace(waiting_messages=FakePlaces(1, 2))
    assert await messages.send_again(application, options(*numbers, as_json=as_json)) == code
    shown = capsys.readouterr().out
    if as_json:
        assert json.loads(shown)["messages"] == [{"number": one, "sent": one != 9} for one in numbers]
    else:
        assert ("9  is not there" in shown) == (9 in numbers)


async def test_a_log_is_read_with_a_purpose_of_its_own_after_the_anchors(capsys: pytest.CaptureFixture[str]) -> None:
    clock, broker = ManualClock(), FakeBroker({CONTOSO_HR.account.endpoint: tenant_documents()})
    registry = Registry(registry_documents(), clock)
    await registry.add(CONTOSO_HR.tenant())

    class Anchors:
        async def of(self, tenant_id: str) -> list[Any]:
            assert (tenant_id, broker.leases) == (CONTOSO_HR.tenant_id, [])
            return []

    application: Any = SimpleNamespace(registry=registry, clock=clock, broker=broker, anchors=Anchors())
    assert await access_log.verify(application, Namespace(tenant=CONTOSO_HR.tenant_id, json=False)) == 0
    ((_, purpose),) = broker.leases
    assert (purpose.actor, purpose.action, purpose.writes) == ("service:operations", "access_log.verify", False)
    assert capsys.readouterr().out == f"{CONTOSO_HR.tenant_id}: 0 records, 0 anchors, no flaws\n"

    broker.leases.clear()
    assert await access_log.verify(application, Namespace(tenant=CONTOSO_HR.tenant_id, json=True)) == 0
    told = {"tenant_id": CONTOSO_HR.tenant_id, "records": 0, "anchors": 0, "flaws": []}
    assert json.loads(capsys.readouterr().out) == told


async def test_what_a_forger_wrote_into_a_log_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever holds a writing key of the account chooses the writer."""
    clock, account = ManualClock(), tenant_documents()
    registry = Registry(registry_documents(), clock)
    await registry.add(CONTOSO_HR.tenant())
    month = f"{clock.now():%Y-%m}"
    account.put("access_log", {"id": "acc_1", "kind": "record", "month": month, "writer": "\x1b[2J\x9b1A\rno flaws"})
    application: Any = SimpleNamespace(
        registry=registry, clock=clock, broker=FakeBroker({CONTOSO_HR.account.endpoint: account}),
        anchors=RegistryAnchors(registry_documents()),
    )  # fmt: skip
    for as_json in (False, True):
        assert await access_log.verify(application, Namespace(tenant=CONTOSO_HR.tenant_id, json=as_json)) == 1
    assert not {letter for letter in capsys.readouterr().out if not letter.isprintable()} - {"\n"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["access-log"],
        ["access-log", "verify"],
        ["messages", "list", "elsewhere"],
        ["messages", "read", "screenings"],
    ],
)
def test_a_command_that_is_wrong_is_explained(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: python -m shared.operations" in capsys.readouterr().err
