"""The form of a spec: what the schema says, in plain words, each fault once, with its place and a remedy."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice
from typing import Any, Final, cast

from jsonschema import Draft7Validator

from pipeline.errors import Mistake
from pipeline.spec.nodes import Path, Tree, dotted
from pipeline.spec.settings import FILE
from pipeline.spec.source import holds_secret, printable
from pipeline.values.money import UNITS, parse_money

#: Faults looked at; what is beyond would not be read anyway.
FAULTS_MAX: Final = 300
_NEAR: Final = 0.6
_NEAR_RESERVED: Final = 0.8
#: By how much a key that is there must be nearer than one that is not, to be taken for the one that was meant.
_CLEARLY: Final = 0.15
_FROM_ENVIRONMENT: Final = "keys and base URLs come from the environment only"
_ENVIRONMENT_KEYS: Final = (
    "apikey",
    "baseurl",
    "authorization",
    "headers",
    "apisecret",
    "secretkey",
    "accesskey",
    "bearer",
)
_ENVIRONMENT_WORDS: Final = frozenset(
    {"header", "token", "secret", "password", "key", "keys", "env", "endpoint", "url", "host", "proxy"}
)
_LATER: Final = {
    "steps": "write the single-step form: model, prompt and images at the top level",
    "draw": "choose rows with inputs.where, or the first ones with --limit",
}
#: Keys of a matrix that are no axes.
_RESERVED: Final = ("include", "exclude", "zip")


def check_form(tree: Tree, schema: Mapping[str, Any]) -> list[Mistake]:
    """Every fault of form, in no particular order."""
    form = _Form(tree, schema)
    return [*form.mistakes(), *form.environment_keys(), *form.amounts()]


def nearest(word: str, known: Sequence[str], taken: Collection[str] = (), cutoff: float = _NEAR) -> str | None:
    """The known word that was most likely meant, one that is not yet taken first; None when none is near."""
    for candidates in ([name for name in known if name not in taken], list(known)):
        scored = [(_likeness(word, name), name) for name in candidates]
        if scored and max(scored)[0] >= cutoff:
            return max(scored, key=lambda pair: pair[0])[1]
    return None


def given_already(word: str, known: Sequence[str], present: Collection[str]) -> str | None:
    """The known key that is there besides a misspelling of it: nearer by far than any key that is not there."""
    there = max(((_likeness(word, name), name) for name in known if name in present), default=(0.0, ""))
    free = max((_likeness(word, name) for name in known if name not in present), default=0.0)
    return there[1] if there[0] >= max(_NEAR_RESERVED, free + _CLEARLY) else None


def _likeness(word: str, name: str) -> float:
    """From 0 to 1. Swapped letters, capitals and hyphens count as nearly nothing."""
    plain, name = word[:64].lower().replace("-", "_"), name.lower().replace("-", "_")
    if plain == name or (len(plain) == len(name) and sorted(plain) == sorted(name)):
        return 0.99
    ratio = SequenceMatcher(None, plain, name, autojunk=False).ratio()
    return max(ratio, 0.95) if plain.replace("_", "") == name.replace("_", "") else ratio


def show(value: object, written: str | None = None) -> str:
    """A value as a message names it: text in quotes, cut; never a key."""
    match value:
        case str():
            if holds_secret(value):
                return "(hidden)"
            text = printable(value).replace("\n", " ")
            return f"'{text}'" if len(text) <= 40 else f"'{text[:37]}...'"
        case bool():
            return "true" if value else "false"
        case None:
            return "nothing"
        case Mapping():
            return "a map"
        case list():
            return "a list"
        case _:
            return (written or json.dumps(value))[:40]


@dataclass(frozen=True, slots=True)
class _Fault:
    """What the validator says, typed. `schema` is the part of the schema that `instance` does not satisfy."""

    validator: str
    path: Path
    schema: Mapping[str, Any]
    instance: Any
    message: str
    #: The instance is a key of the map at `path`, not a value.
    names_a_key: bool


def _faults(data: object, schema: Mapping[str, Any]) -> list[_Fault]:
    found = islice(Draft7Validator(schema).iter_errors(data), FAULTS_MAX)
    return [
        _Fault(
            str(error.validator),
            tuple(error.absolute_path),
            cast("Mapping[str, Any]", error.schema),
            error.instance,
            error.message,
            "propertyNames" in error.absolute_schema_path and isinstance(error.instance, str),
        )
        for error in found
    ]


class _Form:
    def __init__(self, tree: Tree, schema: Mapping[str, Any]) -> None:
        self.tree = tree
        self.schema = schema
        self.data = tree.data
        self.errors = _faults(tree.data, schema)
        #: {path of a map: {unknown key: what was meant}}
        self.unknown: dict[Path, dict[str, str | None]] = {}
        #: {path of an unknown key: the key beside it that it repeats}
        self.twins: dict[Path, str] = {}
        self.misnamed_axes = self._misnamed_axes()

    # -- what the schema says ----------------------------------------------------------------------------------

    def mistakes(self) -> Iterator[Mistake]:
        """One mistake per fault the schema finds, without those that follow from another."""
        for error in self.errors:
            if error.validator == "additionalProperties":
                self.unknown[error.path] = self._unknown_keys(error)
        for path, keys in self.unknown.items():
            for key, meant in keys.items():
                yield self._unknown_key((*path, key), key, meant)
        for name, meant in self.misnamed_axes.items():
            yield self._unknown_key(("matrix", name), name, meant)
        seen: set[tuple[Path, str]] = set()
        for error in self.errors:
            path = error.path
            if error.validator == "additionalProperties" or path[:2] in {
                ("matrix", name) for name in self.misnamed_axes
            }:
                continue
            if error.validator == "required":
                yield from self._missing(error)
            elif (mark := (path, "name" if error.names_a_key else "value")) not in seen and not self._follows(error):
                seen.add((path, str(error.instance)) if error.names_a_key else mark)
                yield self._wrong(error)

    def _unknown_keys(self, error: _Fault) -> dict[str, str | None]:
        known = list(error.schema.get("properties", {}))
        fresh = list(islice((key for key in error.instance if key not in known), FAULTS_MAX))
        present = {name for name in known if name in error.instance}
        taken = set(present)
        meant: dict[str, str | None] = {}
        for key in fresh:
            if _environment(key, closed=True) or key in _LATER:
                meant[key] = None
            elif twin := given_already(key, known, present):
                meant[key] = None
                self.twins[*error.path, key] = twin
            else:
                meant[key] = nearest(key, known, taken)
            taken.update({meant[key]} - {None})
        return meant

    def _unknown_key(self, path: Path, key: str, meant: str | None) -> Mistake:
        place = self.tree.key_place(path)
        if key in _LATER and len(path) == 1:
            return Mistake(place, f"'{key}' is not supported by this version", _LATER[key])
        inside = f" in '{dotted(path[:-1])}'" if len(path) > 1 else ""
        what = f"unknown key {show(key)}{inside}"
        if _environment(key, closed=True):
            return Mistake(place, what, _FROM_ENVIRONMENT)
        # A setting lies over what the spec gives, so a misspelt one means the key that is there.
        if path in self.twins and place.file != FILE:
            return Mistake(place, what, f"'{self.twins[path]}' is given already; remove this one")
        if meant or path in self.twins:
            return Mistake(place, what, f"did you mean '{meant or self.twins[path]}'?")
        known = list(self._schema_at(path[:-1]).get("properties", {}))
        return Mistake(place, what, f"known keys: {', '.join(known)}")

    def _schema_at(self, path: Path) -> Mapping[str, Any]:
        """The schema of the map whose unknown keys were found at this path."""
        found = (e.schema for e in self.errors if e.validator == "additionalProperties" and e.path == path)
        return next(found, {})

    def _missing(self, error: _Fault) -> Iterator[Mistake]:
        """The first missing key of this error, unless a near miss of it was reported or the job has steps."""
        path = error.path
        # jsonschema reports each missing key of a map by itself, with the key in its message only.
        key = next(name for name in error.schema["required"] if error.message.startswith(f"{name!r} "))
        unknown = self.unknown.get(path, {})
        if key in unknown.values() or (not path and "steps" in unknown):
            return
        where = f" in '{dotted(path)}'" if path else ""
        if set(error.schema["required"]) == {"id"}:
            yield Mistake(
                self.tree.place(path),
                f"a map as a value needs an id{where}",
                "such as {id: oak, text: a warm oak table}",
            )
            return
        properties = error.schema.get("properties", {})
        example = self._resolved(properties.get(key, {})).get("examples", [None])[0]
        yield Mistake(self.tree.place(path), f"'{key}' is missing{where}", f"such as {key}: {flow(example)}")

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in schema:
            return schema
        definition: Mapping[str, Any] = self.schema["definitions"][schema["$ref"].rsplit("/", 1)[1]]
        return definition

    def _follows(self, error: _Fault) -> bool:
        """Whether this fault only repeats another one: counts and companions of keys of a map with unknown ones."""
        path = error.path
        if error.validator in {"minProperties", "maxProperties", "dependencies"} and path in self.unknown:
            return True
        return error.names_a_key and path == ("matrix",) and error.instance in self.misnamed_axes

    def _wrong(self, error: _Fault) -> Mistake:
        path, schema = error.path, error.schema
        if error.names_a_key:
            expected = schema.get("x-expected", "another name")
            place = self.tree.key_place((*path, error.instance))
            inside = f" in '{dotted(path)}'" if path else ""
            near = nearest(str(error.instance), schema["enum"]) if "enum" in schema else None
            return Mistake(
                place,
                f"the key {show(error.instance)}{inside} must be {expected}",
                f"did you mean '{near}'?" if near else "",
            )
        place = self.tree.place(path)
        named = f"'{dotted(path)}'" if path else "the spec"
        if error.instance is None:
            gone = "it" if path and isinstance(path[-1], int) else "the key"
            return Mistake(self.tree.key_place(path), f"{named} has no value", f"write one, or remove {gone}")
        expected = schema.get("x-expected", "a map of keys and values")
        written = self.tree.texts.get(dotted(path))
        if schema.get("x-kind") in {"money", "budget"} and written is not None:
            return self._bad_amount(path, written, str(schema.get("x-expected")))
        if error.validator in {"minItems", "minProperties", "minLength"}:
            return Mistake(place, f"{named} is empty", f"write {expected}")
        if error.validator == "uniqueItems":
            return Mistake(place, f"{named} has a value twice", schema.get("x-twice", "the tasks would be identical"))
        remedy = self._remedy(error, expected, written) if path else ""
        return Mistake(place, f"{named} must be {expected}, not {show(error.instance, written)}", remedy)

    def _remedy(self, error: _Fault, expected: str, written: str | None) -> str:
        schema = error.schema
        kinds = schema.get("type", ())
        takes_text = "string" in ([kinds] if isinstance(kinds, str) else kinds) and "pattern" not in schema
        if takes_text and written is not None and not isinstance(error.instance, str):
            return f'quote it: "{printable(written)[:60]}"'
        if isinstance(error.instance, str) and "enum" in schema and (near := nearest(error.instance, schema["enum"])):
            return f"did you mean '{near}'?"
        if (
            isinstance(error.instance, str)
            and _is_number(error.instance)
            and error.validator in {"type", "const", "pattern"}
        ):
            return "remove the quotes"
        examples = schema.get("examples")
        if not examples or error.validator in {"enum", "const"} or "such as" in expected:
            return ""
        return f"such as {flow(examples[0])}"

    # -- what a schema cannot say ------------------------------------------------------------------------------

    def _bad_amount(self, path: Path, text: str, expected: str) -> Mistake:
        place, key = self.tree.place(path), dotted(path)
        if holds_secret(text):
            return Mistake(place, f"'{key}' must be {expected}")
        number = text.strip().lstrip("$").strip()
        if _is_number(number):
            return Mistake(
                place, f"'{key}' needs a unit, such as 2.00 USD", f"write {number} USD if US dollars are meant"
            )
        amount, _, unit = text.strip().partition(" ")
        same = [known for known in UNITS if known.lower() == unit.strip().lower()]
        if same and _is_number(amount):
            return Mistake(place, f"'{key}' has the unknown unit {show(unit.strip())}", f"write {amount} {same[0]}")
        return Mistake(place, f"'{key}' must be {expected}, not {show(text)}", f"units: {', '.join(UNITS)}")

    def amounts(self) -> Iterator[Mistake]:
        """Amounts whose form is right and whose number cannot be counted, and units given twice."""
        data = self.data if isinstance(self.data, Mapping) else {}
        limits: Any = data.get("budget")
        listed = limits.get("limits") if isinstance(limits, Mapping) else None
        paths: list[Path] = [("budget",)]
        paths += [("budget", "limits", index) for index in range(len(listed) if isinstance(listed, list) else 0)]
        for key in ("rates", "prices"):
            table = data.get(key)
            paths += [(key, name) for name in table] if isinstance(table, Mapping) else []
        wrong = {error.path for error in self.errors}
        units: set[str] = set()
        for path in paths:
            text = self.tree.texts.get(dotted(path))
            if text is None or text == "none" or path in wrong:
                continue
            try:
                money = parse_money(text)
            except ValueError as error:
                yield Mistake(self.tree.place(path), f"'{dotted(path)}': {error}", "an amount is counted in millionths")
                continue
            if path[0] == "rates" and not money.micros:
                yield Mistake(self.tree.place(path), f"'{dotted(path)}' is zero, which would make everything free")
            if path[0] == "budget" and money.unit in units:
                yield Mistake(self.tree.place(path), f"'budget.limits' has {money.unit} twice", "one limit per unit")
            units.update({money.unit} if path[0] == "budget" else ())

    def environment_keys(self) -> Iterator[Mistake]:
        """Keys in open maps of parameters that only the environment may set."""
        for path, place in self.tree.walk_keys():
            parts = path.split(".")
            if "params" in parts[:-1] and _environment(parts[-1], closed=False):
                yield Mistake(place, f"unknown key {show(parts[-1])} in '{'.'.join(parts[:-1])}'", _FROM_ENVIRONMENT)

    def _misnamed_axes(self) -> dict[str, str]:
        """{key of the matrix: include, exclude or zip, which it must mean}: lists of maps without an id are no axes."""
        matrix: Any = self.data.get("matrix") if isinstance(self.data, Mapping) else None
        if not isinstance(matrix, Mapping):
            return {}
        meant: dict[str, str] = {}
        for name, values in islice(matrix.items(), FAULTS_MAX):
            maps = isinstance(values, list) and any(isinstance(v, Mapping) and "id" not in v for v in values)
            near = nearest(name, _RESERVED, matrix, _NEAR_RESERVED) if maps and name not in _RESERVED else None
            if near:
                meant[name] = near
        return meant


def _environment(key: str, *, closed: bool) -> bool:
    plain = "".join(letter for letter in key.lower() if letter.isalnum())
    return any(word in plain for word in _ENVIRONMENT_KEYS) or (closed and plain in _ENVIRONMENT_WORDS)


def _is_number(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal() and text.isascii()


def flow(value: object) -> str:
    """An example as YAML in one line."""
    match value:
        case Mapping():
            return "{" + ", ".join(f"{key}: {flow(inner)}" for key, inner in value.items()) + "}"
        case list():
            return "[" + ", ".join(flow(inner) for inner in value) + "]"
        case str():
            return f'"{value}"' if value.startswith("{{") or ": " in value or "{{" in value else value
        case _:
            return json.dumps(value)
