"""The way in: the text of a spec becomes a JobSpec, or a SpecError that holds all its faults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from pipeline.errors import Mistake, Place, SpecError
from pipeline.spec.build import build_job, check_ranges
from pipeline.spec.check import check_form
from pipeline.spec.job import JobSpec
from pipeline.spec.long_form import long_form
from pipeline.spec.nodes import Tree
from pipeline.spec.settings import apply_settings
from pipeline.spec.source import Source, decode_spec, without_secret
from pipeline.spec.yaml_core import read_tree

__all__ = ["decode_spec", "load_job", "long_form"]

#: Mistakes that are reported; nobody reads more at once.
MISTAKES_MAX: Final = 100


def load_job(text: str, file: str, schema: Mapping[str, Any], settings: Sequence[tuple[str, str]] = ()) -> JobSpec:
    """The job that a spec's text describes, with settings such as ("budget", "5 USD") laid over it.

    *Raises* SpecError with every fault of text, form and settings, in the order of their places.
    """
    source = Source(file, text)
    if (fault := source.unreadable()) is not None:
        raise SpecError((fault,))
    root, mistakes = read_tree(source)
    if root is not None:
        root, faults = apply_settings(root, tuple(settings))
        tree = Tree(root)
        mistakes += faults + check_form(tree, schema)
        told = {mistake.place for mistake in mistakes}
        mistakes += [mistake for mistake in check_ranges(tree) if mistake.place not in told]
    mistakes += source.mistakes
    if root is None or mistakes:
        raise SpecError(_in_order(mistakes, source, text))
    return build_job(tree, file, text)


def _in_order(mistakes: list[Mistake], source: Source, text: str) -> tuple[Mistake, ...]:
    """By place, each once, the spec's own first; lines that hold a key are blank."""
    unique = list(dict.fromkeys(_without_secret(mistake, source) for mistake in mistakes))
    unique.sort(key=lambda m: (m.place.file != source.file, m.place.line, m.place.column))
    if len(unique) <= MISTAKES_MAX:
        return tuple(unique)
    more = len(unique) - MISTAKES_MAX
    end = Place(source.file, text.count("\n") + 1, 1)
    return (*unique[:MISTAKES_MAX], Mistake(end, f"{more} more faults are not shown", "mend these first"))


def _without_secret(mistake: Mistake, source: Source) -> Mistake:
    mistake = replace(mistake, what=without_secret(mistake.what), remedy=without_secret(mistake.remedy))
    place = mistake.place
    if place.file == source.file and place.line - 1 in source.hidden:
        return replace(mistake, place=Place(place.file, place.line, place.column))
    return mistake
