"""What a job mentions: the models and pictures of all its tasks, from its templates and without making a task."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from pipeline.plan.fields import Rule, Text
from pipeline.plan.flaw import Flawed
from pipeline.plan.places import Places
from pipeline.plan.render import Renderer
from pipeline.plan.scalar import text_of
from pipeline.values.digest import JSON


class Mentions:
    """What the templates of a job yield over all its places."""

    def __init__(self, places: Places, rules: tuple[Rule, ...], renderer: Renderer) -> None:
        self._places, self._rules, self._renderer = places, rules, renderer

    def models(self) -> list[str] | None:
        """Every model that a task can name, in order; None when it may be any of the cards'."""
        found: dict[str, None] = {}
        texts = [self._renderer.fields.model, *(rule.laid["model"] for rule in self._rules if "model" in rule.laid)]
        for text in texts:
            assert isinstance(text, Text)
            renderings = self._renderings(text)
            if renderings is None:
                return None
            found.update(dict.fromkeys(renderings))
        return list(found)

    def pictures(self, ids: Callable[[], Iterator[str]]) -> Iterator[str]:
        """The identity of every input picture, at least, in a fixed order; a fault stands for itself.

        `ids` are those of all tasks, which stand for pictures that only the tasks themselves can tell.
        """
        laid = [self._renderer.fields.images, *(rule.laid["images"] for rule in self._rules if "images" in rule.laid)]
        for images in laid:
            texts = images if isinstance(images, tuple) else (images,)
            for text in texts:
                assert isinstance(text, Text)
                renderings = self._renderings(text)
                if renderings is None:
                    yield from ids()
                    continue
                for written in renderings:
                    try:
                        yield self._renderer.pictures.resolve(written, text.path)[1]
                    except Flawed as flawed:
                        yield str(flawed)

    def _renderings(self, text: Text) -> Iterator[str] | None:
        """Every text that a template can yield, at least; None when it speaks of samples."""
        looks = text.template.looks
        if any(look.root == "sample" for look in looks):
            return None
        return self._walk(text, {look.root for look in looks})

    def _walk(self, text: Text, names: set[str]) -> Iterator[str]:
        groups = [
            number for number, group in enumerate(self._places.groups) if any(axis.name in names for axis in group.axes)
        ]
        rows = range(self._places.rows) if "row" in names else range(1)
        steps = [0] * len(self._places.groups)
        for index in rows:
            row = self._places.read_row(index)[0]
            for flat in range(math.prod(self._places.groups[number].length for number in groups)):
                rest = flat
                for number in groups:
                    rest, steps[number] = divmod(rest, self._places.groups[number].length)
                yield from _lines({**self._places.combination(steps)[0], "row": row}, text)
            if groups:
                for added in self._places.added:
                    yield from _lines({**added.values, "row": row}, text)


def _lines(scope: dict[str, JSON], text: Text) -> Iterator[str]:
    try:
        value = text.value(scope)
    except Flawed:
        return
    yield from (text_of(item) for item in (value if isinstance(value, list | tuple) else (value,)))
