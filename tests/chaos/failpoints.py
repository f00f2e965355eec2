"""T6: death at every named place, at its 1st, 2nd, 7th, 23rd and last occurrence; then a second death on the way back.

Whole rehearsals in forks of one process: the driver, the store and the adapters are the real ones, time is virtual, and
the emulator's book survives each death beside the run. The judge looks after every death and at the end.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import random
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from pipeline import failpoints
from tests.chaos import forks
from tests.chaos.child import Place
from tests.chaos.jobs import DOUBTFUL, PRICE, USUAL, Job
from tests.chaos.judge import Books, Judge
from tests.chaos.report import Report, idle

OCCURRENCES: Final = (1, 2, 7, 23)
PAIRS: Final = {"small": 6, "merge": 300}
_KILLED: Final = -9
#: Exit codes of a rehearsal that was left alone: complete, budget, failed tasks, doubts.
_GOOD: Final = frozenset({0, 3, 4, 5})

#: {failpoint: where the life before it has to end, so that there is something to recover}.
_BEFORE: Final = {
    "recover.answer": Place("submit.kept", 3),
    "recover.adopted": Place("keep.synced", 3),
    "recover.part": Place("keep.sealed", 2),
    "recover.stray": Place("told.done", 9),
    "plan.marked": Place("told.done", 20),
}
_STRAYS: Final = ("stray-a.png", "stray-b.txt", "stray-c.png")
#: So many of the tasks are owned, and the others are not, when the spec is edited.
_OWNED: Final = 3
_EDITED: Final = (
    *(("plan.marked", 1), ("plan.kept", 1), ("plan.noted", 1), ("recover.begun", 1), ("recover.done", 1)),
    *(("commit.booked", 2), ("commit.done", 3), ("told.done", 7), ("submit.kept", 2), ("keep.named", 1)),
)
#: Ctrl-C comes here, in the life that is to end in a drain.
_DRAIN: Final = Place("submit.kept", 4)


@dataclass(frozen=True, slots=True)
class Story:
    """One job with its deaths. `word` is the command that is to die: run, resolve or retry."""

    seed: int
    flavour: str
    tasks: int
    die: Place
    word: str = "run"
    again: Place | None = None
    #: The life that dies is the first of an edited spec, and whether the edit is taken back after its death.
    edited: bool = False
    back: bool = False

    def __str__(self) -> str:
        then = f" then {self.again}" if self.again is not None else ""
        then += " in an edited spec" * self.edited + ", which is taken back" * self.back
        return f"seed {self.seed}: {self.flavour} {self.word} {self.die}{then}"


@dataclass(slots=True)
class Told:
    """What came of a story."""

    story: Story
    fired: list[str] = field(default_factory=list)
    deaths: int = 0
    posts: int = 0
    violations: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def job_of(story: Story) -> Job:
    """Calm jobs have no doubts, stormy ones have; two tasks of either fail whatever is done."""
    faults: dict[str, object] = {"latency_s": [0.02, 0.4], "generation_s": [1, 6], **USUAL}
    faults |= {"failed": 0.02}
    if story.flavour == "stormy":
        faults |= DOUBTFUL | {"fewer": 0.1, "moderated": {"prompt": "w01"}}
    n = 2 if story.flavour == "stormy" else 1
    if story.flavour == "calm":
        faults.pop("failed")
    return Job(story.tasks, n, "hold", story.tasks * n * PRICE * 2, faults, rate="20/s")


class _Stage:
    """One story's folder, and the commands that are played in it."""

    def __init__(self, story: Story, place: Path) -> None:
        self.story = story
        self.place = place
        self.told = Told(story)
        self.run = place / "run"
        self.job = job_of(story)
        self.job.write(place)
        self.judge = Judge(self.run, self.run / "world.jsonl", self.job, frozenset(_STRAYS))

    def play(self, word: str = "run", die: Place | None = None, *, counts: Path | None = None) -> int:
        """One command, to its end or its death; whatever the judge finds then is kept."""
        drain = _DRAIN if die is not None and die.name == "drain.asked" else None
        code = forks.command(
            self._arguments(word),
            folder=self.place,
            out=self.place / "out.txt",
            die=die,
            drain=drain,
            counts=counts,
            parts=self.story.flavour == "stormy",
        )
        if code == _KILLED and die is not None:
            self.told.deaths += 1
            self.told.fired.append(die.name)
        elif code not in _GOOD and not (code == 130 and drain is not None):
            self.blame(f"{word} ended with exit code {code}")
        if word == "retry":
            self.judge.retried = True
        self.look(f"after {word} {'died at ' + str(die) if code == _KILLED else 'ended with ' + str(code)}")
        return code

    def _arguments(self, word: str) -> list[str]:
        match word:
            case "resolve":
                return ["resolve", "run", "--all", "--billed", "--why", "the vendor's invoice"]
            case "retry" | "verify":
                return [word, "run"]
            case _:
                run = ["run", "spec.yaml", "--simulate", "--faults", "faults.yaml", "--run-dir", "run", "--quiet"]
                some = ["--limit", str(_OWNED)] if word == "some" else []
                return [*run, *some, "--seed", str(self.story.seed)]

    def look(self, when: str) -> None:
        for violation in forks.inside(self.judge.moment):
            self.blame(f"{when}: {violation}")

    def blame(self, violation: str) -> None:
        self.told.violations.append(f"{self.story}: {violation}")

    def prepare(self) -> None:
        """The lives before the one that matters."""
        name = self.story.die.name
        if self.story.word != "run":
            self.play()
        if self.story.edited:
            self.play("some")
        elif name in _BEFORE:
            self.play(die=_BEFORE[name])
        if name == "plan.marked" or self.story.edited:
            self.edit()
        if name == "recover.stray":
            for stray in _STRAYS:
                (self.run / "images" / stray).write_bytes(b"nobody knows me")

    def edit(self) -> None:
        """One task goes, one comes, and all the others change their places."""
        words = [f"w{number:02d}" for number in range(self.job.tasks, 0, -1)]
        replace(self.job, words=tuple(words)).write(self.place)

    def heal(self) -> None:
        """Run to the end, judge, and see that once more changes nothing."""
        code = self.play()
        if code == _KILLED:
            self.blame("a run died although nobody killed it")
            return
        self.told.posts = Books.read(self.judge.world).posts
        for violation in forks.inside(functools.partial(self.judge.end, code)):
            self.blame(f"at the end: {violation}")
        before = self.judge.bytes_of_folder()
        if (verified := self._quietly("verify")) != 0:
            self.blame(f"verify ended with {verified}")
        again = self._quietly("run")
        after = self.judge.bytes_of_folder()
        if again != code:
            self.blame(f"running again ended with {again}, not with {code}")
        if Books.read(self.judge.world).posts != self.told.posts:
            self.blame("running again sent a POST")
        if code in (0, 4, 5) and after != before:
            changed = sorted(name for name in before | after if before.get(name) != after.get(name))
            self.blame(f"running again changed {changed}")

    def _quietly(self, word: str) -> int:
        return forks.command(self._arguments(word), folder=self.place, out=self.place / "out.txt")


def tell(story: Story) -> Told:
    """Play a story in a folder of its own, which stays when something was violated."""
    place = forks.scratch("failpoint")
    stage = _Stage(story, place)
    try:
        stage.prepare()
        stage.play(story.word, story.die)
        if story.again is not None:
            stage.play("run", story.again)
        if story.back:
            stage.job.write(place)
            stage.heal()
            stage.edit()
        stage.heal()
    except (forks.Stuck, OSError) as stuck:
        stage.blame(str(stuck))
    if stage.told.violations:
        stage.blame(f"the folder is kept: {place}")
    else:
        shutil.rmtree(place)
    return stage.told


def count(story: Story) -> Told:
    """How often each failpoint is reached in the life that is to die, were it left alone."""
    place = forks.scratch("failpoint")
    stage = _Stage(story, place)
    try:
        stage.prepare()
        never = Place(story.die.name, 0)
        stage.play(story.word, never, counts=place / "counts.json")
        stage.told.counts = json.loads((place / "counts.json").read_text())
    except (forks.Stuck, OSError) as stuck:
        stage.blame(str(stuck))
    shutil.rmtree(place)
    return stage.told


def kinds(name: str) -> tuple[tuple[str, str], ...]:
    """(flavour, command) of the lives in which a failpoint is to be met."""
    if name.startswith("amend."):
        return (("stormy", "resolve"), ("stormy", "retry"))
    if name == "finish.cleared":
        return (("calm", "run"),)
    return (("stormy", "run"), ("calm", "run"))


def _preludes(name: str) -> str:
    """Failpoints that share the life in which they are counted."""
    return name if name in _BEFORE or name == "drain.asked" else ""


def singles(size: str, seed: int, tasks: int, counted: dict[tuple[str, str, str], dict[str, int]]) -> Iterator[Story]:
    """Every failpoint at its occurrences; the flavours take turns, so that each place is met in both."""
    for name in failpoints.NAMES:
        lives = kinds(name)
        for turn, occurrence in enumerate((*OCCURRENCES, 0)):
            if size == "small" and turn:
                continue
            for flavour, word in lives if name.startswith("amend.") else (lives[turn % len(lives)],):
                last = counted[flavour, word, _preludes(name)].get(name, 0)
                if occurrence <= last and (occurrence or last not in OCCURRENCES):
                    yield Story(seed, flavour, tasks, Place(name, occurrence or last), word)


def edits(size: str, seed: int, tasks: int) -> Iterator[Story]:
    """Deaths in the first life of an edited spec, which goes on or is taken back."""
    every = [
        Story(seed, flavour, tasks, Place(name, occurrence), edited=True, back=back)
        for name, occurrence in _EDITED
        for flavour in ("calm", "stormy")
        for back in (True, False)
    ]
    # Of the first, the plan is marked and not yet noted: the edit must not be half there.
    first, *others = [story for story in every if story.back]
    yield from [first, *random.Random(seed).sample(others, 2)] if size == "small" else every


def pairs(number: int, seed: int, tasks: int, counted: dict[tuple[str, str, str], dict[str, int]]) -> Iterator[Story]:
    """Die at A, then at B on the way back, drawn from a seed.

    Two of three times both are places that every task comes by, and A lies in the first half of the life: there is so
    much left to do that the second death nearly always comes. The third may lie anywhere.
    """
    dice = random.Random(seed)
    anywhere = [name for name in failpoints.NAMES if not name.startswith(("amend.", "drain."))]
    for index in range(number):
        flavour = dice.choice(("stormy", "stormy", "calm"))
        reached = {name: times for name, times in counted[flavour, "run", ""].items() if name in failpoints.NAMES}
        often = [name for name, times in reached.items() if times >= tasks]
        if index % 3:
            first, second = dice.choice(often), Place(dice.choice(often), 1)
            die = Place(first, dice.randint(1, min(reached[first], 40) // 2))
        else:
            first, second = dice.choice(list(reached)), Place(dice.choice(anywhere), dice.choice((1, 1, 1, 2, 3)))
            die = Place(first, dice.randint(1, min(reached[first], 40)))
        yield Story(seed, flavour, tasks, die, again=second)


def campaign(size: str, seed: int) -> Report:
    """All single failpoints, then pairs."""
    tasks = 8 if size == "small" else 24
    with multiprocessing.get_context("spawn").Pool(int(os.environ.get("CHAOS_JOBS", "2")), forks.preload) as pool:
        asked = {
            (flavour, word, _preludes(name)): Story(seed, flavour, tasks, Place(name, 1), word)
            for name in reversed(failpoints.NAMES)
            for flavour, word in kinds(name)
        }
        counting = pool.map(count, asked.values(), chunksize=1)
        counted = {key: told.counts for key, told in zip(asked, counting, strict=True)}
        chosen = [*singles(size, seed, tasks, counted)]
        chosen += edits(size, seed, tasks)
        chosen += pairs(int(os.environ.get("CHAOS_PAIRS") or PAIRS[size]), seed, tasks, counted)
        stories = []
        for told in pool.imap_unordered(tell, chosen, chunksize=1):
            stories.append(told)
            if size != "small" and len(stories) % 25 == 0:
                print(f"  failpoints: {len(stories)} of {len(chosen)} stories", flush=True)
            for violation in told.violations:
                print(f"  failpoints: {violation}", flush=True)
    fired = Counter(name for told in stories for name in told.fired)
    violations = [violation for told in (*counting, *stories) for violation in told.violations]
    violations += [f"seed {seed}: {name} never fired" for name in failpoints.NAMES if not fired[name]]
    figures = {
        "failpoints": len(failpoints.NAMES),
        "singles": sum(story.again is None and not story.edited for story in chosen),
        "edits": sum(told.story.edited and told.deaths > 0 for told in stories),
        "pairs": sum(told.story.again is not None and told.deaths >= 2 for told in stories),
        "deaths": sum(told.deaths for told in stories),
        "POSTs": sum(told.posts for told in stories),
        "second deaths that never came": sum(told.story.again is not None and told.deaths < 2 for told in stories),
    }
    # A second place may lie behind what the first death left to do.
    floors = {"edits": 0.6 * sum(story.edited for story in chosen), "POSTs": len(stories)}
    floors |= {"pairs": 0.25 * sum(story.again is not None for story in chosen)}
    violations += [f"seed {seed}: {fault}" for fault in idle(figures, floors)]
    return Report("failpoints", figures, tuple(violations))
