"""Tasks, policies and answers that the engine's tests share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pipeline.engine.facts import Fact
from pipeline.engine.machine import Machine
from pipeline.engine.messages import CapAsked, Command, Observation, Offered, SlotNear, SubmitAnswered
from pipeline.engine.terms import LaneTerms, OnDoubt, Policy
from pipeline.values.artifact import Artifact
from pipeline.values.reply import Fault, FaultKind, Pending
from pipeline.values.task import Price, Task

LANE = "mule/pro"
#: Micro-units per image and call of every task below.
EACH = 100
PRICE = Price("USD", EACH, 0, "USD", EACH, "a table of this test")
TERMS = LaneTerms(
    in_flight_max=8, unanswered_max=4, poll_first_s=5.0, poll_every_s=2.0, poll_patience_s=100.0, release_lag_s=0.0
)


def task(number: int, *, n: int = 1, lane: str = LANE, price: Price = PRICE) -> Task:
    """A task of one prompt."""
    gateway, model = lane.split("/")
    return Task(
        number=number,
        id=f"{number:064x}",
        step="main",
        operation="image.generate",
        gateway=gateway,
        model=model,
        prompt="a fox",
        negative_prompt=None,
        size=None,
        n=n,
        seed=None,
        params={},
        inputs=(),
        price=price,
    )


def policy(
    on_doubt: OnDoubt = OnDoubt.HOLD,
    *,
    attempts_max: int = 3,
    lanes: Iterable[str] = (LANE,),
    terms: LaneTerms = TERMS,
) -> Policy:
    """A policy in which every lane has the same terms."""
    return Policy(attempts_max, on_doubt, dict.fromkeys(lanes, terms))


def fault(kind: FaultKind = FaultKind.TRANSIENT, message: str = "no", retry_after_s: float | None = None) -> Fault:
    """A fault of the world."""
    return Fault(kind, message, retry_after_s=retry_after_s)


def artifact(name: str = "a") -> Artifact:
    """A stored picture."""
    return Artifact(name * 64, "image/png", 10, 1, 1, f"images/{name}.png", 0)


class Ring:
    """A machine whose journal never fails: facts are durable at once, invariants are checked after each step."""

    def __init__(self, machine: Machine) -> None:
        """Around a machine as it stands."""
        self.machine = machine
        self.facts: list[Fact] = []

    def tell(
        self, observation: Observation, now: float = 0.0, *, check: bool = True
    ) -> tuple[list[Fact], list[Command]]:
        """One turn: facts, then the commands that follow from them. A check costs as much as there are attempts."""
        facts = self.machine.step(observation, now)
        if check:
            self.machine.check()
        self.facts.extend(facts)
        commands = self.machine.follow_up()
        for fact in facts:
            commands.extend(self.machine.react(fact, now))
        return facts, commands


def ring(
    rules: Policy | None = None, *, caps: Mapping[str, int] | None = None, tasks: Iterable[Task] = (), seed: int = 0
) -> Ring:
    """A new run with caps set and tasks admitted."""
    new = Ring(Machine(rules or policy(), seed))
    for currency, cap in ({"USD": 10_000} if caps is None else caps).items():
        new.tell(CapAsked(currency, cap, "the test"))
    for each in tasks:
        new.tell(Offered(each))
    return new


def submitting(rules: Policy | None = None, *, n: int = 1, cap: int = 10_000) -> Ring:
    """Attempt 1 of task 0 is on the wire."""
    new = ring(rules, caps={"USD": cap}, tasks=[task(0, n=n)])
    new.tell(SlotNear(LANE))
    return new


def running(rules: Policy | None = None, *, n: int = 1, cap: int = 10_000) -> Ring:
    """Attempt 1 of task 0 is accepted as operation op-1."""
    new = submitting(rules, n=n, cap=cap)
    new.tell(SubmitAnswered(1, Pending("op-1")))
    return new
