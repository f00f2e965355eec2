"""Reports made of invented rows, in the shape of the page's contract: any number, any states, any words."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pipeline.report.data import CHUNK, COLUMNS, script
from pipeline.report.pages import write_page

Row = dict[str, Any]

MODELS = ("mulerouter/qwen-image-max", "dashscope/qwen-image-2.0")
SIZES = ("1328x1328", "1664x928")
MOODS = ("snow", "sunset", "lamp")
SUBJECTS = ("a lighthouse", "a blue teapot", "an orchard in blossom", "two foxes", "an old map", "the harbour")
#: The start of every invented run: a fixed moment. *Units* - microseconds.
START = 1_760_000_000_000_000
_COLOURS = ((176, 94, 62), (62, 112, 140), (120, 140, 78), (196, 160, 80), (92, 74, 120))


def digest(*parts: object) -> str:
    """64 hexadecimal digits that depend on nothing but the parts."""
    return hashlib.sha256("/".join(map(str, parts)).encode()).hexdigest()


def row(number: int, **given: Any) -> Row:
    """One picture that was made as asked, or whatever is given instead."""
    chance = random.Random(number)
    subject, mood = SUBJECTS[number // 12 % len(SUBJECTS)], MOODS[number // 4 % 3]
    model, size = MODELS[number // 2 % 2], SIZES[number % 2]
    gateway, _, name = model.partition("/")
    width, height = map(int, size.split("x"))
    task = digest("task", number)
    submitted = START + number * 250_000
    cells: Row = {
        "id": f"{task}#0",
        "task_id": task,
        "image_index": 0,
        "state": "done",
        "step": "image",
        "row_id": f"row-{number // 4}",
        "row": {"subject": subject},
        "axes": {"model": model, "size": size, "mood": mood},
        "sample": 0,
        "gateway": gateway,
        "model": name,
        "prompt": f"A photograph of {subject} in the light of {mood}, number {number // 4}",
        "negative_prompt": None,
        "revised_prompt": None,
        "params": "{}",
        "seed": chance.randrange(2**31),
        "n": 1,
        "size": size,
        "width": width,
        "height": height,
        "media_type": "image/png",
        "bytes": 70_000 + number,
        "sha256": digest("picture", number),
        "src": f"pictures/{number % len(_COLOURS)}-{number % 2}.png",
        "thumb": f"pictures/{number % len(_COLOURS)}-{number % 2}.png",
        "inputs": [],
        "cost_micros": chance.choice((75_000, 35_000, 30_000)),
        "currency": "USD",
        "operation_id": digest("operation", number)[:20],
        "attempts": 1,
        "in_spec": True,
        "fault": None,
        "fault_message": None,
        "submitted_at": submitted,
        "completed_at": submitted + chance.randrange(4_000_000, 60_000_000),
        "stored_at": submitted + 61_000_000,
        "flags": [],
    }
    return cells | given


def bare(number: int, state: str, fault: str | None = None, **given: Any) -> Row:
    """A task without a picture."""
    cells = row(number)
    nothing = ("width", "height", "media_type", "bytes", "sha256", "src", "thumb", "stored_at", "image_index")
    changed = dict.fromkeys(nothing) | {"id": f"{cells['task_id']}#", "state": state, "fault": fault, "cost_micros": 0}
    if state in {"waiting", "held"}:
        changed |= {"submitted_at": None, "completed_at": None, "operation_id": None, "attempts": 0}
    return cells | changed | {"fault_message": f"the gateway said {fault}" if fault else None} | given


def mixed(count: int) -> list[Row]:
    """A run of which most was made: failures, doubts, flags and waiting tasks among its pictures."""
    rows = []
    for number in range(count):
        match number % 17:
            case 3:
                rows.append(bare(number, "failed", "moderated"))
            case 9:
                rows.append(bare(number, "in_doubt", "timeout"))
            case 14:
                rows.append(bare(number, "waiting"))
            case 6:
                rows.append(row(number, flags=["blank", f"near-duplicate:{digest('task', number - 1)}#0"]))
            case _:
                rows.append(row(number))
    return rows


def axes_of(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The axes of more than one value, the matrix' own and those of columns, as the writer states them."""
    names: dict[str, dict[str, None]] = {}
    for each in rows:
        pseudo = {
            "row": each["row_id"],
            "sample": str(each["sample"]),
            "gateway": each["gateway"],
            "step": each["step"],
        }
        for name, value in {**each["axes"], **pseudo}.items():
            names.setdefault(name, {})[value] = None
    return [{"name": name, "values": list(values)} for name, values in names.items() if len(values) > 1]


def meta(rows: Sequence[Row], **given: Any) -> dict[str, Any]:
    """The meta object that belongs to these rows, with whatever is given instead."""
    states = Counter({each["task_id"]: each["state"] for each in rows}.values())
    failed: Counter[tuple[str, str]] = Counter(
        (each["state"], each["fault"]) for each in rows if each["state"] in {"failed", "in_doubt"}
    )
    settled = sum(each["cost_micros"] or 0 for each in rows if each["image_index"] is not None)
    resume = "pipeline run specs/invented.yaml"
    return {
        "kind": "meta",
        "version": 1,
        "job": "invented",
        "state": "failed_tasks" if failed else "complete",
        "simulate": True,
        "live": False,
        "created_at": START,
        "updated_at": START + 60_000_000,
        "seconds": 60.0,
        "versions": {"pipeline": "0.1.0"},
        "folder": "invented.sim",
        "commands": {
            "resume": resume,
            "retry": "pipeline retry runs/invented",
            "report": "pipeline report runs/invented",
            "resolve": None,
        },
        "tasks": {"total": sum(states.values()), **states},
        "images": sum(1 for each in rows if each["image_index"] is not None),
        "money": [
            {
                "currency": "USD",
                "limit_micros": 20_000_000,
                "settled_micros": settled,
                "held_micros": 150_000,
                "doubt_micros": 0,
            }
        ],
        "axes": axes_of(rows),
        "models": list(MODELS),
        "lanes": [],
        "failures": [
            {
                "state": state,
                "fault": fault,
                "count": count,
                "sentence": f"The gateway answered {fault}. No money was taken. Change the prompt, and send it again.",
                "command": f"pipeline retry runs/invented --fault {fault}",
                "examples": [each["id"] for each in rows if (each["state"], each["fault"]) == (state, fault)][:5],
                "message": f"the gateway said {fault}",
            }
            for (state, fault), count in failed.items()
        ],
        "charts": charts(rows),
        "rows": len(rows),
        "chunks": -(-len(rows) // CHUNK),
        "review": None,
    } | given


def charts(rows: Sequence[Row]) -> dict[str, Any]:
    """Figures for three drawings."""
    lines = []
    for model in MODELS:
        gateway, _, name = model.partition("/")
        mine = [each for each in rows if each["model"] == name]
        made = [each for each in mine if each["image_index"] is not None]
        lines.append(
            {
                "model": name,
                "gateway": gateway,
                "step": "image",
                "currency": "USD",
                "images": len(made),
                "tasks": len(mine),
                "failed": sum(each["state"] == "failed" for each in mine),
                "settled_micros": sum(each["cost_micros"] for each in made),
            }
        )
    total = sum(line["settled_micros"] for line in lines)
    points = [
        {
            "at": START + step * 3_000_000,
            "images": len(rows) * step // 20,
            "settled_micros": {"USD": total * step // 20},
            "held_micros": {"USD": 500_000 - 25_000 * step},
        }
        for step in range(21)
    ]
    seconds = [{"model": model, "count": 20, "p50": 12.0, "p90": 31.5, "max": 58.0} for model in MODELS]
    return {"by_model": lines, "over_time": points, "seconds": seconds}


def write_rows(place: Path, rows: Sequence[Row], **given: Any) -> Path:
    """A whole report; answers its page."""
    place.mkdir(parents=True, exist_ok=True)
    for chunk, first in enumerate(range(0, len(rows), CHUNK)):
        (place / f"data-{chunk:03d}.js").write_bytes(script(rows_object(rows[first : first + CHUNK], chunk)))
    (place / "data-meta.js").write_bytes(script(meta(rows, **given)))
    pictures = place / "pictures"
    pictures.mkdir(exist_ok=True)
    for number, colour in enumerate(_COLOURS):
        for shape, size in enumerate(((160, 160), (160, 89))):
            Image.new("RGB", size, colour).save(pictures / f"{number}-{shape}.png")
    return write_page(place)


def rows_object(rows: Sequence[Mapping[str, Any]], chunk: int = 0) -> dict[str, Any]:
    """The object of kind `rows`."""
    lines = [[each[name] for name in COLUMNS] for each in rows]
    return {"kind": "rows", "chunk": chunk, "columns": list(COLUMNS), "rows": lines}


def event(kind: str, data: Mapping[str, Any], number: int | None = None) -> bytes:
    """One server-sent event."""
    lead = "" if number is None else f"id: {number}\n"
    return f"{lead}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
