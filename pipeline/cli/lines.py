"""Lines about a run that its end and `status` have in common: failures, doubts, what is parked, out or unsent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pipeline.cli import words
from pipeline.cli.kinds import kind_of
from pipeline.cli.standing import STATES, Account, Standing, list_of, mapping_of, number_of
from pipeline.values.money import format_money

#: What people told a run last: so much is said again.
_SAID_MAX: Final = 5


def state_words(status: Mapping[str, object], found: Standing) -> str:
    """The state in words; a run that ended at its cap with attempts in doubt is not done."""
    if found.state == "in_doubt" and status.get("unsent"):
        return "stopped at the budget, with attempts in doubt"
    if found.state == "running" and any(not mapping_of(each).get("lane") for each in list_of(status.get("paused"))):
        return "running, and paused"
    return STATES.get(found.state, found.state)


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


def doubt_lines(found: Standing) -> list[str]:
    """How many tasks are in doubt, and the money that is kept aside for them."""
    number = found.tasks.get("in_doubt", 0)
    if not number:
        return []
    held = words.money({account.unit: account.doubt for account in found.accounts if account.doubt})
    who, they = ("1 task", "it was") if number == 1 else (f"{number:,} tasks", "they were")
    return [f"  in doubt  {who}: no clear answer came, so nobody knows whether {they} billed; {held} is kept aside"]


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
    kept = f"; {held} is held for {'it' if calls + operations + pictures == 1 else 'them'}" if held != "nothing" else ""
    return [f"  out       {', '.join(parts)}{kept}: the next run collects what can be had"]


def budget_lines(status: Mapping[str, object], found: Standing) -> list[str]:
    """What the cap keeps from being sent, and a cap below what is gone already."""
    lines = [f"  budget    {_overspent(account)}" for account in found.accounts if account.free < 0]
    unsent = number_of(status.get("unsent"))
    if unsent and not lines:
        doubt = "; what is in doubt counts until it is resolved" if any(each.doubt for each in found.accounts) else ""
        lines.append(f"  budget    {words.count(unsent, 'task')} not sent: the cap leaves no room{doubt}")
    return lines


def _overspent(account: Account) -> str:
    gone = format_money(account.limit + -account.free if account.limit is not None else 0, account.unit)
    return (
        f"the cap is below what is spent, held or in doubt already ({gone}): nothing new is sent, all else is collected"
    )


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


def faults_words(faults: Mapping[str, int]) -> str:
    """How often the gateways failed, by kind."""
    return ", ".join(f"{count:,} {words.clean(kind)}" for kind, count in faults.items())
