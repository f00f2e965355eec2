"""Commands carried out: the one POST of an attempt, polls and downloads; each brings back an observation.

What the world does comes back as a value. What is raised here is ours, or the disk's, and stops the run.
"""

from __future__ import annotations

import asyncio
import hashlib
import shlex
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from pipeline.engine.messages import (
    Fetch,
    Fetched,
    FetchFailed,
    Observation,
    Poll,
    PollAnswered,
    Submit,
    SubmitAnswered,
)
from pipeline.failpoints import reach
from pipeline.runtime.clock import Clock
from pipeline.runtime.pacer import Pacer
from pipeline.runtime.placements import DEFINITE, NotPlaced, Placements
from pipeline.runtime.resources import Files
from pipeline.runtime.shelf import Shelf, Unfit
from pipeline.store.blackbox import BlackBox
from pipeline.store.blobs import Blobs
from pipeline.store.room import is_full
from pipeline.transport.door import Door
from pipeline.transport.leaving import LEAVING
from pipeline.values.artifact import Artifact
from pipeline.values.card import GatewayCard, ModelCard
from pipeline.values.digest import sha256_hex
from pipeline.values.provider import Carried, CarriedBytes, CarriedUrl, Provider
from pipeline.values.reply import (
    Fault,
    FaultKind,
    OperationFailed,
    Pending,
    PollBroken,
    PollReply,
    Ready,
    Refused,
    Reply,
    Unsent,
)
from pipeline.values.rows import Placement
from pipeline.values.task import InlineInput, Input, LocalInput, Task, UpstreamInput, UrlInput
from pipeline.values.wire import Answered, Broken, Downloaded, DownloadRefused, Outcome

POLL_TIMEOUT_S = 60.0
DOWNLOAD_TIMEOUT_S = 300.0
PICTURE_MAX = 64 * 1024 * 1024
#: The code of a fault that is the disk's and not a gateway's.
DISK_FULL = "disk_full"


class InputChanged(ValueError):  # noqa: N818 - caught one screen below
    """An input picture is not what the plan saw: buying it would buy something else."""


class NoRoom(Exception):  # noqa: N818 - not an error: the disk is full, which ends nothing that is paid
    """A picture found no room on the disk; `observation` says so to the engine."""

    def __init__(self, observation: FetchFailed) -> None:
        super().__init__(observation.fault.message)
        self.observation = observation


class Performer:
    """Does what the engine asks. It decides nothing."""

    def __init__(
        self,
        *,
        door: Door,
        providers: Mapping[str, Provider],
        cards: Mapping[str, GatewayCard],
        files: Files,
        blobs: Blobs,
        blackbox: BlackBox,
        clock: Clock,
        inline: Callable[[str], bytes | None],
        run_id: str,
        keep: Callable[[Placement], asyncio.Future[None]],
        placed: Iterable[Placement] = (),
        closed: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`closed`: {gateway that left the spec, and has no key: why nothing can be asked of it}."""
        self._door = door
        self._providers = providers
        self._cards = cards
        self._files = files
        self._shelf = Shelf(blobs)
        self._blackbox = blackbox
        self._clock = clock
        #: The bytes of a picture written into the spec as a data URI, by its digest.
        self._inline = inline
        self._run_id = run_id
        self._closed = closed
        self.placements = Placements(
            door=door, providers=providers, cards=cards, clock=clock, data=self._data, keep=keep, known=placed
        )

    def _model(self, task: Task) -> ModelCard:
        return self._cards[task.gateway].models[task.model]

    async def submit(self, command: Submit, task: Task, pacer: Pacer, slotted: Callable[[], bool]) -> Observation:
        """The one POST: inputs first, the pacer's slot last, the answer written down before it is parsed.

        `slotted` is called once, when the slot was taken or is not needed; it says whether the POST may still leave.
        Being called off is an answer like any other: before the POST nothing was sent, after it nobody knows.
        """
        provider = self._providers[task.gateway]
        reply: Reply
        reach("submit.permitted")
        may_go = False
        try:
            try:
                inputs = [await self._carry(task, source) for source in task.inputs]
                request = provider.submit(task, inputs, self._tag(command))
                LEAVING.set((await pacer.slot()).left)
            finally:
                may_go = slotted()
        except InputChanged as changed:
            return SubmitAnswered(command.attempt, Refused(Fault(FaultKind.REJECTED, str(changed))))
        except NotPlaced as unplaced:
            reply = Refused(unplaced.fault) if unplaced.fault.kind in DEFINITE else Unsent(unplaced.fault)
            return SubmitAnswered(command.attempt, reply)
        except asyncio.CancelledError:
            may_go = False
        if not may_go:
            return SubmitAnswered(command.attempt, Unsent(Fault(FaultKind.NOT_SENT, "called off before it was sent")))
        outcome: Outcome
        reach("submit.sending")
        try:
            outcome = await self._door.exchange(request, timeout_s=self._model(task).submit_timeout_s)
        except asyncio.CancelledError:
            outcome = Broken("called off before it was answered")
        reach("submit.answered")
        if isinstance(outcome, Answered):
            self._blackbox.append(command.attempt, outcome.response)
            reach("submit.kept")
        reply = provider.submitted(task, outcome, self._cards[task.gateway].not_billed)
        reach("submit.parsed")
        self._blackbox.meant(command.attempt, _verdict_of(reply))
        if isinstance(reply, Refused) and reply.fault.kind is FaultKind.EXPIRED:
            self.placements.gone(task)
        return SubmitAnswered(command.attempt, reply)

    @property
    def broken(self) -> Exception | None:
        """Why nothing more may be sent: the disk took an answer neither in nor for want of room."""
        return self._blackbox.broken

    def _tag(self, command: Submit) -> str:
        """What names this purchase to a gateway: the same for the attempt that is in doubt and for its repetition."""
        attempt = command.attempt if command.repeats is None else command.repeats
        return sha256_hex(f"pipeline attempt\n{self._run_id}/{attempt}".encode())[:32]

    async def _carry(self, task: Task, source: Input) -> Carried:
        match source:
            case UrlInput():
                return CarriedUrl(source.url)
            case UpstreamInput():
                raise InputChanged("chained steps are not part of this version")
            case LocalInput() | InlineInput():
                if source in self.placements.uploads(task):
                    return CarriedUrl(self.placements.location(task, source))
                return CarriedBytes(source.picture.media_type, await self._data(source))

    async def _data(self, source: LocalInput | InlineInput) -> bytes:
        match source:
            case InlineInput():
                data = self._inline(source.picture.sha256)
                if data is None:
                    raise InputChanged("the picture of a data URI is no longer in the spec")
            case LocalInput():
                try:
                    data = await asyncio.to_thread(self._files.data, source.uri)
                except Exception as error:
                    raise InputChanged(f"the input picture {source.uri} can no longer be read") from error
                if hashlib.sha256(data).hexdigest() != source.picture.sha256:
                    raise InputChanged(f"the input picture {source.uri} changed since the plan was made; run again")
        return data

    async def poll(self, command: Poll, task: Task, pacer: Pacer) -> Observation:
        """Ask how an operation stands, at the account's own pace."""
        if task.gateway in self._closed:
            shut = Fault(FaultKind.UNAUTHORIZED, self._closed[task.gateway])
            return PollAnswered(command.attempt, PollBroken(shut))
        await pacer.slot()
        provider = self._providers[task.gateway]
        outcome = await self._door.exchange(provider.poll(task, command.operation), timeout_s=POLL_TIMEOUT_S)
        reach("poll.answered")
        reply = by_the_card(provider.polled(task, outcome), self._cards[task.gateway])
        if isinstance(reply, OperationFailed) and reply.fault.kind is FaultKind.EXPIRED:
            self.placements.gone(task)
        return PollAnswered(command.attempt, reply)

    async def fetch(self, command: Fetch, task: Task) -> Observation:
        """Download a picture, look at every pixel of it, and put it under its final name durably (W6).

        *Raises* NoRoom when the disk is full: the part is dropped and the link stays good.
        """
        try:
            return await self._fetched(command, task)
        except OSError as error:
            if not is_full(error):
                raise
            full = Fault(FaultKind.TRANSIENT, "the disk is full", DISK_FULL)
            raise NoRoom(self._failed(command, full)) from error

    async def _fetched(self, command: Fetch, task: Task) -> Observation:
        incoming = self._shelf.incoming(task, command.index, command.attempt)
        kept = None
        try:
            reach("fetch.opened")
            outcome = await self._door.download(
                task.gateway, command.link, incoming.write, timeout_s=DOWNLOAD_TIMEOUT_S, size_max=PICTURE_MAX
            )
            reach("fetch.downloaded")
            if isinstance(outcome, DownloadRefused):
                kind = FaultKind.EXPIRED if outcome.gone else FaultKind.TRANSIENT
                return self._failed(command, Fault(kind, f"the link answered {outcome.status}", status=outcome.status))
            if not isinstance(outcome, Downloaded):
                # Our own refusal of an address is final: the same link would be refused again.
                kind = FaultKind.REJECTED if outcome.blocked else FaultKind.TRANSIENT
                return self._failed(command, Fault(kind, outcome.why))
            try:
                kept = await self._shelf.keep(incoming, task, command.index)
            except Unfit as error:
                return self._failed(command, Fault(FaultKind.MALFORMED, f"what came is no whole picture: {error}"))
        finally:
            if kept is None:
                incoming.discard()
        seen, at = kept.seen, self._clock.wall_micros()
        artifact = Artifact(kept.sha256, seen.media_type, kept.size_bytes, seen.width, seen.height, kept.path, at)
        return Fetched(command.attempt, command.index, artifact)

    @staticmethod
    def _failed(command: Fetch, fault: Fault) -> FetchFailed:
        return FetchFailed(command.attempt, command.index, fault)


def by_the_card(reply: PollReply, card: GatewayCard) -> PollReply:
    """An operation that ended as failed is billed as the card says, unless the provider knows more of this one."""
    match reply:
        case OperationFailed(fault, False):
            return OperationFailed(fault, card.failed_billed.value)
        case _:
            return reply


def _verdict_of(reply: Reply) -> str:
    """What `pipeline resolve` would be told of an attempt with this answer; empty where there is nothing to tell."""
    match reply:
        case Pending(operation, replayed=False):
            return f"--operation {shlex.quote(operation)}"
        case Ready():
            return "--billed"
        case Refused() | Unsent():
            return "--not-billed"
        case _:
            return ""


def replay(provider: Provider, card: GatewayCard, task: Task, attempt: int, answer: Answered) -> SubmitAnswered:
    """Evidence E0: an answer that the black box kept, parsed as it would have been."""
    return SubmitAnswered(attempt, provider.submitted(task, answer, card.not_billed))
