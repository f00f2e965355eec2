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
from pipeline.spec.nodes import MapNode, ScalarNode, Tree
from pipeline.spec.settings import apply_settings
from pipeline.spec.source import Source, decode_spec, without_secret
from pipeline.spec.yaml_core import read_tree

__all__ = ["decode_spec", "load_job", "long_form", "salvage"]

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


def salvage(
    text: str, file: str, schema: Mapping[str, Any], settings: Sequence[tuple[str, str]] = ()
) -> JobSpec | None:
    """What can be made out of a spec with faults of form, to look for faults of meaning in: None when too little.

    Keys with a fault are left out. The job is never to be run.
    """
    source = Source(file, text)
    if source.unreadable() is not None:
        return None
    root, _ = read_tree(source)
    if root is None:
        return None
    root, _ = apply_settings(root, tuple(settings))
    if not isinstance(root, MapNode):
        return None
    tree = Tree(root)
    wrong = {mistake.place for mistake in (*check_form(tree, schema), *check_ranges(tree))}
    broken = {
        path.partition(".")[0].partition("[")[0]
        for path, place in (*tree.values.items(), *tree.keys.items())
        if path and place in wrong
    }
    if "overrides" in broken:
        return None
    pairs = [pair for pair in root.pairs if pair[0].text not in broken]
    kept = {key.text for key, _ in pairs}
    # What every job has. A model without a name is not judged; pictures that were left out may be any.
    needed: dict[str, int | str] = {"version": 1, "name": "job", "model": "-", "prompt": "-"}
    if "images" in broken:
        needed["images"] = "{{ images }}"
    for name, value in needed.items():
        if name not in kept:
            made = ScalarNode(root.place, str(value), value, plain=True)
            pairs.append((ScalarNode(root.place, name, name, plain=True), made))
    tree = Tree(MapNode(root.place, tuple(pairs)))
    if any(True for _ in (*check_form(tree, schema), *check_ranges(tree))):
        return None
    job = build_job(tree, file, text)
    return job if "model" in kept else replace(job, model="")


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
