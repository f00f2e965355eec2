"""What stands where in a run folder: the names, in one place."""

from __future__ import annotations

from typing import Final

SPEC: Final = "spec.yaml"
STORE: Final = "state.db"
LOG: Final = "log.jsonl"
METRICS: Final = "metrics.prom"
CONTROL: Final = "control"
LOCK: Final = "lock"
BLACKBOX: Final = "blackbox"
REPORT: Final = "report"
#: Pictures under their final names, and nothing else.
IMAGES: Final = "images"
#: Pictures on their way in; what is found here at an open was never finished.
PARTS: Final = ".parts"
#: Files found among the pictures that no row of the store names; moved here, never deleted.
QUARANTINE: Final = "quarantine"
IMAGES_ARROW: Final = "images.arrow"
IMAGES_PARQUET: Final = "images.parquet"
TASKS_ARROW: Final = "tasks.arrow"
#: Room kept for paid answers that arrive when the disk is full; given up then, and gone when the run has finished.
BALLAST: Final = "ballast"
