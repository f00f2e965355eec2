"""How a run stands, said in words: `status`, `ls`, and the last lines of `run`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.cli import words
from pipeline.cli.kinds import kind_of
from pipeline.cli.standing import STATES, Account, Lane, Standing, list_of, mapping_of, number_of, standing
from pipeline.values.folder import REPORT
from pipeline.values.money import format_money

#: What people told a run last: so much is said again.
_SAID_MAX: Final = 5


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
        lines += [f"  faults    {_faults(found.faults)}"] if found.faults else []
    lines += failure_lines(ending.status)
    lines += _doubt_lines(found)
    lines += parked_lines(ending.status, found)
    lines += out_lines(ending.status, found)
    lines += _budget_lines(ending.status, found)
    lines += said_lines(ending.status)
    if found.images:
        lines.append(f"  images    {words.clean(ending.folder / 'images')}")
        lines.append(f"  gallery   {_gallery(ending.folder)}")
    lines.append(f"  table     {words.clean(ending.folder / 'images.arrow')}  (images.parquet, tasks.arrow beside it)")
    lines += [f"  next      {step}" for step in _next(found, ending.status, ending.command, ending.folder)]
    if ending.simulated:
        time = (
            ""
            if ending.simulated_s is None
            else f"; the real job would take about {words.duration(ending.simulated_s)}"
        )
        lines.append(f"nothing was bought: this was a rehearsal{time}")
    return "\n".join(lines)


def _headline(found: Standing, ending: Ending) -> str:
    money = ", ".join(account.line() for account in found.accounts) or "nothing to pay"
    done = found.tasks.get("done", 0)
    # A folder may hold more than was asked for this time: an earlier run had no --limit, or another plan.
    whole = done >= found.total
    tasks = words.count(done, "task") if whole else f"{done:,} of {words.count(found.total, 'task')}"
    made = f"{words.count(found.images, 'image')}, {tasks} done"
    state = _state(ending.status, found)
    return words.clean(f"{state}: {made} in {words.duration(ending.seconds)}; {money}")


def _state(status: Mapping[str, object], found: Standing) -> str:
    """The state in words; a run that ended at its cap with attempts in doubt is not done."""
    if found.state == "in_doubt" and status.get("unsent"):
        return "stopped at the budget, with attempts in doubt"
    if found.state == "running" and any(not mapping_of(each).get("lane") for each in list_of(status.get("paused"))):
        return "running, and paused"
    return STATES.get(found.state, found.state)


def _doubt_lines(found: Standing) -> list[str]:
    number = found.tasks.get("in_doubt", 0)
    if not number:
        return []
    held = words.money({account.unit: account.doubt for account in found.accounts if account.doubt})
    who, they = ("1 task", "it was") if number == 1 else (f"{number:,} tasks", "they were")
    return [f"  in doubt  {who}: no clear answer came, so nobody knows whether {they} billed; {held} is kept aside"]


def _budget_lines(status: Mapping[str, object], found: Standing) -> list[str]:
    """What the cap keeps from being sent, and a cap below what is gone already."""
    lines = [f"  budget    {_overspent(account)}" for account in found.accounts if account.free < 0]
    unsent = number_of(status.get("unsent"))
    if unsent and not lines:
        doubt = "; what is in doubt counts until it is resolved" if any(each.doubt for each in found.accounts) else ""
        lines.append(f"  budget    {words.count(unsent, 'task')} not sent: the cap leaves no room{doubt}")
    return lines


def out_lines(status: Mapping[str, object], found: Standing) -> list[str]:
    """What a run that is not at work left at the gateways, and what becomes of it."""
    out = mapping_of(status.get("out"))
    if found.state in ("running", "damaged") or not out:
        return []
    calls, operations, pictures = (number_of(out.get(name)) for name in ("unanswered", "operations", "pictures"))
    parts = [f"{words.count(calls, 'call')} without an answer (in doubt unless one is found)"] if calls else []
    parts += [f"{words.count(operations, 'operation')} at the gateway"] if operations else []
    if pictures:
        until = str(out.get("links_until") or "")
        expiry = f" (their links may expire from {words.clean(until)} on)" if until else ""
        parts.append(f"{words.count(pictures, 'picture')} paid for and not fetched yet{expiry}")
    held = words.money({account.unit: account.held for account in found.accounts if account.held})
    kept = f"; {held} is held for it" if held != "nothing" else ""
    return [f"  out       {', '.join(parts)}{kept}: the next run collects what can be had"]


def _unfinished(found: Standing) -> bool:
    return any(found.tasks.get(name) for name in ("short", "failed", "skipped"))


def _counts(found: Standing) -> str:
    kinds = ("failed", "short", "skipped")
    return ", ".join(
        f"{words.count(found.tasks[name], 'task')} {name.replace('_', ' ')}" for name in kinds if found.tasks.get(name)
    )


def _faults(faults: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {words.clean(kind)}" for kind, count in faults.items())


def _next(found: Standing, status: Mapping[str, object], command: str, folder: Path) -> list[str]:
    """The commands that follow from how the run ended, most pressing first."""
    command, place = words.clean(command), words.clean(shlex.quote(str(folder)))
    steps = []
    match found.state:
        case "budget_reached":
            steps.append(f'raise budget in the spec and run again, or: {command} --budget "AMOUNT UNIT"')
        case "parked":
            steps.append(f"{_remedies(status) or 'mend what the gateway says above, or wait'}, then: {command}")
        case "in_doubt" if status.get("unsent"):
            steps.append(f'what was not sent: raise budget in the spec, or: {command} --budget "AMOUNT UNIT"')
        case "stopped":
            steps.append(f"{command}   goes on where this stopped")
        case _:
            pass
    if found.doubts or found.tasks.get("in_doubt"):
        steps.append(f"pipeline resolve {place}   lists what is in doubt; it is held, and never sent again by itself")
    return [*steps, *_after_failures(found, status, command, place)]


def _remedies(status: Mapping[str, object]) -> str:
    """What to do about every lane that stands still; the command is said besides."""
    found = dict.fromkeys(str(mapping_of(each).get("remedy") or "") for each in list_of(status.get("parked")))
    said = (text.removesuffix(", then run the same command again") for text in found if text)
    return "; ".join(words.short(text, 200) for text in said)


def _after_failures(found: Standing, status: Mapping[str, object], command: str, place: str) -> list[str]:
    """What helps the failed tasks: an edit for what would fail again, a retry for the others."""
    if not (found.tasks.get("failed") or found.tasks.get("short")):
        return []
    listed = [str(mapping_of(each).get("fault")) for each in list_of(status.get("failures"))] or list(found.faults)
    edited = [kind for kind in listed if not kind_of(kind).again]
    others = [kind for kind in listed if kind_of(kind).again]
    steps = []
    if _all_refused(found):
        steps.append(
            "every task was refused: look at the gateway's words above, at the base URL and at the model first"
        )
    elif edited:
        what = " and ".join(sorted(edited))
        kept = "what is done is kept" if found.tasks.get("done") else "only what you change is new"
        steps.append(f"edit what was {what} (it fails again as it is), then: {command}   ({kept})")
    if others or not listed:
        only = "".join(f" --fault {kind}" for kind in sorted(others)) if edited else ""
        paid = any(mapping_of(each).get("settled_micros") for each in list_of(status.get("failures")))
        steps.append(f"pipeline retry {place}{only}   {'buys' if paid else 'sends'} the failed tasks again")
    if found.tasks.get("short"):
        steps.append("a short task is paid for whole again: n: 1 with samples buys each picture by itself")
    return steps


def _gallery(folder: Path) -> str:
    """The page, where it was made; else the command that makes it."""
    page = folder / REPORT / "index.html"
    place = words.clean(shlex.quote(str(folder)))
    return words.clean(page) if page.is_file() else f"pipeline report {place}   makes a page to look through them"


def _all_refused(found: Standing) -> bool:
    """Whether nothing at all was made, and for one reason: prompts are seldom all wrong, addresses are."""
    several = found.tasks.get("failed", 0) > 1
    return several and not found.images and not found.tasks.get("done") and set(found.faults) == {"rejected"}


def _overspent(account: Account) -> str:
    gone = format_money(account.limit + -account.free if account.limit is not None else 0, account.unit)
    return (
        f"the cap is below what is spent, held or in doubt already ({gone}): nothing new is sent, all else is collected"
    )


def parked_lines(status: Mapping[str, object], found: Standing) -> list[str]:
    """One line for each lane that stands still: why, and whether money is gone for it."""
    listed = [mapping_of(each) for each in list_of(status.get("parked"))]
    told = [(str(each.get("lane") or ""), str(each.get("why") or "")) for each in listed]
    told = told or [(lane.name, lane.parked) for lane in found.lanes if lane.parked]
    if not told:
        return []
    kinds = {str(each.get("lane") or ""): str(each.get("fault") or "") for each in listed}
    # The disk stops every lane, and says what it is.
    who = {name: f"{words.clean(name)}: " if name else "" for name, _ in told}
    lines = [f"  parked    {who[name]}{_parked_words(kinds.get(name, ''), why)}" for name, why in told]
    held = words.money({account.unit: account.held for account in found.accounts if account.held})
    kept = f"{held} is held for what is still at the gateway" if held != "nothing" else "nothing is held"
    if found.state not in ("parked", "running", "stopped"):
        return lines  # Nothing waits there any more.
    # What is out has a line of its own.
    end = "" if mapping_of(status.get("out")) else f"; {kept}"
    return [*lines, f"            what was refused or never sent was not charged{end}"]


def _parked_words(kind: str, why: str) -> str:
    """The gateway's words; where they speak of key, credit or rights, what they mean stands before them."""
    said = words.short(why, 200)
    return f"{kind_of(kind).what} ({said})" if kind in ("unauthorized", "out_of_credit", "closed") else said


def render_status(status: Mapping[str, object], folder: str, command: str = "pipeline run SPEC") -> str:
    """The page that `status` prints; `command` goes on with the run."""
    found = standing(status)
    state = _state(status, found)
    lines = [words.clean(f"{folder}: {state}, {words.count(found.images, 'image')}")]
    counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in found.tasks.items())
    lines.append(words.clean(f"  tasks     {counts or 'none started'}, {found.total:,} in all"))
    lines += _pace_lines(status, found)
    lines += [words.clean(f"  money     {account.line()}") for account in found.accounts]
    lines += _bill_lines(status)
    lines += [words.clean(f"  lane      {_lane_words(lane)}") for lane in found.lanes]
    lines += _unknown_lines(status)
    lines += [f"  faults    {_faults(found.faults)}"] if found.faults and not list_of(status.get("failures")) else []
    lines += failure_lines(status)
    lines += parked_lines(status, found) if found.state != "running" else []
    lines += out_lines(status, found)
    lines += _budget_lines(status, found)
    lines += said_lines(status)
    lines += [f"  in doubt  {_doubt_words(doubt)}" for doubt in list_of(status.get("in_doubt"))]
    lines += _again_lines(status)
    lines += [f"  damage    {words.clean(fault)}" for fault in list_of(status.get("damage"))]
    lines += [f"  note      {words.clean(note)}" for note in list_of(status.get("notes"))]
    if found.state not in ("running", "damaged", "complete"):
        steps = _next(found, status, command, Path(folder))
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


def said_lines(status: Mapping[str, object]) -> list[str]:
    """What stands still because somebody said so, and what people told the run last: when, what, who."""
    lines = []
    for each in map(mapping_of, list_of(status.get("paused"))):
        where = each.get("lane") or "the run"
        lines.append(f"  paused    {where}, for {words.duration(number_of(each.get('for_s')))}: {each.get('why')}")
    for each in map(mapping_of, list_of(status.get("said"))[-_SAID_MAX:]):
        what = " ".join(str(each[key]) for key in ("what", "lane", "amount") if each.get(key))
        lines.append(f"  told      {each.get('at')} {what} ({each.get('why')})")
    return [words.clean(line) for line in lines]


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


def failure_lines(status: Mapping[str, object]) -> list[str]:
    """Two lines for each kind of failure: what happened with the gateway's own words, and what was taken for it."""
    lines = []
    for failure in map(mapping_of, list_of(status.get("failures"))):
        name = str(failure.get("fault", ""))
        kind, settled = kind_of(name), mapping_of(failure.get("settled_micros"))
        what = f" ({kind.what})" if kind.what else ""
        said = words.short(failure.get("message", ""), 160)
        lines.append(words.clean(f"  failed    {number_of(failure.get('tasks')):,} {name}{what}: {said}"))
        if "settled_micros" not in failure:
            continue  # A run of an older version does not say it.
        taken = words.money({unit: number_of(micros) for unit, micros in settled.items()})
        money = f"{taken} was charged for it" if settled else "nothing was charged for it"
        lines.append(words.clean(f"            {money}{kind.remedy and f'; {kind.remedy}'}"))
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
        rows.append((str(run.get("run", "")), _state(run, found), done, f"{found.images:,}", money))
    faults = [
        f"{words.clean(run.get('run', ''))}: {words.clean(fault)}"
        for run in runs
        for fault in list_of(run.get("damage"))
    ]
    return "\n".join([words.table(rows, right=frozenset({2, 3}), indent=""), *faults])
