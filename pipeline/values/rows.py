"""What the store tells its readers (manifest, status, verify): one value per image, task, attempt and money entry.

Amounts are micro-units of `currency`; times are UTC microseconds, None where the thing has not happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pipeline.values.artifact import Artifact
from pipeline.values.task import Price, Task


@dataclass(frozen=True, slots=True)
class ImageRow:
    """A stored picture with the task it was made for and its share of the money."""

    task: Task
    #: The current spec asks for this task.
    in_spec: bool
    #: From 0, unique in the task; pictures of a second delivering attempt count on.
    image_index: int
    attempt: int
    #: POSTs that were permitted for the task.
    attempts: int
    artifact: Artifact
    revised_prompt: str | None
    #: Its share of what the attempt cost; the remainder of the division is on the first picture.
    cost_micros: int
    currency: str
    #: The gateway's operation id, else its request id, else empty.
    operation_id: str
    submitted_at: int | None
    completed_at: int | None
    #: A review rejected it, and its task was sent again.
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """An input picture that stands at a gateway. *Units* - expires_at: UTC microseconds; None: no end is known."""

    gateway: str
    #: A digest of the key that it was uploaded with.
    account: str
    #: The only model that may use it; empty: all of them.
    model: str
    #: Of the picture as it is here, before any conversion.
    sha256: str
    #: What a submit names; empty: it is gone.
    location: str
    expires_at: int | None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task that entered the store, with its money and where it stands (`phase` is an engine Phase's text)."""

    task: Task
    phase: str
    in_spec: bool
    held_micros: int
    settled_micros: int
    doubt_micros: int
    currency: str
    images_delivered: int
    attempts: int
    #: A FaultKind's text, and the words; both empty when there is none.
    fault: str
    fault_message: str
    operation_id: str
    submitted_at: int | None
    completed_at: int | None

    @property
    def task_id(self) -> str:
        """64 hex digits."""
        return self.task.id

    @property
    def row_id(self) -> str | None:
        """The id of the task's input row."""
        return self.task.row_id

    @property
    def axes(self) -> Mapping[str, str]:
        """{axis name: value id or text}."""
        return self.task.axes

    @property
    def sample(self) -> int:
        """Which sample of its combination it is, from 0."""
        return self.task.sample


@dataclass(frozen=True, slots=True)
class Columns:
    """Many task rows or image rows at once, {column of the manifest: its values}.

    As the manifest has them, but for maps, which are words in a row here, and `inputs`, which are Inputs.
    """

    #: `tasks` or `images`.
    table: str
    count: int
    values: Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One POST, or the intention of one (`state` is an AttemptState's text)."""

    attempt: int
    task: int
    task_id: str
    gateway: str
    model: str
    ordinal: int
    state: str
    currency: str
    open_micros: int
    settled_micros: int
    images: int
    counts: bool
    operation: str
    request_id: str
    fault: str
    fault_message: str
    submitted_at: int | None
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One movement of money, never changed once written."""

    entry: int
    attempt: int
    currency: str
    #: One of MOVES.
    kind: str
    amount_micros: int
    why: str
    at: int


#: {kind of an entry: how it moves what is spent, held and in doubt}.
MOVES: Final[Mapping[str, tuple[int, int, int]]] = {
    "hold": (0, 1, 0),
    "settle": (1, -1, 0),
    "release": (0, -1, 0),
    "doubt": (0, -1, 1),
    "lift": (0, 1, -1),
    "doubt_release": (0, 0, -1),
    "write_off": (1, 0, -1),
    "overage": (1, 0, 0),
}


@dataclass(frozen=True, slots=True)
class MoveRow:
    """One movement of money and what it was for, as a statement of the account tells it."""

    entry: EntryRow
    task_id: str
    gateway: str
    model: str
    #: The gateway's operation id, else its request id, else empty.
    operation_id: str
    #: What the attempt is now (an AttemptState's text), what it cost, and the pictures that were billed for it.
    state: str
    settled_micros: int
    images: int
    #: Why it ended without a bill, or is in doubt; empty when neither.
    fault_message: str
    price: Price


@dataclass(frozen=True, slots=True)
class SaidRow:
    """What a person told a living run: `pause`, `continue` or `drain`. *Units* - at: UTC microseconds."""

    what: str
    #: None: every lane.
    lane: str | None
    #: Who said it, and by what means.
    why: str
    at: int


@dataclass(frozen=True, slots=True)
class FailureRow:
    """Tasks that ended with one kind of fault (a FaultKind's text), and the latest one's words."""

    fault: str
    tasks: int
    message: str
    #: {currency: micro-units that they cost all the same}
    settled_micros: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LaneRow:
    """What one lane (gateway/model) did, in attempts."""

    lane: str
    submits: int
    rate_limited: int
    in_flight: int


@dataclass(frozen=True, slots=True)
class BillRow:
    """What one attempt cost, and how many cost the same by the same price."""

    gateway: str
    currency: str
    price: Price
    settled_micros: int
    held_micros: int
    doubt_micros: int
    attempts: int


@dataclass(frozen=True, slots=True)
class CapRow:
    """One setting of a cap."""

    currency: str
    cap_micros: int
    why: str
    at: int


@dataclass(frozen=True, slots=True)
class NotedPlan:
    """The plan that this run folder last worked on."""

    plan_sha256: str
    spec_sha256: str
    #: The spec as run.
    spec_text: str
    job: str
    #: How many tasks of it are asked for.
    total: int
