"""A job written out: every key with its default, as YAML that loads to the same meaning."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, assert_never

from pipeline.spec.job import (
    Axis,
    DerivedSeed,
    FilesAxis,
    FixedSeed,
    JobSpec,
    LaneLimits,
    LinesAxis,
    ListAxis,
    ListedSeeds,
    Matrix,
    RangeAxis,
    Seed,
    ZipGroup,
)
from pipeline.spec.scalars import resolve
from pipeline.values.digest import JSON
from pipeline.values.money import Money

_PLAIN: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_./ -]*[A-Za-z0-9])?", re.ASCII)
_UNPRINTABLE: Final = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_PERIOD: Final = {1.0: "s", 60.0: "min", 3600.0: "h"}


class _AsWritten(str):
    """A number whose text must stay as it is."""

    __slots__ = ()


def long_form(job: JobSpec) -> str:
    """The spec's text with all defaults written out. What has no value (no inputs, no size) stays left out."""
    parts: dict[str, JSON] = {"version": 1, "name": job.name, "description": job.description}
    source = job.inputs
    columns = {} if source is None else {"from": source.source, "id": source.id, "where": source.where}
    columns |= {"exclude_from": job.exclude_from}
    if any(columns.values()):
        parts["inputs"] = {key: value for key, value in columns.items() if value is not None}
    parts["matrix"] = _matrix(job.matrix)
    parts["overrides"] = [{"when": entry.when, "set": entry.set} for entry in job.overrides]
    parts |= {"model": job.model, "images": job.images, "prompt": job.prompt}
    parts["negative_prompt"] = job.negative_prompt
    parts |= {"size": job.size, "n": job.n, "samples": job.samples, "seed": _seed(job.seed), "params": job.params}
    parts["budget"] = _budget(job.budget)
    parts["rates"] = {unit: str(money) for unit, money in job.rates.items()}
    parts["prices"] = {model: str(money) for model, money in job.prices.items()}
    parts["limits"] = {lane: _limits(limits) for lane, limits in job.limits.items()}
    parts |= {"retry": {"attempts": job.attempts_max}, "on_doubt": job.on_doubt, "dedicated": job.dedicated}
    parts["order"] = job.order
    parts["outputs"] = {} if job.output_path is None else {"path": job.output_path}
    lines: list[str] = []
    for key, value in parts.items():
        if value is not None:
            lines += _block(key, value, "")
    return "\n".join(lines) + "\n"


def _matrix(matrix: Matrix) -> JSON:
    """Axes in their order. All groups of a zip stand together, for a map has one `zip`."""
    parts: dict[str, JSON] = {}
    groups: list[JSON] = []
    for axis in matrix.axes:
        if isinstance(axis, ZipGroup):
            groups.append({inner.name: _axis(inner) for inner in axis.axes})
            parts["zip"] = groups
        else:
            parts[axis.name] = _axis(axis)
    return parts | {"exclude": matrix.exclude, "include": matrix.include}


def _axis(axis: Axis) -> JSON:
    match axis:
        case ListAxis():
            return axis.values
        case LinesAxis():
            return {"lines": axis.file}
        case FilesAxis():
            return {"files": axis.glob}
        case RangeAxis():
            bounds = {"from": axis.start, "to": axis.stop, "step": axis.step}
            return {"range": {key: _AsWritten(text) for key, text in bounds.items()}}
        case _:
            assert_never(axis)


def _seed(seed: Seed) -> JSON:
    match seed:
        case DerivedSeed():
            return {"derive": seed.root}
        case FixedSeed():
            return seed.value
        case ListedSeeds():
            return seed.values
        case _:
            assert_never(seed)


def _budget(budget: tuple[Money, ...] | None) -> JSON:
    if budget is None:
        return None
    if len(budget) == 1:
        return str(budget[0])
    return {"limits": [str(money) for money in budget]} if budget else "none"


def _limits(limits: LaneLimits) -> JSON:
    rate = None if limits.rate is None else f"{limits.rate[0]}/{_PERIOD[limits.rate[1]]}"
    parts = {"rate": rate, "in_flight": limits.in_flight, "unanswered": limits.unanswered}
    return {key: value for key, value in parts.items() if value is not None}


def _block(key: str, value: JSON, indent: str) -> list[str]:
    """`key: value` in one line where the value is small, in block style where it is not."""
    head = f"{indent}{_text(key)}:"
    one_line = f"{head} {_flow(value)}"
    is_map, is_list = isinstance(value, Mapping), isinstance(value, Sequence) and not isinstance(value, str)
    if not value or not (is_map or is_list) or (len(one_line) <= 80 and indent):
        return [one_line]
    lines = [head]
    if isinstance(value, Mapping):
        for name, inner in value.items():
            lines += _block(name, inner, indent + "  ")
    elif isinstance(value, Sequence):
        lines += [f"{indent}  - {_flow(item)}" for item in value]
    return lines


def _flow(value: JSON) -> str:
    match value:
        case _AsWritten():
            return str(value)
        case str():
            return _text(value)
        case Mapping():
            return "{" + ", ".join(f"{_text(key)}: {_flow(inner)}" for key, inner in value.items()) + "}"
        case Sequence():
            return "[" + ", ".join(_flow(inner) for inner in value) + "]"
        case _:
            return json.dumps(value, allow_nan=False)


def _text(text: str) -> str:
    """Unquoted where nothing can mistake it, else in double quotes."""
    if _PLAIN.fullmatch(text) and isinstance(resolve(text), str):
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04X}", quoted)
