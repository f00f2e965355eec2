"""From a tree whose form is right to a JobSpec: each part typed, amounts and decimals from the text as written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pipeline.errors import Bug, Mistake
from pipeline.spec.job import (
    Axis,
    DerivedSeed,
    FilesAxis,
    FixedSeed,
    Inputs,
    JobSpec,
    LaneLimits,
    LinesAxis,
    ListAxis,
    ListedSeeds,
    Matrix,
    Override,
    RangeAxis,
    Seed,
    ZipGroup,
)
from pipeline.spec.nodes import Tree
from pipeline.values.digest import JSON
from pipeline.values.money import Money, parse_money

_PERIOD_S: Final = {"s": 1.0, "min": 60.0, "h": 3600.0}
_DECIMAL: Final = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)", re.ASCII)
_WITHOUT_VALUES: Final = ("include", "exclude", "zip")


def check_ranges(tree: Tree) -> list[Mistake]:
    """Numbers of ranges that are no decimal text: hexadecimal, octal, exponents."""
    faults = []
    for path, text in tree.texts.items():
        if path.startswith("matrix.") and path.endswith((".range.from", ".range.to", ".range.step")):
            place = tree.values[path]
            if _is_range_axis(tree, path) and not _DECIMAL.fullmatch(text):
                faults.append(Mistake(place, f"'{path}' must be a decimal number", "write it out, such as 0.25"))
    return faults


def _is_range_axis(tree: Tree, path: str) -> bool:
    """Only `matrix.AXIS.range.from` and `matrix.zip[0].AXIS.range.from`: an axis value may have any keys."""
    return (
        re.fullmatch(r"matrix\.(zip\[[0-9]+\]\.)?[A-Za-z0-9_]+\.range\.[a-z]+", path) is not None and path in tree.texts
    )


def build_job(tree: Tree, file: str, text: str) -> JobSpec:
    """The job. The form must have been checked."""
    data: Any = tree.data
    inputs = data.get("inputs", {})
    images = data.get("images", ())
    return JobSpec(
        name=data["name"],
        model=data["model"],
        prompt=data["prompt"],
        inputs=Inputs(inputs["from"], inputs.get("id"), inputs.get("where")) if "from" in inputs else None,
        exclude_from=inputs.get("exclude_from"),
        matrix=_matrix(tree, data.get("matrix", {})),
        overrides=tuple(Override(entry["when"], _set(entry["set"])) for entry in data.get("overrides", ())),
        images=images if isinstance(images, str) else tuple(images),
        negative_prompt=data.get("negative_prompt"),
        size=data.get("size"),
        n=_whole(data.get("n", 1)),
        samples=_whole(data.get("samples", 1)),
        seed=_seed(data.get("seed")),
        params=data.get("params", {}),
        budget=_budget(tree, data.get("budget")),
        rates={unit: _money(tree, f"rates.{unit}") for unit in data.get("rates", ())},
        prices={model: _money(tree, f"prices.{model}") for model in data.get("prices", ())},
        limits={lane: _limits(limits) for lane, limits in data.get("limits", {}).items()},
        attempts_max=int(data.get("retry", {}).get("attempts", 3)),
        on_doubt=data.get("on_doubt", "hold"),
        dedicated=tuple(data.get("dedicated", ())),
        output_path=data.get("outputs", {}).get("path"),
        order=data.get("order", "written"),
        description=data.get("description", ""),
        file=file,
        text=text,
        positions=tree.values,
        key_positions=tree.keys,
    )


def _whole(value: float | str) -> int | str:
    """JSON Schema takes 2.0 for an integer; a job does not keep that spelling."""
    return value if isinstance(value, str) else int(value)


def _number(value: JSON) -> int:
    if not isinstance(value, int | float):
        raise Bug("the form of a seed was not checked")
    return int(value)


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _whole(value) if key in {"n", "samples"} else value for key, value in values.items()}


def _matrix(tree: Tree, data: Mapping[str, Any]) -> Matrix:
    """Axes in written order; the groups of `zip` stand where `zip` was written."""
    axes: list[Axis | ZipGroup] = []
    for name, value in data.items():
        if name == "zip":
            for index, group in enumerate(value):
                where = f"matrix.zip[{index}]"
                axes.append(ZipGroup(tuple(_axis(tree, inner, values, where) for inner, values in group.items())))
        elif name not in _WITHOUT_VALUES:
            axes.append(_axis(tree, name, value, "matrix"))
    return Matrix(tuple(axes), tuple(data.get("exclude", ())), tuple(data.get("include", ())))


def _axis(tree: Tree, name: str, value: JSON, where: str) -> Axis:
    match value:
        case {"lines": str(source)}:
            return LinesAxis(name, source)
        case {"files": str(glob)}:
            return FilesAxis(name, glob)
        case {"range": _}:
            at = f"{where}.{name}.range"
            return RangeAxis(name, tree.texts[f"{at}.from"], tree.texts[f"{at}.to"], tree.texts.get(f"{at}.step", "1"))
        case list():
            return ListAxis(name, tuple(value))
        case _:
            raise Bug(f"the form of an axis was not checked: {name}")


def _seed(value: JSON) -> Seed:
    match value:
        case None:
            return DerivedSeed()
        case {"derive": root}:
            return DerivedSeed(_number(root))
        case list():
            return ListedSeeds(tuple(_number(seed) for seed in value))
        case int() | float() | str():
            return FixedSeed(_whole(value))
        case _:
            raise Bug("the form of a seed was not checked")


def _budget(tree: Tree, value: str | Mapping[str, Sequence[str]] | None) -> tuple[Money, ...] | None:
    match value:
        case None:
            return None
        case "none":
            return ()
        case str():
            return (_money(tree, "budget"),)
        case _:
            return tuple(_money(tree, f"budget.limits[{index}]") for index in range(len(value["limits"])))


def _money(tree: Tree, path: str) -> Money:
    return parse_money(tree.texts[path])


def _limits(value: Mapping[str, Any]) -> LaneLimits:
    rate = None
    if "rate" in value:
        count, _, period = value["rate"].partition("/")
        rate = (int(count), _PERIOD_S[period])
    in_flight, unanswered = value.get("in_flight"), value.get("unanswered")
    return LaneLimits(
        rate,
        None if in_flight is None else int(in_flight),
        None if unanswered is None else int(unanswered),
    )
