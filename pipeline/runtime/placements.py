"""Uploads: within a run folder a picture is put at a gateway once, for all tasks, and again only when it is gone.

An upload is free and comes before the permission to submit, so a kill in the middle of one leaves no doubt. What fails
for the moment is tried again here; a task is let through once its pictures stand, or cannot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from pipeline.engine.retry import backoff_s, wait_s
from pipeline.errors import Bug
from pipeline.plan.pictures import is_uploaded
from pipeline.runtime.clock import Clock
from pipeline.runtime.pictures import to_png
from pipeline.store.shelves import EXTENSIONS
from pipeline.transport.door import Door
from pipeline.values.card import GatewayCard
from pipeline.values.provider import CarriedBytes, Placed, Provider, UploadFailed
from pipeline.values.reply import Fault, FaultKind
from pipeline.values.rows import Placement
from pipeline.values.task import InlineInput, LocalInput, Task
from pipeline.values.wire import Outcome, Request

#: Uploads at once, over all gateways; each holds a picture in memory.
AT_ONCE: Final = 4
#: One request of an upload may take so long (seconds).
TIMEOUT_S: Final = 120.0
#: A picture that cannot be uploaded is tried for so long before its task's money is let go (seconds).
PATIENCE_S: Final = 120.0
#: What expires sooner than this, or than a tenth of its life, is uploaded again: the gateway reads it after the call.
MARGIN_S: Final = 1800.0
#: Requests of one upload; a gateway that wants more goes round in a circle.
_STEPS_MAX: Final = 8
#: Uploads of a picture that are answered with nothing usable before its tasks are refused: more would say the same.
_USELESS_MAX: Final = 3
#: Faults of an upload that another try would meet again.
DEFINITE: Final = frozenset(
    {FaultKind.REJECTED, FaultKind.UNAUTHORIZED, FaultKind.OUT_OF_CREDIT, FaultKind.CLOSED, FaultKind.MODERATED}
)

#: Gateway, account, model or nothing, digest.
_Key: TypeAlias = tuple[str, str, str, str]
_Local: TypeAlias = LocalInput | InlineInput
_Work: TypeAlias = Callable[[], Coroutine[None, None, None]]


class NotPlaced(Exception):  # noqa: N818 - caught by the performer
    """A picture does not stand where a call could name it; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(slots=True)
class _Stand:
    """Where a picture stands; without a location `fault` says why it does not."""

    location: str = ""
    #: Do not use it after this, UTC microseconds; None: as far as is known, for good.
    until: int | None = None
    fault: Fault | None = None


class Placements:
    """What is uploaded, by gateway, account, picture, and model where the gateway binds uploads to one."""

    def __init__(
        self,
        *,
        door: Door,
        providers: Mapping[str, Provider],
        cards: Mapping[str, GatewayCard],
        clock: Clock,
        data: Callable[[_Local], Awaitable[bytes]],
        keep: Callable[[Placement], asyncio.Future[None]],
        known: Iterable[Placement] = (),
    ) -> None:
        """`data` reads a picture and checks that it is what the plan saw; `keep` makes a placement durable."""
        self._door = door
        self._providers = providers
        self._cards = cards
        self._clock = clock
        self._data = data
        self._keep = keep
        self._stands: dict[_Key, _Stand] = {}
        for one in known:
            key = (one.gateway, one.account, one.model, one.sha256)
            self._stands[key] = _Stand(one.location, self._margin(one.gateway, one.expires_at, None))
        self._under_way: set[_Key] = set()
        self._at_once = asyncio.Semaphore(AT_ONCE)

    def uploads(self, task: Task) -> list[_Local]:
        """The pictures of a task that travel by an upload."""
        rule = self._cards[task.gateway].models[task.model].pictures
        if rule is None or rule.carry == "inline":
            return []
        return [
            source
            for source in task.inputs
            if isinstance(source, LocalInput | InlineInput) and is_uploaded(rule, source.picture)
        ]

    def missing(self, task: Task) -> list[_Work]:
        """What has to be done, and is not under way, before this task may be submitted."""
        works: list[_Work] = []
        for source in self.uploads(task):
            key = self._key(task, source)
            if key not in self._under_way and self._stand(key) is None:
                self._under_way.add(key)
                works.append(self._work(key, task.model, source))
        return works

    def ready(self, task: Task) -> bool:
        """Whether every picture stands, or is known not to be had."""
        return all(self._stand(self._key(task, source)) is not None for source in self.uploads(task))

    def location(self, task: Task, source: _Local) -> str:
        """What a submit names. *Raises* NotPlaced; the failure is told once, and the next try starts anew."""
        key = self._key(task, source)
        stand = self._stand(key)
        if stand is None:
            raise NotPlaced(Fault(FaultKind.NOT_SENT, "an input picture has to be uploaded again first"))
        if stand.fault is not None:
            if stand.fault.kind not in DEFINITE:
                del self._stands[key]
            raise NotPlaced(stand.fault)
        return stand.location

    def gone(self, task: Task) -> None:
        """The gateway no longer finds what this task named: every picture of it is uploaded again when it is wanted."""
        for source in self.uploads(task):
            key = self._key(task, source)
            if self._stands.pop(key, None) is not None:
                # Not waited for: should it be lost, the gateway will refuse the same location once more.
                self._keep(Placement(*key, "", None)).add_done_callback(asyncio.Future.exception)

    # --- one upload -----------------------------------------------------------------------------------------------

    def _key(self, task: Task, source: _Local) -> _Key:
        bound = task.model if self._cards[task.gateway].placement_scope == "model" else ""
        return task.gateway, self._door.account(task.gateway), bound, source.picture.sha256

    def _stand(self, key: _Key) -> _Stand | None:
        stand = self._stands.get(key)
        if stand is not None and stand.until is not None and self._clock.wall_micros() >= stand.until:
            del self._stands[key]
            return None
        return stand

    def _margin(self, gateway: str, expires_at: int | None, lives_s: float | None) -> int | None:
        if expires_at is None:
            return None
        lives = lives_s if lives_s is not None else (self._cards[gateway].upload_lives_s or 10 * MARGIN_S)
        return expires_at - round(min(MARGIN_S, lives / 10) * 1e6)

    def _work(self, key: _Key, model: str, source: _Local) -> _Work:
        async def work() -> None:
            try:
                await self._place(key, model, source)
            finally:
                self._under_way.discard(key)

        return work

    async def _place(self, key: _Key, model: str, source: _Local) -> None:
        began, tries, useless = self._clock.now(), 0, 0
        while True:
            async with self._at_once:
                placed = await self._upload(key[0], model, source)
            if isinstance(placed, Placed):
                break
            useless += placed.kind is FaultKind.MALFORMED
            if useless == _USELESS_MAX:
                words = f"{useless} uploads were answered with nothing usable; the last: {placed.message}"
                placed = replace(placed, kind=FaultKind.REJECTED, message=words)
            definite = placed.kind in DEFINITE
            pause = wait_s(placed, 0, tries, tries) if placed.retry_after_s is not None else backoff_s(0, tries, tries)
            if definite or self._clock.now() + pause - began > PATIENCE_S:
                self._stands[key] = _Stand(fault=placed)
                return
            tries += 1
            await self._clock.until(self._clock.now() + pause)
        lives_s = self._cards[key[0]].upload_lives_s if placed.lives_s is None else placed.lives_s
        expires_at = None if lives_s is None else self._clock.wall_micros() + round(lives_s * 1e6)
        await self._keep(Placement(*key, placed.location, expires_at))
        self._stands[key] = _Stand(placed.location, self._margin(key[0], expires_at, lives_s))

    def _check_size(self, gateway: str, model: str, source: _Local, size_bytes: int) -> None:
        """The plan saw the picture before it was converted. *Raises* ValueError."""
        rule = self._cards[gateway].models[model].pictures
        if rule is not None and size_bytes > rule.size_bytes_max:
            raise ValueError(
                f"the picture '{source.uri[:120]}' has {size_bytes} bytes as {source.sent_as}, as which it is sent; "
                f"{model} takes at most {rule.size_bytes_max} bytes"
            )

    async def _upload(self, gateway: str, model: str, source: _Local) -> Placed | Fault:
        """One try, from the first request to its end."""
        try:
            data = await self._data(source)
            if source.sent_as is not None:
                data = await asyncio.to_thread(to_png, data)
                self._check_size(gateway, model, source, len(data))
        except ValueError as error:
            return Fault(FaultKind.REJECTED, str(error))
        asset = CarriedBytes(source.sent_as or source.picture.media_type, data)
        name = f"{source.picture.sha256[:24]}.{EXTENSIONS.get(asset.media_type, 'bin')}"
        told: list[Outcome] = []
        while len(told) < _STEPS_MAX:
            step = self._providers[gateway].upload(model, asset, name, tuple(told))
            match step:
                case Request():
                    told.append(await self._door.exchange(step, timeout_s=TIMEOUT_S))
                case Placed(location):
                    why = self._door.unfit(gateway, location)
                    if why:
                        named = f"the upload's location may not be used ({why.replace('the link', 'it')})"
                        return Fault(FaultKind.MALFORMED, f"{named}: {_shown(location)}")
                    return step
                case UploadFailed(fault):
                    return fault
        raise Bug(f"an upload to {gateway} does not come to an end")


def _shown(location: str) -> str:
    """A location without what signs it or a user name, escaped, cut short."""
    plain = location.partition("?")[0].partition("#")[0][:200]
    return ascii("...@" + plain.rpartition("@")[2] if "@" in plain else plain)
