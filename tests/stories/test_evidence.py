"""Stories of a gateway that lists what it was asked for: doubts end by themselves, and nothing is bought twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import pipeline.runtime.run as runs
from pipeline.providers import mulerouter
from pipeline.runtime import inspect, prepare, wiring
from pipeline.transport.memory import MemoryDoor
from pipeline.values.evidence import ListedOperation
from pipeline.values.reply import Balance, BalanceReply, EvidenceBroken, Fault, FaultKind, ListedPage, ListReply
from pipeline.values.wire import Answered, Broken, Outcome, Request, Response
from tests.stories.jobs import bill, faults, money, rehearse, spec

#: So short that several pages are needed.
PAGE = 2


@dataclass
class Listing:
    """MuleRouter's language, and a list of operations that MuleRouter does not have."""

    usual: ModuleType = mulerouter

    def __getattr__(self, name: str) -> Any:
        return getattr(self.usual, name)

    def listing(self, model: str, since: int, until: int, page: str | None) -> Request:
        """`GET /list`, in pages."""
        return Request("mulerouter", "GET", f"/list?model={model}&since={since}&until={until}&page={page or 0}")

    def listed(self, outcome: Outcome) -> ListReply:
        """What it means."""
        if not isinstance(outcome, Answered):
            return EvidenceBroken(Fault(FaultKind.TRANSIENT, "no list"))
        found = json.loads(outcome.response.body)
        return ListedPage(tuple(ListedOperation(**each) for each in found["operations"]), found["next"], whole=True)

    def balance(self) -> Request:
        """`GET /meter`."""
        return Request("mulerouter", "GET", "/meter")

    def balanced(self, outcome: Outcome) -> BalanceReply:
        """What it means."""
        if not isinstance(outcome, Answered):
            return EvidenceBroken(Fault(FaultKind.TRANSIENT, "no meter"))
        return Balance("USD", int(outcome.response.body))


class ListingDoor(MemoryDoor):
    """Passes requests on, and answers for the list from the vendor's own book."""

    def __init__(self, door: MemoryDoor, asked: list[str], broken: Sequence[int]) -> None:
        self.__dict__.update(door.__dict__)
        self.asked, self.broken = asked, broken

    async def _exchange(self, request: Request, timeout_s: float, body_max: int) -> Outcome:
        where = urlsplit(request.path)
        if where.path == "/meter":
            micros = self._world.bill()["gateways"].get("mulerouter", {"micros": 0})["micros"]  # type: ignore[attr-defined]  # the emulator
            return Answered(Response(200, str(micros).encode(), {}))
        if where.path != "/list":
            return await super()._exchange(request, timeout_s, body_max)
        self.asked.append(request.path)
        if len(self.asked) in self.broken:
            return Broken("TimeoutError")
        wanted = {key: values[0] for key, values in parse_qs(where.query).items()}
        books = self._world._books  # type: ignore[attr-defined]  # the emulator
        found = [
            {
                "operation": each.id,
                "submitted_at": round(each.accepted_at * 1e6),
                "prompt": each.order.prompt,
                "n": each.order.n,
                "seed": each.order.seed,
            }
            for each in books.operations.values()
            if int(wanted["since"]) <= each.accepted_at * 1e6 < int(wanted["until"])
        ]
        start = int(wanted["page"])
        following = str(start + PAGE) if start + PAGE < len(found) else None
        body = json.dumps({"operations": found[start : start + PAGE], "next": following}).encode()
        return Answered(Response(200, body, {}))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A gateway that lists; answers the questions for its list."""
    return lists(monkeypatch, ())


def lists(patch: pytest.MonkeyPatch, broken: Sequence[int]) -> list[str]:
    """Make the gateway list; the `broken`-th questions get no answer."""
    asked: list[str] = []
    usual_door, usual_cards = wiring.door, prepare.cards

    def door(*given: Any) -> ListingDoor:
        made = usual_door(*given)
        assert isinstance(made, MemoryDoor)
        return ListingDoor(made, asked, broken)

    patch.setattr(wiring, "door", door)
    patch.setattr(runs, "PROVIDERS", {"mulerouter": Listing()})
    patch.setattr(
        prepare,
        "cards",
        lambda: {
            name: replace(card, lists_operations=True, tells_balance=True) for name, card in usual_cards().items()
        },
    )
    return asked


def test_an_operation_that_the_gateway_lists_ends_its_doubt(tmp_path: Path, asked: list[str]) -> None:
    """The answer was lost, the list names the operation: its picture is fetched in the same run."""
    path = spec(tmp_path)
    result = rehearse(path, faults=faults(tmp_path, 'cut_after: {prompt: "teal mug on a desk"}\n'))
    assert (result.exit_code, result.status["images"]) == (0, 6)
    assert bill(tmp_path) == (6, money(result)["settled_micros"])
    assert len(asked) >= 4, "two listings of several pages"
    assert inspect.verify(tmp_path / "run") == []


def test_a_list_that_breaks_in_the_middle_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Absence is not believed when a page is missing: the doubt stays, and nothing is bought again."""
    lists(monkeypatch, range(1, 10_000))
    path = spec(tmp_path)
    result = rehearse(path, faults=faults(tmp_path, 'cut_before: {prompt: "teal mug on a desk"}\n'))
    assert result.exit_code == 5
    assert money(result)["doubt_micros"] == 75_000
    assert bill(tmp_path)[0] == 5


def test_a_shared_account_frees_no_money_by_absence(tmp_path: Path, asked: list[str]) -> None:
    """Nobody said that the account is ours alone, so a list without it is no proof."""
    path = spec(tmp_path)
    result = rehearse(path, faults=faults(tmp_path, 'cut_before: {prompt: "teal mug on a desk"}\n'))
    assert result.exit_code == 5
    assert money(result)["doubt_micros"] == 75_000
    assert asked
