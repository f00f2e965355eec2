"""Declarative, budget-safe batch image generation: `load` a spec, `plan` it, `run` it, `open_run` what it made.

Everything is imported when first used, so that `import pipeline` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.api import Run, load, open_run, plan, run, run_sync

__all__ = ["Run", "load", "open_run", "plan", "run", "run_sync"]
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Names of `pipeline.api`, when asked for."""
    if name in __all__:
        from importlib import import_module  # noqa: PLC0415 - late on purpose

        return getattr(import_module("pipeline.api"), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
