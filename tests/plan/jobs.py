"""What the tests of this room share: a job from keywords, resources in memory, the shipped card."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

from pipeline.errors import Place
from pipeline.plan.catalog import read_card
from pipeline.plan.expand import Plan
from pipeline.plan.make import make_plan
from pipeline.plan.resources import ResourceMissing
from pipeline.spec.job import Axis, JobSpec, ListAxis, Matrix, ZipGroup
from pipeline.values.card import GatewayCard
from pipeline.values.money import Money
from pipeline.values.task import Picture

SCHEMAS: Final = Path(__file__).parents[2] / "schemas" / "gateways"
CARD: Final = read_card((SCHEMAS / "mulerouter.json").read_text(), "mulerouter.json")
CARDS: Final[dict[str, GatewayCard]] = {CARD.name: CARD}


@dataclass
class Memory:
    """Files in memory. A picture is bytes such as b"png 512x512"."""

    texts: Mapping[str, str] = field(default_factory=dict)
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    looked_at: list[str] = field(default_factory=list)

    def text(self, path: str) -> str:
        """As Resources has it."""
        if path not in self.texts:
            raise ResourceMissing(path, "there is no such file")
        return self.texts[path]

    def glob(self, pattern: str) -> tuple[str, ...]:
        """As Resources has it."""
        return tuple(sorted(name for name in [*self.texts, *self.pictures] if fnmatchcase(name, pattern)))

    def picture(self, path: str) -> Picture:
        """As Resources has it; remembers that it was asked."""
        self.looked_at.append(path)
        if path not in self.pictures:
            raise ResourceMissing(path, "there is no such file")
        return self.picture_of(self.pictures[path])

    def picture_of(self, data: bytes) -> Picture:
        """As Resources has it."""
        match = re.match(rb"(\w+) (\d+)x(\d+)", data)
        if match is None:
            raise ResourceMissing("data URI", "it is no picture")
        sides = int(match[2]), int(match[3])
        return Picture(hashlib.sha256(data).hexdigest(), f"image/{match[1].decode()}", len(data), *sides)


def axes(**lists: Any) -> tuple[Axis | ZipGroup, ...]:
    """List axes in written order."""
    return tuple(ListAxis(name, tuple(values)) for name, values in lists.items())


def job(**keys: Any) -> JobSpec:
    """A job that can be bought, with what a test changes."""
    start: dict[str, Any] = {
        "name": "mugs",
        "model": "mulerouter/qwen-image-max",
        "prompt": "a mug",
        "budget": (Money(10_000_000, "USD"),),
        "positions": {"": Place("spec.yaml", 1, 1)},
    }
    return JobSpec(**{**start, **keys})


def matrix(*, exclude: Any = (), include: Any = (), **lists: Any) -> Matrix:
    """A matrix of list axes."""
    return Matrix(axes(**lists), tuple(exclude), tuple(include))


def plan_of(memory: Memory | None = None, **keys: Any) -> Plan:
    """The plan of a job."""
    return make_plan(job(**keys), CARDS, memory or Memory())
