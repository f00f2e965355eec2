"""`pipeline init`: a first spec that runs at once with --simulate, key names, and a schema for the editor."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

import click

from pipeline.cli.exits import Exit
from pipeline.cli.output import answer, answer_json, for_screen
from pipeline.cli.words import clean, table

#: {template: what it makes}. Each is a folder of specs/templates; a test compares the figures with the plan's.
TEMPLATES: Final = {
    "quickstart": "24 images: 2 models x 3 prompts x 2 sizes x 2 seeds; 0.78 USD at most, nothing with --simulate",
    "edit": "12 images: a table of photographs x 3 settings; 0.36 USD at most, nothing with --simulate",
    "dataset": "72 images: a file of prompts x 3 lights, in an even order; 2.16 USD at most, nothing with --simulate",
    "sweep": "24 images: one prompt under 8 settings, 3 seeds each; 0.84 USD at most, nothing with --simulate",
    "csv": "9 images: one for each row of a spreadsheet; 0.675 USD at most, nothing with --simulate",
}
#: {file: what is said of it}
SAID: Final = {
    ".env.example": "the key names of the gateways, all empty",
    ".pipeline/spec.schema.json": "completion and checks in your editor",
    "photos.csv": "the table of photographs",
    "prompts.txt": "one scene on each line",
    "products.csv": "a spreadsheet of products",
}
#: {template: photographs of specs/assets that go beside it}
_PHOTOGRAPHS: Final = {"edit": ("coffee.png", "astronaut.png")}

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
@click.option(
    "--template",
    type=click.Choice(tuple(TEMPLATES)),
    default="quickstart",
    help="What to begin with: two models compared, edits of photographs, a dataset, one prompt's settings, or a table.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def init(folder: Path, template: str, as_json: bool) -> Exit:
    """Write a first spec into DIR (this directory by default). Files that are there already are kept."""
    contents = files_of(template, job_name(folder.resolve().name))
    kept = [name for name, content in contents.items() if not _write_new(folder / name, content)]
    if as_json:
        answer_json({"folder": str(folder), "wrote": [name for name in contents if name not in kept], "kept": kept})
        return Exit.COMPLETE
    rows = [
        (f"{'kept' if name in kept else 'wrote'} {folder / name}", _said(name, template, kept=name in kept))
        for name in contents
    ]
    answer(_listed(rows))
    spec = clean(folder / "spec.yaml")
    answer(f"next:  pipeline plan {spec}\n       pipeline run {spec} --simulate")
    return Exit.COMPLETE


def _listed(rows: list[tuple[str, str]]) -> str:
    """A line for each file; two, where a terminal has no room for what is said of it."""
    wide = table(rows, indent="")
    if not sys.stdout.isatty() or max(map(len, wide.splitlines())) <= shutil.get_terminal_size().columns:
        return wide
    return for_screen("\n".join(f"{clean(wrote)}\n      {clean(said)}" for wrote, said in rows), sys.stdout)


def files_of(template: str, name: str) -> dict[str, bytes]:
    """What a template consists of, by path below its folder; `name` becomes the job's."""
    from pipeline.runtime import bundled

    place = f"templates/{template}"
    spec = bundled.text("specs", f"{place}/spec.yaml").replace("\nname: NAME\n", f"\nname: {name}\n", 1)
    return {
        "spec.yaml": spec.encode(),
        **{
            file: bundled.path("specs", f"{place}/{file}").read_bytes()
            for file in bundled.names(f"specs/{place}")
            if file != "spec.yaml"
        },
        **{photo: bundled.path("specs", f"assets/{photo}").read_bytes() for photo in _PHOTOGRAPHS.get(template, ())},
        ".env.example": ENVIRONMENT.encode(),
        ".pipeline/spec.schema.json": bundled.text("schemas", "job.schema.json").encode(),
    }


def _said(name: str, template: str, *, kept: bool) -> str:
    if kept:
        return "it was there already"
    return TEMPLATES[template] if name == "spec.yaml" else SAID.get(name, "a photograph to begin with")


def job_name(folder_name: str) -> str:
    """A job name out of a folder's name: lower-case letters, digits and dashes; `mugs` if nothing is left."""
    letters = "".join(
        letter if letter.isascii() and (letter.isalnum() or letter == "-") else "-" for letter in folder_name.lower()
    )
    name = "-".join(part for part in letters.split("-") if part)[:60].strip("-")
    return name if name and not name[0].isdigit() else f"mugs-{name}".strip("-")


def _write_new(path: Path, content: bytes) -> bool:
    """False when something stands there already; never overwrites, never follows a link to nowhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True
