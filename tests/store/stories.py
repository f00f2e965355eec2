"""Tasks and sequences of facts that could really have happened, for the tests of store and manifest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from pipeline.engine.facts import (
    Accepted,
    BudgetReached,
    CapSet,
    Continued,
    Doubted,
    DoubtLifted,
    DoubtReleased,
    DrainNoted,
    Fact,
    Held,
    LateBilled,
    LateFound,
    LinksRenewed,
    Paused,
    Permitted,
    PictureLost,
    PictureStored,
    Released,
    RestReleased,
    Settled,
    TaskAdmitted,
    TaskMoved,
    WrittenOff,
)
from pipeline.engine.phases import AttemptState, Phase
from pipeline.store.journal import Journal
from pipeline.values.artifact import Artifact
from pipeline.values.reply import Fault, FaultKind
from pipeline.values.rows import NotedPlan
from pipeline.values.task import InlineInput, LocalInput, Picture, Price, Task, UpstreamInput, UrlInput
from tests.engine.folding import FoldedAttempt, fold

EACH = 75_000
PRICE = Price("USD", EACH, 0, "USD", EACH, "price list, read 2026-01-01")
FAULT = Fault(FaultKind.UPSTREAM, "the model fell over, see https://cdn.example/a?Signature=secret", "E1", 500)
LINK = "https://cdn.example/p.png?Signature=secret"
START = 1_767_225_600_000_000


class Ticking:
    """A clock that moves on by one second a look. *Units* - UTC microseconds."""

    def __init__(self, start: int = START) -> None:
        """Begin at `start`."""
        self.now = start

    def __call__(self) -> int:
        """The next second."""
        self.now += 1_000_000
        return self.now


def task(number: int, *, n: int = 2, path: str = "", prompt: str = "a fox", gateway: str = "mulerouter") -> Task:
    """A task with every sort of label and input."""
    picture = Picture("ab" * 32, "image/png", 1234, 64, 48)
    return Task(
        number=number,
        id=f"{number + 1:064x}",
        step="main",
        operation="image.edit",
        gateway=gateway,
        model="qwen-image-edit-max",
        prompt=prompt,
        negative_prompt=None if number % 2 else "blur",
        size="1024x1024",
        n=n,
        seed=number * 7,
        params={"prompt_extend": True, "strength": 0.5},
        inputs=(
            LocalInput("photos/fox.png", picture),
            InlineInput("data:image/png;sha256=" + "ab" * 32, picture, sent_as="image/png"),
            UrlInput("https://user:word@pictures.example/in.png?token=secret#top"),
            UpstreamInput("cd" * 32, 1),
        ),
        price=PRICE,
        row_id=f"row-{number}",
        row={"zebra": "z", "animal": "fox"},
        axes={"style": "ink", "colour": "red"},
        sample=number % 3,
        path=path,
    )


def artifact(path: str, sha256: str = "ef" * 32, size: int = 10) -> Artifact:
    """A stored picture under this path."""
    return Artifact(sha256, "image/png", size, 64, 48, path, START + 5)


def opened(path: Path, run_id: str = "run") -> Journal:
    """A journal with a ticking clock."""
    return Journal.open(path, run_id=run_id, clock=Ticking())


def edited(journal: Journal, *tasks: Task) -> None:
    """The spec was edited: these are the tasks of its new plan."""
    plan = NotedPlan("aa" * 32, "bb" * 32, "name: test\n", "test", len(tasks))
    journal.note_plan(plan, tasks=lambda: [(bytes.fromhex(each.id), each) for each in tasks])


def made(number: int, attempt: int, *, stored: Sequence[Artifact] = (), prompt: str = "a fox") -> list[Fact]:
    """A whole task of two pictures: admitted, held, sent, accepted, settled, and the pictures as given stored."""
    wanted = task(number, prompt=prompt)
    facts: list[Fact] = [
        TaskAdmitted(wanted),
        Held(attempt, number, 1, 2 * EACH, "USD"),
        TaskMoved(number, Phase.HELD),
        Permitted(attempt),
        TaskMoved(number, Phase.SUBMITTING),
        Accepted(attempt, f"op-{attempt}"),
        TaskMoved(number, Phase.RUNNING),
        Settled(attempt, 2, 2 * EACH, 0, (LINK, LINK), "a red fox", None, f"req-{attempt}"),
        TaskMoved(number, Phase.FETCHING),
    ]
    facts += [PictureStored(attempt, index, each) for index, each in enumerate(stored)]
    if len(stored) == 2:
        facts.append(TaskMoved(number, Phase.DONE))
    return facts


class Storyteller:
    """Random facts, each one legal after those before it (docs/reliability.md, attempts)."""

    def __init__(self, random: Random, tasks: int = 4) -> None:
        """Facts about at most this many tasks."""
        self.random = random
        self.facts: list[Fact] = [CapSet("USD", 10**9, "the test"), CapSet("CNY", 10**9, "the test")]
        self.folded = fold(self.facts)
        self.tasks = tasks
        self.paths = 0

    def tell(self, count: int) -> list[Fact]:
        """`count` more facts; answers all of them."""
        for _ in range(count):
            choices = list(self._choices())
            self._add(self.random.choice(choices))
        return self.facts

    def _add(self, fact: Fact) -> None:
        self.facts.append(fact)
        self.folded = fold([fact], self.folded)

    def _choices(self) -> Iterator[Fact]:
        number = len(self.folded.tasks)
        if number < self.tasks:
            yield TaskAdmitted(task(number, n=self.random.randint(1, 3)))
        yield BudgetReached("USD", 5, 1)
        yield CapSet("CNY", self.random.randrange(10**9), "changed")
        said: list[Fact] = [Paused(None, "ann"), Paused("a/b", "bob"), Continued(None, "ann"), DrainNoted("cay")]
        yield self.random.choice(said)
        for known in self.folded.tasks:
            phase = self.random.choice(list(Phase))
            yield TaskMoved(known, phase, FAULT if phase is Phase.FAILED else None)
            attempts = [each for each in self.folded.attempts.values() if each.task == known]
            busy = {AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.ACCEPTED}
            if not any(each.state in busy for each in attempts):
                amount = self.random.randrange(5) * EACH
                ordinal = len(attempts) + 1
                yield Held(len(self.folded.attempts) + 1, known, ordinal, amount, self.random.choice(["USD", "CNY"]))
        for each in self.folded.attempts.values():
            yield from self._of(each)

    def _of(self, each: FoldedAttempt) -> Iterator[Fact]:
        number, left = each.number, each.open
        match each.state:
            case AttemptState.RESERVED:
                yield Permitted(number)
                yield Released(number, left, FAULT, counts=False)
            case AttemptState.SUBMITTING | AttemptState.ACCEPTED:
                if each.state is AttemptState.SUBMITTING:
                    yield Accepted(number, each.operation or f"op-{number}")
                    yield Released(number, left, FAULT, counts=self.random.random() < 0.5)
                yield Doubted(number, left, FAULT, vanished=self.random.random() < 0.5)
                images = self.random.randrange(4)
                links = tuple(f"{LINK}&{index}" for index in range(images))
                overage = self.random.choice([0, 0, 7])
                yield Settled(number, images, self.random.randint(0, left), overage, links, None, None, "req")
            case AttemptState.DOUBT | AttemptState.VANISHED:
                yield DoubtLifted(number, left, "found")
                yield DoubtReleased(number, left, "not billed")
                yield WrittenOff(number, left, "given up")
            case AttemptState.SETTLED:
                if left:
                    yield RestReleased(number, left)
                elif not each.images and not each.settled and not each.pictures:
                    yield from self._late(number)
                if each.pictures:
                    yield LinksRenewed(number, tuple(f"{LINK}&new{index}" for index in each.pictures))
                yield from self._pictures(each)
            case AttemptState.VOID:
                yield from self._late(number)
            case AttemptState.WRITTEN_OFF:
                yield LateFound(number, each.operation or f"op-{number}", "the vendor's book")

    def _late(self, number: int) -> Iterator[Fact]:
        yield LateFound(number, f"op-{number}", "the vendor's book")
        yield LateBilled(number, self.random.randrange(5) * EACH, "the vendor's book")

    def _pictures(self, each: FoldedAttempt) -> Iterator[Fact]:
        if not each.pictures:
            yield PictureLost(each.number, 0, FAULT)
        for index, (state, _) in each.pictures.items():
            if state == "PENDING":
                yield PictureStored(each.number, index, artifact(f"images/{each.number}-{index}.png"))
                yield PictureLost(each.number, index, FAULT)
