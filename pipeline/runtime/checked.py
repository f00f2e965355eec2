"""The proof that a plan was checked: a large one is rendered and checked once, and never again until something changed.

What is kept is the check's own summary, below a name that is the digest of everything that the check looks at: the
plan, the spec as run, the caps, the gateways' cards with the region that the environment chooses, and the code that
checked it. Losing it costs only time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pipeline
from pipeline.plan.expand import Plan
from pipeline.plan.summary import LaneSummary, Summary
from pipeline.runtime import bundled
from pipeline.runtime.resources import cache_folder
from pipeline.spec.long_form import long_form

#: Smaller plans are checked as fast as a proof is read.
WORTH: Final = 5_000
#: A plan with more repetitions than that is checked each time: the proof would be long.
_REPEATS_MAX: Final = 20_000
#: So many proofs are kept; the oldest go first.
_KEPT_MAX: Final = 64
#: The rooms whose code decides what a check finds.
_ROOMS: Final = ("plan", "spec", "values")


def proven(plan: Plan) -> Summary | None:
    """The summary of this very plan's check, if there was one; None when it is to be checked."""
    if len(plan) < WORTH:
        return None
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        data = _file(plan).read_bytes()
        written = json.loads(data)
        body = _text(written["summary"])
        if hashlib.sha256(body).hexdigest() == written["sha256"]:
            return _summary(written["summary"])
    return None


def keep(plan: Plan, summary: Summary) -> None:
    """Remember that a plan was checked; failing is no fault."""
    if len(plan) < WORTH or len(summary.repeats) > _REPEATS_MAX:
        return
    with contextlib.suppress(OSError):
        file = _file(plan)
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # As it will be read: keys of JSON are texts.
        found = json.loads(_text(asdict(summary)))
        text = json.dumps({"sha256": hashlib.sha256(_text(found)).hexdigest(), "summary": found})
        handle, name = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w") as sink:
            sink.write(text)
        Path(name).replace(file)
        for old in sorted(file.parent.glob("*.json"), key=lambda each: each.stat().st_mtime)[:-_KEPT_MAX]:
            old.unlink()


def _file(plan: Plan) -> Path:
    seen = hashlib.sha256()
    for part in _looked_at(plan):
        seen.update(b"%d:" % len(part) + part)
    return cache_folder() / "checked" / f"{seen.hexdigest()}.json"


def _looked_at(plan: Plan) -> Iterator[bytes]:
    """Everything that a check's outcome depends on."""
    yield plan.digest.encode()
    yield long_form(plan.job).encode()
    yield repr(None if plan.caps is None else sorted(plan.caps.items())).encode()
    for name in sorted(bundled.names("schemas/gateways")):
        yield bundled.text("schemas/gateways", name).encode()
    for card in sorted(plan.cards.values(), key=lambda card: card.name):
        yield f"{card.name}={os.environ.get(card.base_url_env, '')}".encode()
    root = Path(pipeline.__file__).parent
    for room in _ROOMS:
        for file in sorted((root / room).glob("*.py")):
            yield file.name.encode()
            yield file.read_bytes()


def _text(found: Mapping[str, Any]) -> bytes:
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()


def _summary(found: dict[str, Any]) -> Summary:
    lanes = {
        name: LaneSummary(**{**lane, "evidence": tuple(lane["evidence"])}) for name, lane in found["lanes"].items()
    }
    repeats = {int(number): int(first) for number, first in found["repeats"].items()}
    return Summary(**{**found, "lanes": lanes, "repeats": repeats, "notes": tuple(found["notes"])})
