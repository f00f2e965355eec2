"""A fresh virtual environment without a network: it borrows the libraries of the environment that runs the suite."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = sys.executable
#: A command that takes longer hangs.
TIMEOUT_S = 90
#: What a fresh environment brings itself, and this project, which is what a test installs.
OWN = (
    "image_batch_pipeline",
    "_image_batch_pipeline",
    "pip",
    "setuptools",
    "pkg_resources",
    "_distutils_hack",
    "distutils",
)


def borrowed(folder: Path) -> Path:
    """A folder of links to the libraries that are installed here, all but this project."""
    folder.mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            if not entry.name.startswith(tuple(f"{name}{end}" for name in OWN for end in (".", "-"))) and (
                entry.name not in OWN
            ):
                (folder / entry.name).symlink_to(entry)
    return folder


def environment(libraries: Path, home: Path) -> dict[str, str]:
    """Variables under which pip reaches for no index and builds with what is installed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON", "VIRTUAL_ENV"))}
    return {
        **kept,
        "HOME": str(home),
        "PYTHONPATH": str(libraries),
        "PYTHONNOUSERSITE": "1",
        "PIP_NO_INDEX": "1",
        # pip reads this one backwards: a false value is what `--no-build-isolation` sets.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "NO_COLOR": "1",
    }


def call(arguments: Sequence[str], cwd: Path, variables: Mapping[str, str]) -> str:
    """Run a command to its end and give what it printed. *Raises* AssertionError with all of it when it fails."""
    done = subprocess.run(
        arguments, cwd=cwd, env=dict(variables), capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert done.returncode == 0, f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr
