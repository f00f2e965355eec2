"""From a spec's path to a plan, a run folder and what a run of it would change: everything before the first write."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from pipeline.errors import Mistake, Place, PlanError, SpecError
from pipeline.plan.bounds import constant_flaws
from pipeline.plan.catalog import read_card
from pipeline.plan.check import check
from pipeline.plan.expand import Plan
from pipeline.plan.flaw import FlawBook
from pipeline.plan.make import make_plan
from pipeline.plan.part import Part
from pipeline.plan.price import in_region
from pipeline.plan.summary import Summary
from pipeline.runtime import bundled, checked
from pipeline.runtime.resources import DigestCache, Files, read_plain
from pipeline.spec.job import JobSpec
from pipeline.spec.load import decode_spec, load_job, salvage
from pipeline.store.folder import has_store
from pipeline.store.journal import Journal
from pipeline.transport.addresses import names_loopback
from pipeline.transport.gateways import addresses
from pipeline.transport.secrets import Environment, read_dotenv
from pipeline.values.card import GatewayCard
from pipeline.values.folder import STORE
from pipeline.values.money import UNLIMITED, Money, parse_money

#: {plan: its summary}, so that no plan is checked twice.
_SUMMARIES: WeakKeyDictionary[Plan, Summary] = WeakKeyDictionary()

SPEC_MAX_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line adds to a spec."""

    simulate: bool = False
    faults: Path | None = None
    seed: int = 0
    run_dir: Path | None = None
    budget: str | None = None
    limit: int | None = None
    sample: int | None = None
    sample_seed: int = 0
    probe: bool = False
    settings: tuple[tuple[str, str], ...] = ()
    yes: bool = False
    fresh: bool = False
    allow_paths: tuple[Path, ...] = ()

    @property
    def part(self) -> Part:
        """Which tasks are wanted now."""
        return Part(self.limit, self.sample, self.sample_seed, self.probe)


def load(path: Path, settings: Sequence[tuple[str, str]] = ()) -> JobSpec:
    """Read a spec. *Raises* SpecError with every fault."""
    try:
        data = read_plain(path, SPEC_MAX_BYTES)
    except OSError as error:
        raise SpecError((Mistake(Place(str(path), 1, 1), f"the spec cannot be read: {error.strerror}"),)) from error
    except ValueError as error:
        raise SpecError((Mistake(Place(str(path), 1, 1), f"the spec cannot be read: {error}"),)) from error
    text = decode_spec(data, str(path))
    try:
        return load_job(text, str(path), schema(), settings=tuple(settings))
    except SpecError as error:
        found = [*error.mistakes, *_more_mistakes(text, path, settings, error)]
        found.sort(key=lambda mistake: (mistake.place.file != str(path), mistake.place.line, mistake.place.column))
        raise SpecError(tuple(found)) from None


def _more_mistakes(text: str, path: Path, settings: Sequence[tuple[str, str]], error: SpecError) -> tuple[Mistake, ...]:
    """Faults of meaning that are certain beside those of form, so that one reading tells as many as it can."""
    job = salvage(text, str(path), schema(), settings)
    if job is None:
        return ()
    book = FlawBook()
    for flaw in constant_flaws(job, cards()):
        book.add_constant(flaw)
    told = {mistake.place for mistake in error.mistakes}
    return tuple(mistake for mistake in book.mistakes(job) if mistake.place not in told)


def schema() -> Mapping[str, object]:
    """The JSON Schema of a spec."""
    loaded = json.loads(bundled.text("schemas", "job.schema.json"))
    assert isinstance(loaded, dict)
    return loaded


def cards() -> dict[str, GatewayCard]:
    """Every gateway's card, by name, as it holds for this environment. *Raises* CardError."""
    return cards_in(os.environ)


def cards_in(environ: Mapping[str, str]) -> dict[str, GatewayCard]:
    """The cards, with the money of the region that a base URL in the environment leads to.

    A base URL on this machine is a rehearsal of the card's own region. *Raises* CardError.
    """
    found = {}
    for card in _shipped():
        override = environ.get(card.base_url_env, "").strip()
        local = names_loopback(_host(override))
        found[card.name] = in_region(card, override) if override and not local else card
    return found


def _shipped() -> Iterator[GatewayCard]:
    for name in bundled.names("schemas/gateways"):
        if name.endswith(".json") and not name.endswith(".schema.json"):
            yield read_card(json.loads(bundled.text("schemas/gateways", name)))


def doubtful_addresses(gateways: Collection[str], environ: Mapping[str, str]) -> list[str]:
    """What is odd about the base URLs of these gateways, in words. *Raises* CardError for one that may not be used."""
    odd = []
    for card in _shipped():
        if card.name not in gateways:
            continue
        api, path = addresses(card, environ)[0], urlsplit(card.base_url).path
        if not names_loopback(api.url.host or "") and not api.url.path.rstrip("/").endswith(path):
            odd.append(
                f"{api.said_by} leads to {api.url.host}{api.url.path.rstrip('/')}, and the API of {card.title} stands "
                f"below {path}: its calls would not be found"
            )
    return odd


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        # The door says so when it is opened.
        return ""


def environment(known: Mapping[str, GatewayCard]) -> tuple[Environment, Environment]:
    """The process's variables, and the keys in `.env` of the working directory."""
    return Environment(os.environ), read_dotenv({card.key_env for card in known.values()})


def plan(job: JobSpec, *, allow_paths: Sequence[Path] = ()) -> Plan:
    """What a spec means. Files are read below the spec's folder. *Raises* PlanError."""
    cache = DigestCache.of_user()
    files = Files(Path(job.file).parent, allow_paths, cache)
    made = make_plan(job, cards(), files)
    cache.save()
    return made


def summary(made: Plan, tell: Callable[[int], None] | None = None) -> Summary:
    """Every task rendered and checked against its card, once for each plan. *Raises* PlanError with every fault.

    `tell` hears now and then how many tasks are checked.
    """
    found = _SUMMARIES.get(made)
    if found is None:
        found = checked.proven(made)
        if found is None:
            found = check(made, tell)
            checked.keep(made, found)
        _SUMMARIES[made] = found
    return found


def is_checked(made: Plan) -> bool:
    """Whether `summary` answers at once."""
    if made not in _SUMMARIES and (found := checked.proven(made)) is not None:
        _SUMMARIES[made] = found
    return made in _SUMMARIES


def run_folder(job: JobSpec, options: Options) -> Path:
    """`runs/NAME`, `runs/NAME.sim` for a rehearsal, or what --run-dir says."""
    if options.run_dir is not None:
        return options.run_dir
    return Path("runs") / (f"{job.name}.sim" if options.simulate else job.name)


def caps(made: Plan, options: Options, folder: Path) -> dict[str, int]:
    """The cap of each currency that the plan pays in, in micro-units, as the spec, --budget and its memory say.

    *Raises* PlanError when a paid run has no budget.
    """
    found = None if made.caps is None else dict(made.caps)
    overrides = () if options.fresh else _kept_budget(folder, made.job)
    if options.budget is not None:
        overrides = (budget_option(options.budget),)
    if overrides:
        found = {**(found or {}), **{money.unit: money.micros for money in overrides}}
    if found is None and options.simulate:
        # Nothing is bought in a rehearsal, so a budget that is still missing does not stop it.
        found = {lane.card.price_unit: UNLIMITED for lane in made.lanes.values()}
    if found is None:
        remedy = "add `budget: 2.00 USD`, or `budget: none` to run without a cap"
        raise PlanError((Mistake(made.job.place("name"), "the spec has no budget", remedy),))
    return found


def budget_memory(options: Options, job: JobSpec, kept: Callable[[str], str | None]) -> dict[str, str]:
    """What the store keeps of the command line: --budget holds until the spec's own budget changes, and does not come
    back then; the options are there for `retry`, which runs the same command again.
    """
    of_spec = repr(job.budget)
    option = options.budget or (kept("budget_option") if kept("budget_of_spec") == of_spec else "") or ""
    written = {
        "faults": None if options.faults is None else str(options.faults.resolve()),
        "seed": options.seed,
        "limit": options.limit,
        **options.part.words(),
        "settings": options.settings,
        "allow_paths": [str(path.resolve()) for path in options.allow_paths],
    }
    return {"budget_option": option, "budget_of_spec": of_spec, "options": json.dumps(written)}


def remembered(text: str | None, *, simulate: bool, folder: Path) -> Options:
    """The options of a folder's last run, as `budget_memory` wrote them; the budget is remembered by itself.

    *Raises* what comes of a note that no run writes.
    """
    written = json.loads(text) if text else {}
    return Options(
        simulate=simulate,
        faults=Path(written["faults"]) if written.get("faults") else None,
        seed=int(written.get("seed", 0)),
        run_dir=folder,
        limit=_count(written.get("limit")),
        sample=_count(written.get("sample")),
        sample_seed=int(written.get("sample_seed", 0)),
        probe=bool(written.get("probe")),
        settings=tuple((str(key), str(value)) for key, value in written.get("settings", ())),
        allow_paths=tuple(Path(path) for path in written.get("allow_paths", ())),
    )


def _count(found: object) -> int | None:
    if found is None or (type(found) is int and found >= 0):
        return found
    raise ValueError(f"no number of tasks: {found!r:.80}")


def topped_up(kept: Callable[[str], str | None], job: JobSpec, said: Money) -> dict[str, str]:
    """What the store keeps of a budget that somebody told a living run: as `--budget`, beside those of other units."""
    of_spec = repr(job.budget)
    known = _budgets(kept("budget_option") or "") if kept("budget_of_spec") == of_spec else ()
    option = " + ".join(map(str, (*(money for money in known if money.unit != said.unit), said)))
    return {"budget_option": option, "budget_of_spec": of_spec}


def _budgets(kept: str) -> tuple[Money, ...]:
    return tuple(parse_money(each) for each in kept.split(" + ")) if kept else ()


def _kept_budget(folder: Path, job: JobSpec) -> tuple[Money, ...]:
    if not has_store(folder):
        return ()
    journal = Journal.open_read_only(folder / STORE)
    try:
        kept, of_spec = journal.get_meta("budget_option"), journal.get_meta("budget_of_spec")
    finally:
        journal.close(clean=False)
    return _budgets(kept) if kept and of_spec == repr(job.budget) else ()


def budget_option(text: str) -> Money:
    """`--budget "5 USD"` as money. *Raises* PlanError."""
    try:
        return parse_money(text)
    except ValueError as error:
        raise PlanError((Mistake(Place("--budget", 1, 1, text), str(error)),)) from error
