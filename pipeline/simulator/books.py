"""What a simulated world remembers: operations, uploads, input pictures, its own bill, and the lines that keep them."""

from __future__ import annotations

import base64
import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from heapq import heapify, heappop, heappush
from math import ceil
from typing import Final, Literal

from pipeline.simulator.bill import bill_of, entry_of
from pipeline.simulator.faults import Dice, FaultPlan
from pipeline.simulator.lines import line_of, read_line, read_operation, read_upload
from pipeline.simulator.orders import Operation, Order, Upload
from pipeline.simulator.pictures import PictureLimits, SeenPicture, look, look_at, media_type_of
from pipeline.values.digest import sha256_hex

#: Two stamps closer than this to a window's edge count as evenly spaced, in seconds.
_EDGE_S: Final = 1e-6
#: The clock gets a line of its own after this many seconds without another.
_CLOCK_LINE_S: Final = 60.0


@dataclass(slots=True)
class Books:
    """The state of a world and the chances that it draws. Every method that takes `now` moves the clock forward."""

    dice: Dice
    faults: FaultPlan
    #: Where result links live; `{gateway}` in it stands for the gateway's name.
    links_base: str
    #: {operation id: operation}, in the order of acceptance.
    operations: dict[str, Operation] = field(default_factory=dict)
    #: {(gateway, the `key` in an order's notes): operation id}: who sends a key again gets the same operation.
    keyed: dict[tuple[str, str], str] = field(default_factory=dict)
    #: {(gateway, id): upload}, in the order of arrival.
    uploads: dict[tuple[str, str], Upload] = field(default_factory=dict)
    #: {digest: input picture}.
    pictures: dict[str, SeenPicture] = field(default_factory=dict)
    #: The latest moment that the world was told, in seconds.
    clock: float = 0.0
    #: {digest of a submit's body: how often it came}.
    _seen: dict[str, int] = field(default_factory=dict)
    _windows: dict[str, deque[float]] = field(default_factory=dict)
    _unsaved: list[str] = field(default_factory=list)
    _unsaved_seen: set[str] = field(default_factory=set)
    _saved: tuple[float, dict[str, int]] = field(default_factory=lambda: (0.0, {}))
    #: A heap of (end, operation id) for those whose bill entry is not written yet.
    _unbilled: list[tuple[float, str]] = field(default_factory=list)
    #: Ids of operations whose bill entry stood in the journal that was replayed.
    _billed: set[str] = field(default_factory=set)

    def tick(self, now: float) -> None:
        """Move the world's clock; it never goes back."""
        self.clock = max(self.clock, now)

    def occasion(self, lane: str, body: bytes) -> str:
        """A name for this very submit: what is asked, and the how-manieth time. Chances hang on it, not on order."""
        key = sha256_hex(lane.encode() + b"\n" + body)[:24]
        self._seen[key] = self._seen.get(key, 0) + 1
        self._unsaved_seen.add(key)
        return f"{key}/{self._seen[key]}"

    def strikes(self, fault: str, occasion: str, prompt: str = "") -> bool:
        """Whether a fault strikes now."""
        return self.dice.strikes(self.faults, fault, occasion, prompt)

    def latency_s(self, target: str, now: float) -> float:
        """How long this answer takes."""
        return self.faults.latency_s.at(self.dice.chance("latency", target, now))

    def over_the_rate(self, lane: str, now: float) -> tuple[bool, float | None]:
        """Whether this submit is one too many for the lane's window, and the seconds that Retry-After names."""
        limit = self.faults.rate_limit
        if limit is None:
            return False, None
        window = self._windows.setdefault(lane, deque())
        while window and window[0] <= now - limit.period_s + _EDGE_S:
            window.popleft()
        if len(window) < limit.requests:
            window.append(now)
            return False, None
        if limit.retry_after_s == "window":
            return True, float(max(1, ceil(window[0] + limit.period_s - now)))
        return True, float(limit.retry_after_s) if limit.retry_after_s is not None else None

    def look(self, text: str, limits: PictureLimits) -> SeenPicture | str:
        """An input picture, decoded once however often it is sent, or a sentence on what is wrong with it."""
        known = self.pictures.get(sha256_hex(text.encode("utf-8", "surrogatepass")))
        return look(text, limits) if known is None else known

    def address(self, gateway: str, base: str = "") -> str:
        """Where a gateway, or one of its further addresses, is reached in this world; without a slash at the end."""
        name = f"{gateway}-{base}" if base else gateway
        return self.links_base.replace("{gateway}", name).rstrip("/")

    def keep_upload(
        self,
        gateway: str,
        identity: str,
        name: str,
        data: bytes,
        *,
        limits: PictureLimits,
        now: float,
        lives_s: float | None,
        model: str = "",
    ) -> Upload | str:
        """Keep a picture that was uploaded, or say in a sentence what is wrong with it."""
        seen = self.pictures.get(sha256_hex(data)) or look_at(data, limits)
        if isinstance(seen, str):
            return seen
        self._keep(seen)
        kind = media_type_of(data)
        expires_at = None if lives_s is None else now + lives_s
        return self._keep_upload(Upload(identity, gateway, name, seen.digest, kind, len(data), now, expires_at, model))

    def copy_upload(self, upload: Upload, identity: str, now: float, *, lives_s: float | None) -> Upload:
        """Keep what an upload holds once more, under another identity."""
        expires_at = None if lives_s is None else now + lives_s
        return self._keep_upload(replace(upload, id=identity, at=now, expires_at=expires_at))

    def _keep_upload(self, upload: Upload) -> Upload:
        self.uploads[upload.gateway, upload.id] = upload
        self._unsaved.append(line_of("uploaded", **asdict(upload)))
        return upload

    def uploaded(self, gateway: str, identity: str, now: float, *, model: str = "") -> SeenPicture | None:
        """The picture that an upload brought; None when it is unknown, gone, or bound to another model."""
        upload = self.uploads.get((gateway, identity))
        if upload is None or (upload.expires_at is not None and now >= upload.expires_at):
            return None
        return self.pictures[upload.digest] if upload.model in {"", model} else None

    def new_name(self, *names: object) -> str:
        """32 hex digits for something that gets a name of its own: the same for the same names in the same world."""
        return sha256_hex("/".join([str(self.dice.seed), *map(str, names)]).encode())[:32]

    def accept(
        self, order: Order, pictures: Iterable[SeenPicture], occasion: str, now: float, *, identity: str = ""
    ) -> Operation:
        """Take an order on: from now on it will be made, and billed when it is. Without `identity` it gets a UUID."""
        for picture in pictures:
            self._keep(picture)
        operation = Operation(
            id=identity or self._new_id(),
            order=order,
            accepted_at=now,
            ends_at=now + self.faults.generation_s.at(self.dice.chance("generation", occasion)),
            end=self._end(order, occasion),
            images=self._images(order, occasion),
            vanished=self.strikes("vanished", occasion, order.prompt),
        )
        self._enter(operation)
        self._unsaved.append(line_of("accepted", **asdict(operation)))
        return operation

    def cancel(self, operation: Operation, now: float) -> Operation:
        """Take an operation back: it ends now, nothing is made and nothing billed."""
        ended = replace(operation, end="canceled", ends_at=now, images=0)
        self._unbilled = [one for one in self._unbilled if one[1] != operation.id]
        heapify(self._unbilled)
        self._enter(ended)
        self._unsaved.append(line_of("canceled", id=operation.id, at=now))
        return ended

    def link(self, operation: Operation, index: int, expires: int) -> str:
        """A signed link to one picture. *Units* - expires: seconds of the world's clock."""
        signed = f"expires={expires}&signature={self.signature(operation.id, index, expires)}"
        return f"{self.address(operation.order.gateway)}/files/{operation.id}/image_{index}.png?{signed}"

    def signature(self, operation: str, index: int, expires: int) -> str:
        """What makes a link ours: 16 hex digits."""
        return sha256_hex(f"{self.dice.seed}/{operation}/{index}/{expires}".encode())[:16]

    def bill(self, *, operations: bool = False) -> dict[str, object]:
        """The vendors' own books at the world's latest moment. *Units* - micros: 10^-6 of the gateway's `unit`.

        *Shape*, *Raises* - as `bill_of`.
        """
        return bill_of(self.operations.values(), self.uploads.values(), self.clock, whole=operations)

    def lines(self) -> list[str]:
        """Journal lines, without newlines, for everything that happened since the last call."""
        if self._unsaved_seen:
            self._unsaved.append(line_of("seen", counts={key: self._seen[key] for key in sorted(self._unsaved_seen)}))
            self._unsaved_seen.clear()
        while self._unbilled and self._unbilled[0][0] <= self.clock:
            operation = self.operations[heappop(self._unbilled)[1]]
            self._unsaved.append(line_of("billed", **entry_of(operation, self.clock)))
        counters = self._counters()
        # The clock alone is worth a line once in a while only: a poll that changes nothing writes nothing.
        if self._unsaved or counters[1] != self._saved[1] or counters[0] >= self._saved[0] + _CLOCK_LINE_S:
            self._saved = counters
            self._unsaved.append(line_of("counters", clock=counters[0], seed=self.dice.seed, occasions=counters[1]))
        lines, self._unsaved = self._unsaved, []
        return lines

    def replay(self, lines: Iterable[str]) -> None:
        """Take in lines of an earlier life. A torn last line, as kill -9 leaves it, is passed over.

        *Raises* ValueError for any other line that cannot be read.
        """
        written = [line for line in lines if line.strip()]
        for number, line in enumerate(written, start=1):
            try:
                self._take_in(read_line(line))
            except (ValueError, KeyError, TypeError) as error:
                if number == len(written) and isinstance(error, json.JSONDecodeError):
                    break
                raise ValueError(f"line {number} of the world's journal cannot be read: {error}") from error
        self._saved = self._counters()
        self._unbilled = [one for one in self._unbilled if one[1] not in self._billed]
        heapify(self._unbilled)

    # --- helpers ------------------------------------------------------------------------------------------------

    def _counters(self) -> tuple[float, dict[str, int]]:
        return self.clock, dict(self.dice.occasions)

    def _enter(self, operation: Operation) -> None:
        self.operations[operation.id] = operation
        key = operation.order.notes.get("key")
        if isinstance(key, str):
            self.keyed[operation.order.gateway, key] = operation.id
        if operation.end != "stuck":
            heappush(self._unbilled, (operation.ends_at, operation.id))

    def _new_id(self) -> str:
        digits = sha256_hex(f"{self.dice.seed}/operation/{len(self.operations)}".encode())
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"

    def _end(self, order: Order, occasion: str) -> Literal["completed", "failed", "moderated", "stuck"]:
        if self.strikes("moderated", occasion, order.prompt):
            return "moderated"
        if self.strikes("failed", occasion, order.prompt):
            return "failed"
        return "stuck" if self.strikes("stuck", occasion, order.prompt) else "completed"

    def _images(self, order: Order, occasion: str) -> int:
        if order.n > 1 and self.strikes("fewer", occasion, order.prompt):
            return 1 + int(self.dice.chance("how many", occasion) * (order.n - 1))
        return order.n + 1 if self.strikes("more", occasion, order.prompt) else order.n

    def _keep(self, picture: SeenPicture) -> None:
        if picture.digest in self.pictures:
            return
        self.pictures[picture.digest] = picture
        thumbnail = base64.b64encode(picture.thumbnail).decode("ascii")
        self._unsaved.append(
            line_of("picture", digest=picture.digest, width=picture.width, height=picture.height, thumbnail=thumbnail)
        )

    def _take_in(self, entry: Mapping[str, object]) -> None:
        match entry:
            case {"kind": "accepted"}:
                operation = read_operation(entry)
                self._enter(operation)
                self._windows.setdefault(f"{operation.order.gateway}/{operation.order.model}", deque()).append(
                    operation.accepted_at
                )
                self.tick(operation.accepted_at)
            case {"kind": "canceled", "id": str(identity), "at": int() | float() as at}:
                self.cancel(self.operations[identity], float(at))
                self._unsaved.clear()
            case {"kind": "uploaded"}:
                upload = read_upload(entry)
                self.uploads[upload.gateway, upload.id] = upload
                self.tick(upload.at)
            case {"kind": "picture", "digest": str(digest), "width": int(width), "height": int(height)}:
                thumbnail = base64.b64decode(str(entry["thumbnail"]))
                self.pictures[digest] = SeenPicture(digest, width, height, thumbnail)
            case {"kind": "seen", "counts": dict(counts)}:
                self._seen.update(counts)
            case {"kind": "billed", "id": str(identity)}:
                self._billed.add(identity)
            case {"kind": "counters", "clock": int() | float() as clock, "seed": int(seed), "occasions": dict(struck)}:
                self.tick(float(clock))
                self.dice.seed = seed
                self.dice.occasions.update(struck)
            case _:
                raise ValueError(f"unknown entry {entry.get('kind')!r}")
