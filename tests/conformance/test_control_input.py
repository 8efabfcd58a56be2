"""What the control API is told to set or show: nonsense is refused with a sentence, and changes nothing."""

from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.standin

FAULT: dict[str, Any] = {"service": "graph", "status": 503}


@pytest.fixture(autouse=True)
def weather(cloud: Any) -> Iterator[None]:
    """A fault and a latency, which the tests are to find as they were."""
    cloud.control("PUT", "/faults", {"rules": [FAULT]})
    cloud.control("PUT", "/latency", {"graph": 1})
    yield
    cloud.control("DELETE", "/faults")
    cloud.control("PUT", "/latency", {})


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("PUT", "/faults", {"rules": [FAULT | {"status": 9999}]}, "Expected `int` <= 599 - at `$.rules[0].status`"),
        ("PUT", "/faults", {"rules": [FAULT | {"status": 200}]}, "Expected `int` >= 400 - at `$.rules[0].status`"),
        ("PUT", "/faults", {"rules": [FAULT | {"delay_ms": -1}]}, ">= 0.0 - at `$.rules[0].delay_ms`"),
        ("PUT", "/faults", {"rules": [FAULT | {"delay_ms": 1e300}]}, "<= 3600000.0 - at `$.rules[0].delay_ms`"),
        ("PUT", "/faults", {"rules": [FAULT | {"retry_after": -1}]}, ">= 0.0 - at `$.rules[0].retry_after`"),
        ("PUT", "/faults", {"rules": [FAULT | {"times": -1}]}, "Expected `int` >= 0 - at `$.rules[0].times`"),
        ("PUT", "/faults", {"rules": [FAULT | {"probability": 7}]}, "<= 1.0 - at `$.rules[0].probability`"),
        ("PUT", "/faults", {"rules": [FAULT | {"probability": -1}]}, ">= 0.0 - at `$.rules[0].probability`"),
        ("PUT", "/faults", {"rules": [FAULT, {"service": "graph"}]}, "A fault needs something to do"),
        ("PUT", "/faults", {"rules": [{"service": "graph", "delay_ms": 0, "times": 1}]}, "needs something to do"),
        ("PUT", "/latency", {"graph": -5}, "Expected `float` >= 0.0"),
        ("PUT", "/latency", {"graph": 1e300}, "Expected `float` <= 3600000.0"),
        ("GET", "/journal?since=-5", None, "Expected `int` >= 0 - at `$.since`"),
        ("GET", "/journal?since=x", None, "Expected `int`, got `str` - at `$.since`"),
        ("GET", "/journal?sicne=5", None, "unknown field `sicne`"),
    ],
)
def test_nonsense_is_refused_and_changes_nothing(cloud: Any, method: str, path: str, body: Any, says: str) -> None:
    status, answer = cloud.control(method, path, body)
    assert (status, answer.keys()) == (400, {"error"})
    assert says in answer["error"]
    assert [rule["status"] for rule in cloud.control("GET", "/faults")[1]["rules"]] == [503]
    assert cloud.control("GET", "/latency")[1]["graph"] == 1


def test_a_spent_fault_may_be_set_again(cloud: Any) -> None:
    """As the command line does, which adds a fault to those that it was shown."""
    spent = {"rules": [FAULT | {"times": 0}]}
    _, shown = cloud.control("PUT", "/faults", spent)
    assert cloud.control("PUT", "/faults", shown) == (200, shown)
