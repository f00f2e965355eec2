"""Console blocks of docs/, run for real: `python -m tests.habits.consoles` writes their output anew.

A block is fenced as ```console. Each line of it that begins with `$ ` is a command, what follows is what it prints. The
commands of a page run one after another in one empty folder, without a terminal and without a key. What differs from
run to run (seconds, times of day, sizes of databases) is written as it came and compared as a placeholder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.habits.warm import warm

ROOT: Final = Path(__file__).parents[2]
#: Pages whose consoles are run.
PAGES: Final = tuple(page for page in sorted((ROOT / "docs").glob("*.md")) if "```console\n" in page.read_text("utf-8"))

_BLOCK = re.compile(r"(```console\n)(.*?)(```\n)", re.DOTALL)
#: What no two runs have alike: {pattern: what stands for it when pages are compared}.
_VARIES: Final[Mapping[str, str]] = {
    # How a run is getting on is said every few seconds: a quick machine is done before.
    r"(?m)^\d\d:\d\d:\d\d [\d,]+/[\d,]+ done.*\n": "",
    r"\d\d:\d\d:\d\d": "HH:MM:SS",
    r"\b\d+(\.\d+)? (s|ms|min)\b": "TIME",
    r"\b\d+(\.\d+)? [kM]B\b": "SIZE",
}


def commands_of(block: str) -> list[str]:
    """The commands of a block, without their prompts."""
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def played(page: str, folder: Path, variables: Mapping[str, str]) -> str:
    """The page's text with what its commands print now; exit codes other than 0 are shown as a shell would be asked."""

    def drawn(match: re.Match[str]) -> str:
        return match[1] + "".join(_play(command, folder, variables) for command in commands_of(match[2])) + match[3]

    return _BLOCK.sub(drawn, page)


def _play(command: str, folder: Path, variables: Mapping[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=dict(variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    # Lines of progress come on slow machines only.
    said = (
        re.sub(r"^[\d,]+ thumbnails? made, of [\d,]+ pictures?\n", "", done.stdout, flags=re.MULTILINE)
        .rstrip("\n")
        .replace(str(folder.resolve()), "~")
    )
    code = f"(exit code {done.returncode})\n" if done.returncode else ""
    return f"$ {command}\n" + (f"{said}\n" if said else "") + code


def variables_for(folder: Path, scripts: Path) -> dict[str, str]:
    """The environment of whoever reads the page: our command on the path, no key, no terminal."""
    return {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "100",
    }


def comparable(text: str) -> str:
    """A page without what differs from run to run."""
    for pattern, stands in _VARIES.items():
        text = re.sub(pattern, stands, text)
    return text


def _pages() -> Iterator[tuple[Path, str]]:
    with tempfile.TemporaryDirectory() as scripts, warm(Path(scripts)) as bin_folder:
        for page in PAGES:
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                yield page, played(page.read_text(encoding="utf-8"), folder, variables_for(folder, bin_folder))


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.exit(
            f"python -m tests.habits.consoles takes no arguments and draws every page anew: {' '.join(sys.argv[1:])}"
        )
    for page, text in _pages():
        page.write_text(text, encoding="utf-8")
