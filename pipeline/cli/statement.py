"""How a run stands, said in words: `status`, `ls`, and the last lines of `run`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.cli import words
from pipeline.cli.lines import (
    budget_lines,
    doubt_lines,
    failure_lines,
    faults_words,
    out_lines,
    parked_lines,
    said_lines,
    state_words,
)
from pipeline.cli.next_steps import next_steps
from pipeline.cli.standing import Lane, Standing, list_of, mapping_of, number_of, standing
from pipeline.values.folder import IMAGES_ARROW, REPORT
from pipeline.values.money import format_money


@dataclass(frozen=True, slots=True)
class Ending:
    """What the last lines of a run are made from. *Units* - seconds: as they passed here; simulated_s: virtual."""

    status: Mapping[str, object]
    folder: Path
    seconds: float
    #: How long the real job would take; None for a real run, and for a rehearsal that had nothing left to do.
    simulated_s: float | None
    simulated: bool
    #: The command that continues this run.
    command: str
    notes: Sequence[str] = ()


def render_end(ending: Ending) -> str:
    """What was made, what it cost, what failed and what to do next."""
    found = standing(ending.status)
    lines = [_headline(found, ending)]
    lines += [f"  {words.clean(note)}" for note in ending.notes]
    if not list_of(ending.status.get("failures")):
        lines += [f"  gave up   {_counts(found)}"] if _unfinished(found) else []
        lines += [f"  faults    {faults_words(found.faults)}"] if found.faults else []
    lines += failure_lines(ending.status)
    lines += doubt_lines(found)
    lines += parked_lines(ending.status, found)
    lines += out_lines(ending.status, found)
    lines += budget_lines(ending.status, found)
    lines += said_lines(ending.status)
    if found.images:
        lines.append(f"  images    {words.clean(ending.folder / 'images')}")
        lines.append(f"  gallery   {_gallery(ending.folder)}")
    lines.append(f"  table     {words.clean(ending.folder / 'images.arrow')}  (images.parquet, tasks.arrow beside it)")
    lines += [f"  next      {step}" for step in next_steps(found, ending.status, ending.command, ending.folder)]
    if ending.simulated:
        took = ending.simulated_s
        real = "" if took is None else f"; the real job would take about {words.duration(took)}"
        lines.append(f"nothing was bought: this was a rehearsal{real}")
    return "\n".join(lines)


def _headline(found: Standing, ending: Ending) -> str:
    money = ", ".join(account.line() for account in found.accounts) or "nothing to pay"
    done = found.tasks.get("done", 0)
    # A folder may hold more than was asked for this time: an earlier run had no --limit, or another plan.
    whole = done >= found.total
    tasks = words.count(done, "task") if whole else f"{done:,} of {words.count(found.total, 'task')}"
    made = f"{words.count(found.images, 'image')}, {tasks} done"
    state = state_words(ending.status, found)
    return words.clean(f"{state}: {made} in {words.duration(ending.seconds)}; {money}")


def _unfinished(found: Standing) -> bool:
    return any(found.tasks.get(name) for name in ("short", "failed", "skipped"))


def _counts(found: Standing) -> str:
    kinds = ("failed", "short", "skipped")
    return ", ".join(
        f"{words.count(found.tasks[name], 'task')} {name.replace('_', ' ')}" for name in kinds if found.tasks.get(name)
    )


def _gallery(folder: Path) -> str:
    """The page, where it shows what is there now; else the command that makes it."""
    page, table = folder / REPORT / "index.html", folder / IMAGES_ARROW
    place = words.clean(shlex.quote(str(folder)))
    if not page.is_file():
        return f"pipeline report {place}   makes a page to look through them"
    # The table is written anew when pictures came; a page that is older does not have them.
    older = table.is_file() and page.stat().st_mtime_ns < table.stat().st_mtime_ns
    return f"pipeline report {place}   brings its page up to date" if older else words.clean(page)


def render_status(status: Mapping[str, object], folder: str, command: str = "pipeline run SPEC") -> str:
    """The page that `status` prints; `command` goes on with the run."""
    found = standing(status)
    state = state_words(status, found)
    lines = [words.clean(f"{folder}: {state}, {words.count(found.images, 'image')}")]
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in found.tasks.items())
    lines.append(words.clean(f"  tasks     {counts or 'none started'}, {found.total:,} in all"))
    lines += _pace_lines(status, found)
    lines += [words.clean(f"  money     {account.line()}") for account in found.accounts]
    lines += _bill_lines(status)
    lines += [words.clean(f"  lane      {_lane_words(lane)}") for lane in found.lanes]
    lines += _unknown_lines(status)
    lines += (
        [f"  faults    {faults_words(found.faults)}"] if found.faults and not list_of(status.get("failures")) else []
    )
    lines += failure_lines(status)
    lines += parked_lines(status, found) if found.state != "running" else []
    lines += out_lines(status, found)
    lines += budget_lines(status, found)
    lines += said_lines(status)
    lines += [f"  in doubt  {_doubt_words(doubt)}" for doubt in list_of(status.get("in_doubt"))]
    lines += _again_lines(status)
    lines += [f"  damage    {words.clean(fault)}" for fault in list_of(status.get("damage"))]
    lines += [f"  note      {words.clean(note)}" for note in list_of(status.get("notes"))]
    if found.state not in ("running", "damaged", "complete"):
        steps = next_steps(found, status, command, Path(folder))
        lines += [f"  next      {step}" for step in steps]
    if status.get("damage"):
        lines.append(
            "  next      pipeline verify says all that is wrong; pipeline run sends nothing and says the remedies"
        )
    return "\n".join(lines)


def _pace_lines(status: Mapping[str, object], found: Standing) -> list[str]:
    """How fast a living run goes, and how long it takes yet, as far as anybody can say."""
    speed, left = status.get("images_per_min"), status.get("left_s")
    parts = [f"{speed:,.0f} images per minute"] if isinstance(speed, int | float) else []
    parts += [f"about {words.duration(left)} left"] if isinstance(left, int | float) else []
    return [f"  pace      {', '.join(parts)}"] if parts and found.state == "running" else []


def _bill_lines(status: Mapping[str, object]) -> list[str]:
    """Each gateway's part, in the vendor's own unit beside the cap's, where one account does not say it already."""
    bills = [
        (gateway, unit, mapping_of(bill))
        for gateway, units in mapping_of(status.get("by_gateway")).items()
        for unit, bill in mapping_of(units).items()
    ]
    if len(bills) < 2 and all(set(mapping_of(bill.get("in_cap"))) <= {unit} for _, unit, bill in bills):
        return []
    lines = []
    for gateway, unit, bill in bills:
        parts = []
        for name, said in (("settled", "settled"), ("held", "held"), ("doubt", "in doubt")):
            micros = number_of(bill.get(f"{name}_micros"))
            others = {
                other: number_of(mapping_of(amounts).get(f"{name}_micros"))
                for other, amounts in mapping_of(bill.get("in_cap")).items()
                if other != unit
            }
            beside = f" = {words.money(others)}" if any(others.values()) else ""
            if micros or name == "settled":
                parts.append(f"{format_money(micros, unit)} {said}{beside}")
        lines.append(words.clean(f"  bill      {gateway}: {', '.join(parts)}"))
    return lines


def _again_lines(status: Mapping[str, object]) -> list[str]:
    """What a living run will buy again by itself, and when."""
    found = mapping_of(status.get("sent_again"))
    if not found:
        return []
    first, last = (
        time.strftime("%H:%M:%SZ", time.gmtime(time.time() + number_of(found.get(k)))) for k in ("in_s", "last_in_s")
    )
    when = f"at {first}" if first == last else f"from {first} to {last}"
    number = number_of(found.get("tasks"))
    are = "is" if number == 1 else "are"
    return [f"  again     {words.count(number, 'task')} in doubt {are} sent again {when} (on_doubt: resubmit)"]


def _unknown_lines(status: Mapping[str, object]) -> list[str]:
    """Operations that the gateway does not know, of a living run, and what becomes of them."""
    lines = []
    for lane, each in mapping_of(status.get("unknown_operations")).items():
        found = mapping_of(each)
        count, since, until = (number_of(found.get(key)) for key in ("operations", "for_s", "doubt_in_s"))
        lines.append(
            f"  unknown   {words.clean(lane)}: the gateway has not known {words.count(count, 'operation')} for "
            f"{words.duration(since)}; in doubt again in {words.duration(until)} unless it answers"
        )
        lines.append("            then `pipeline resolve` takes another verdict")
    return lines


def _lane_words(lane: Lane) -> str:
    parts = [lane.name, f"{lane.rate} permitted" if lane.rate else "", words.count(lane.submits, "submit")]
    parts.append(f"{lane.in_flight:,} in flight" if lane.in_flight else "")
    parts.append(f"{lane.rate_limited:,} times told to wait" if lane.rate_limited else "")
    parts.append(f"parked: {words.short(lane.parked, 200)}" if lane.parked else "")
    return ", ".join(part for part in parts if part)


def _doubt_words(doubt: object) -> str:
    found = mapping_of(doubt)
    who = f"attempt {found['attempt']} of " if "attempt" in found else ""
    money = format_money(number_of(found.get("micros")), str(found.get("currency", "")))
    return words.short(f"{who}task {found.get('task_id', '')}, {money}: {found.get('why') or 'no answer'}", 240)


def render_runs(runs: Sequence[Mapping[str, object]]) -> str:
    """The table that `ls` prints."""
    rows = [("run", "state", "done", "images", "money")]
    for run in runs:
        found = standing(run)
        money = ", ".join(account.line() for account in found.accounts)
        done = f"{found.tasks.get('done', 0):,}/{found.total:,}"
        rows.append((str(run.get("run", "")), state_words(run, found), done, f"{found.images:,}", money))
    faults = [
        f"{words.clean(run.get('run', ''))}: {words.clean(fault)}"
        for run in runs
        for fault in list_of(run.get("damage"))
    ]
    return "\n".join([words.table(rows, right=frozenset({2, 3}), indent=""), *faults])
