"""`pipeline init`: a first spec that runs at once with --simulate, key names, and a schema for the editor."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from pipeline.cli.exits import Exit
from pipeline.cli.output import answer, answer_json
from pipeline.cli.words import clean, table

#: {file below the folder: what is said of it}
WRITTEN: Final = {
    "spec.yaml": "3 colors x 2 scenes, 6 images of a mug; 0.45 USD at most, nothing with --simulate",
    ".env.example": "the key names of the gateways, all empty",
    ".pipeline/spec.schema.json": "completion and checks in your editor",
}

SPEC: Final = """\
# yaml-language-server: $schema=.pipeline/spec.schema.json
# One task per combination of the matrix. `pipeline plan` says what it costs before anything is sent,
# `pipeline run --simulate` makes the whole job without a key and without money.
version: 1
name: {name}
model: mulerouter/qwen-image-max

matrix:
  color: [red, teal, black]
  scene:
    - {{id: desk, text: on a wooden desk next to a window}}
    - {{id: sink, text: in a white kitchen sink}}

prompt: "Studio photo of a {{{{ color }}}} mug {{{{ scene.text }}}}, soft morning light"

# Sent and held together never pass this amount, whatever happens.
budget: 0.50 USD

outputs:
  path: "{{{{ color }}}}-{{{{ scene.id }}}}"
"""

ENVIRONMENT: Final = """\
# Copy to .env in the directory you run `pipeline` from, and fill in the keys you have. Never commit .env.
# With --simulate no key is needed.
MULEROUTER_API_KEY=
EVOLINK_API_KEY=
ONEMIN_API_KEY=
DASHSCOPE_API_KEY=
"""


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def init(folder: Path, as_json: bool) -> Exit:
    """Write a first spec into DIR (this directory by default). Files that are there already are kept."""
    from pipeline.runtime import bundled

    texts = {
        "spec.yaml": SPEC.format(name=job_name(folder.resolve().name)),
        ".env.example": ENVIRONMENT,
        ".pipeline/spec.schema.json": bundled.text("schemas", "job.schema.json"),
    }
    kept = [name for name, text in texts.items() if not _write_new(folder / name, text)]
    if as_json:
        answer_json({"folder": str(folder), "wrote": [name for name in texts if name not in kept], "kept": kept})
        return Exit.COMPLETE
    rows = [
        (f"{'kept' if name in kept else 'wrote'} {folder / name}", "it was there already" if name in kept else said)
        for name, said in WRITTEN.items()
    ]
    answer(table(rows, indent=""))
    spec = clean(folder / "spec.yaml")
    answer(f"next:  pipeline plan {spec}\n       pipeline run {spec} --simulate")
    return Exit.COMPLETE


def job_name(folder_name: str) -> str:
    """A job name out of a folder's name: lower-case letters, digits and dashes; `mugs` if nothing is left."""
    letters = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter == "-") else "-" for letter in folder_name.lower()
    )
    name = "-".join(part for part in letters.split("-") if part)[:60].strip("-")
    return name if name and not name[0].isdigit() else f"mugs-{name}".strip("-")


def _write_new(path: Path, text: str) -> bool:
    """False when something stands there already; never overwrites, never follows a link to nowhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True
