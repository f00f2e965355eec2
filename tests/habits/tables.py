"""Tables of the README and of docs/, drawn from the code: `python -m tests.habits.tables` writes them anew.

test_documents compares. A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click

ROOT: Final = Path(__file__).parents[2]
#: Pages that may hold tables; those of gateways are drawn whole, by gateway_pages.
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_PLACE = re.compile(r"(<!-- table: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def commands() -> str:
    """Every command with every option, from click."""
    from pipeline.cli.main import cli

    context = click.Context(cli, info_name="pipeline")
    parts = []
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        arguments = [_argument(parameter) for parameter in command.params if isinstance(parameter, click.Argument)]
        parts.append(f"**`{' '.join([name, *arguments])}`** {_one_line(command.help or '')}\n")
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        if options:
            parts.append("\n".join(f"- {_option(option)}: {_one_line(option.help or '')}" for option in options) + "\n")
    return "\n".join(parts)


def _argument(parameter: click.Argument) -> str:
    name = (parameter.metavar or (parameter.name or "").upper()).strip("[]")
    return name if parameter.required else f"[{name}]"


def _option(option: click.Option) -> str:
    spelled = ", ".join(f"`{text}`" for text in sorted(option.opts, key=len, reverse=True))
    if option.is_flag:
        return spelled
    if isinstance(option.type, click.Choice):
        return f"{spelled} `{'|'.join(str(choice) for choice in option.type.choices)}`"
    kind = "N" if isinstance(option.type, click.IntRange) else option.type.name.upper()
    return f"{spelled} `{option.metavar or kind}`"


def _one_line(text: str) -> str:
    return " ".join(text.replace("\b", "").split())


def exit_codes() -> str:
    """Every exit code with its meaning."""
    from pipeline.cli.exits import MEANINGS

    return _table(("Code", "Meaning"), [(str(code.value), meaning) for code, meaning in MEANINGS.items()])


def spec_keys() -> str:
    """Every key of the spec's schema."""
    schema = json.loads((ROOT / "schemas" / "job.schema.json").read_text(encoding="utf-8"))
    rows = []
    for key, node in _keys(schema, schema, ""):
        default = f"`{json.dumps(node['default'])}`" if "default" in node else ""
        rows.append((f"`{key}`", default, _one_line(node["description"])))
    return _table(("Key", "Default", "Meaning"), rows)


def _keys(schema: Mapping[str, Any], node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every property of a schema with its dotted name, in the schema's order, through references and alternatives."""
    for name, found in node.get("properties", {}).items():
        resolved = _resolved(schema, found)
        if name == "set":  # its keys are those of the job, said once
            settable = ", ".join(f"`{key}`" for key in resolved["properties"])
            yield prefix + name, {**found, "description": f"{found['description']} Settable: {settable}."}
            continue
        yield prefix + name, {**resolved, **found}
        yield from _keys(schema, resolved, f"{prefix}{name}.")
        inner = resolved.get("additionalProperties")
        items = resolved.get("items")
        if isinstance(inner, dict):
            yield from _keys(schema, _resolved(schema, inner), f"{prefix}{name}.*.")
        if isinstance(items, dict):
            yield from _keys(schema, _resolved(schema, items), f"{prefix}{name}[].")
    for part in ("anyOf", "oneOf", "allOf"):
        for option in node.get(part, ()):
            yield from _keys(schema, _resolved(schema, option), prefix)


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """The node with the definition it refers to."""
    for part in (node, *node.get("allOf", ())):
        if "$ref" in part:
            target: Any = schema
            for step in part["$ref"].removeprefix("#/").split("/"):
                target = target[step]
            return {**target, **node}
    return node


def columns(kind: str) -> str:
    """Every column of a manifest file with its Arrow type, unit and meaning."""
    from pipeline.manifest import schema

    arrow = {"images": schema.IMAGES, "tasks": schema.TASKS}[kind]
    rows = []
    for field in arrow:
        said = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        rows.append((f"`{field.name}`", f"`{field.type}`", said.get("unit", ""), said["meaning"]))
    return _table(("Column", "Type", "Unit", "Meaning"), rows)


def phases() -> str:
    """Every phase of a task with those that may follow it, from the engine's own table."""
    from pipeline.engine.lifecycle import PHASES
    from pipeline.engine.phases import Phase

    order = list(Phase)
    rows = [
        (f"`{phase}`", ", ".join(f"`{after}`" for after in sorted(PHASES[phase], key=order.index)) or "(the end)")
        for phase in order
    ]
    return _table(("Phase", "may be followed by"), rows)


def gateways() -> str:
    """Every model with its price and where the figure comes from, from the cards."""
    from pipeline.runtime import prepare

    rows = []
    for gateway in prepare.cards().values():
        for model in gateway.models.values():
            price = "unknown" if model.price_per_image is None else f"{model.price_per_image} {model.price_unit}"
            rows.append(
                (
                    f"`{gateway.name}/{model.name}`",
                    f"{price} an image ({model.price_date})",
                    f"`{gateway.key_env}`",
                    f"`{gateway.base_url_env}`",
                )
            )
    return _table(("Model", "Price", "Key", "Base URL override"), rows)


def faults() -> str:
    """Every fault that an emulator can be told to make, from the comments beside the fields that hold them."""
    from pipeline.simulator.faults import FAULT_KEYS

    text = (ROOT / "pipeline" / "simulator" / "faults.py").read_text(encoding="utf-8")
    meanings = {name: words for words, name in re.findall(r"    #: (.+)\n    (\w+): ", text)}
    return _table(("Key", "What happens"), [(f"`{name}`", meanings[name]) for name in FAULT_KEYS])


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "models": gateways,
    "commands": commands,
    "exit-codes": exit_codes,
    "spec-keys": spec_keys,
    "images-columns": lambda: columns("images"),
    "tasks-columns": lambda: columns("tasks"),
    "phases": phases,
    "faults": faults,
}


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def found(text: str) -> dict[str, str]:
    """{name: table as it stands in a text}."""
    return {match[2]: match[3] for match in _PLACE.finditer(text)}


def redrawn(text: str) -> str:
    """The text with every table drawn from the code."""
    return _PLACE.sub(lambda match: match[1] + TABLES[match[2]]() + match[4], text)


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(
            f"python -m tests.habits.tables takes no arguments and draws every table anew: {' '.join(sys.argv[1:])}"
        )
    for page in PAGES:
        page.write_text(redrawn(page.read_text(encoding="utf-8")), encoding="utf-8")
