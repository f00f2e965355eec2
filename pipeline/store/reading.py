"""Tables into values: what is unfinished when a run folder is opened, and every row for those who look at it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from itertools import groupby
from typing import Final

from pipeline.engine.facts import BY_METER
from pipeline.engine.known import Operations
from pipeline.engine.phases import AttemptState, Phase
from pipeline.engine.stored import Snapshot, StoredAccount, StoredAttempt, StoredPicture, StoredTask
from pipeline.store.record import task_from_json
from pipeline.values.artifact import Artifact
from pipeline.values.rows import AttemptRow, CapRow, EntryRow, ImageRow, SaidRow, TaskRow
from pipeline.values.task import Task

#: Tasks with something still to happen or money open; what the spec dropped waits for nothing.
_UNFINISHED: Final = """
  SELECT key FROM task WHERE (in_spec = 1 OR phase <> 'waiting')
    AND phase IN ('waiting', 'held', 'submitting', 'running', 'fetching', 'in_doubt')
  UNION SELECT task FROM attempt
    WHERE open > 0 OR state IN ('RESERVED', 'SUBMITTING', 'ACCEPTED', 'DOUBT', 'VANISHED')
  UNION SELECT a.task FROM picture p JOIN attempt a ON a.id = p.attempt WHERE p.state = 'PENDING'
"""
#: Attempts with something still to happen, as the index `alive` has them.
_ALIVE: Final = "open > 0 OR state IN ('RESERVED', 'SUBMITTING', 'ACCEPTED', 'DOUBT', 'VANISHED')"
#: Attempts in doubt, by the same index.
DOUBTFUL: Final = f"({_ALIVE}) AND state IN ('DOUBT', 'VANISHED')"
#: Every gateway that money was ever held for: one step through the index each, and not a look at every attempt.
_GATEWAYS: Final = """
  WITH RECURSIVE gateways(name) AS (
    SELECT min(gateway) FROM attempt
    UNION ALL SELECT (SELECT min(gateway) FROM attempt WHERE gateway > name) FROM gateways WHERE name IS NOT NULL)
  SELECT name FROM gateways WHERE name IS NOT NULL
"""
#: Tasks of the spec, then tasks that it dropped, each by number; both by the index on `number`.
_IN_ORDER: Final = ("t.number >= 0 ORDER BY t.number", "t.number < 0 ORDER BY t.number DESC")
#: Whether an attempt was booked as spent because the gateway's meter shows its sum; takes the pattern of that reason.
_BY_METER: Final = (
    "EXISTS(SELECT 1 FROM entry e WHERE e.attempt = attempt.id AND e.kind = 'write_off' AND e.why LIKE ?)"
)
#: The pictures of an attempt that are known to be billed.
_BILLED_IMAGES: Final = (
    "CASE state WHEN 'SETTLED' THEN images WHEN 'WRITTEN_OFF' THEN"  # noqa: S608
    f" {_BY_METER} * (SELECT json_extract(record, '$.n') FROM task WHERE key = attempt.task) ELSE 0 END"
)
#: The last attempt of a task whose pictures a review rejected before it was sent again; 0 for none.
_SUPERSEDED: Final = "ifnull((SELECT CAST(m.v AS INTEGER) FROM meta m WHERE m.k = 'again:' || lower(hex(t.id))), 0)"
_POSTS: Final = "(SELECT count(*) FROM attempt x WHERE x.task = t.key AND x.submitted_at IS NOT NULL)"


def snapshot(db: sqlite3.Connection) -> Snapshot:
    """What opening the folder yields. Counts hold tasks of the current spec, and whatever is unfinished besides."""
    counted = f"in_spec = 1 OR key IN ({_UNFINISHED})"
    by_phase = dict(db.execute(f"SELECT phase, count(*) FROM task WHERE {counted} GROUP BY phase"))  # noqa: S608
    operations = db.execute("SELECT gateway, operation FROM attempt WHERE operation IS NOT NULL")
    return Snapshot(
        accounts=accounts(db),
        tasks=tuple(_tasks(db, f"t.key IN ({_UNFINISHED})")),
        next_attempt=1 + int(db.execute("SELECT ifnull(max(id), 0) FROM attempt").fetchone()[0]),
        counts={phase: by_phase[phase.value] for phase in Phase if phase.value in by_phase},
        images=_images(db),
        operations=Operations(operations),
        sent=_sent(db),
        billed=_billed(db),
        guessed=_guessed(db),
    )


def _images(db: sqlite3.Connection) -> int:
    """Stored pictures of tasks that count: all of them, less those of what the spec dropped and nobody waits for."""
    (stored,) = db.execute("SELECT count(*) FROM picture WHERE state = 'STORED'").fetchone()
    (dropped,) = db.execute(
        "SELECT count(*) FROM task t JOIN attempt a ON a.task = t.key JOIN picture p ON p.attempt = a.id"  # noqa: S608
        f" WHERE t.number < 0 AND p.state = 'STORED' AND t.in_spec = 0 AND t.key NOT IN ({_UNFINISHED})"
    ).fetchone()
    return int(stored) - int(dropped)


def _sent(db: sqlite3.Connection) -> dict[str, dict[str, int]]:
    """{lane: {operation: when it was permitted}}, of those sent since the oldest doubt; nothing without a doubt."""
    # The first condition is that of the index: without it every attempt would be looked at.
    doubted = f"SELECT min(submitted_at) FROM attempt WHERE ({_ALIVE}) AND state IN ('DOUBT', 'SUBMITTING')"  # noqa: S608
    (since,) = db.execute(doubted).fetchone()
    if since is None:
        return {}
    sql = (
        "SELECT t.gateway || '/' || t.model, a.operation, a.submitted_at FROM attempt a JOIN task t ON t.key = a.task"
        " WHERE a.operation IS NOT NULL AND a.submitted_at >= ?"
    )
    sent: dict[str, dict[str, int]] = {}
    for lane, operation, at in db.execute(sql, (since,)):
        sent.setdefault(lane, {})[operation] = at
    return sent


def _billed(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """{(gateway, unit that it bills in): known to be billed}, where a meter was read before anything was bought."""
    if db.execute("SELECT 1 FROM meta WHERE k LIKE 'meter:%' LIMIT 1").fetchone() is None:
        return {}
    sql = (
        "SELECT a.gateway, json_extract(t.record, '$.price.native_unit'), sum("  # noqa: S608
        " n * json_extract(t.record, '$.price.native_per_image')"
        " + (n > 0) * ifnull(json_extract(t.record, '$.price.native_per_call'), 0))"
        f" FROM (SELECT task, gateway, {_BILLED_IMAGES} AS n FROM attempt"
        " WHERE gateway IN (SELECT substr(k, 7) FROM meta WHERE k LIKE 'meter:%')) a"
        " JOIN task t ON t.key = a.task GROUP BY 1, 2"
    )
    return {(gateway, unit): billed for gateway, unit, billed in db.execute(sql, (f"{BY_METER}%",))}


def _guessed(db: sqlite3.Connection) -> dict[str, int]:
    """{gateway: attempts booked as spent by guess}, of every gateway that money was ever held for."""
    guessed = dict.fromkeys((str(gateway) for (gateway,) in db.execute(_GATEWAYS)), 0)
    # Those few first: asked of every attempt, each answer would look through every entry.
    written_off = "SELECT id, gateway FROM attempt WHERE state = 'WRITTEN_OFF'"
    by_meter = {
        int(attempt)
        for (attempt,) in db.execute(
            "SELECT attempt FROM entry WHERE kind = 'write_off' AND why LIKE ?", (f"{BY_METER}%",)
        )
    }
    for attempt, gateway in db.execute(written_off):
        guessed[gateway] += attempt not in by_meter
    return guessed


def oldest_links(db: sqlite3.Connection) -> dict[tuple[str, str], int]:
    """{(gateway, model): when the oldest of the links that are still to be fetched came}."""
    sql = (
        "SELECT a.gateway, t.model, min(a.ended_at) FROM attempt a JOIN picture p ON p.attempt = a.id"
        " JOIN task t ON t.key = a.task WHERE p.state = 'PENDING' AND a.ended_at IS NOT NULL GROUP BY 1, 2"
    )
    return {(gateway, model): at for gateway, model, at in db.execute(sql)}


def calls_out(db: sqlite3.Connection) -> dict[str, int]:
    """{state: attempts that may be billed and have no end yet}."""
    states = "('SUBMITTING', 'ACCEPTED', 'DOUBT', 'VANISHED')"
    return dict(db.execute(f"SELECT state, count(*) FROM attempt WHERE state IN {states} GROUP BY state"))  # noqa: S608


def accounts(db: sqlite3.Connection) -> tuple[StoredAccount, ...]:
    """Every account, by currency."""
    rows = db.execute("SELECT currency, cap, spent, held, doubt, overage FROM account ORDER BY currency")
    return tuple(StoredAccount(*row) for row in rows)


def task_of_attempt(db: sqlite3.Connection, attempt: int) -> StoredTask | None:
    """The task of one attempt, ended or not."""
    return next(_tasks(db, f"t.key = (SELECT task FROM attempt WHERE id = {int(attempt)})"), None)  # noqa: S608


def failed_tasks(db: sqlite3.Connection, kinds: Collection[str] | None) -> list[StoredTask]:
    """FAILED and SHORT tasks of the current spec, of these fault kinds (None: of any)."""
    tasks = _tasks(db, "t.phase IN ('failed', 'short') AND t.in_spec = 1")
    if kinds is None:
        return list(tasks)
    keep = {bytes(row[0]) for row in db.execute("SELECT id, fault FROM task WHERE in_spec = 1") if row[1] in kinds}
    return [stored for stored in tasks if bytes.fromhex(stored.task.id) in keep]


def task_of(db: sqlite3.Connection, task_id: str) -> StoredTask | None:
    """One task by its id, ended or not."""
    return next(_tasks(db, f"t.id = x'{bytes.fromhex(task_id).hex()}'"), None)


def _tasks(db: sqlite3.Connection, where: str) -> Iterator[StoredTask]:
    """Tasks that match, by number, with their attempts and pictures."""
    tasks = db.execute(f"SELECT t.key, t.number, t.record, t.phase FROM task t WHERE {where}").fetchall()  # noqa: S608
    pictures: dict[int, list[StoredPicture]] = {}
    sql = (
        "SELECT p.attempt, p.idx, p.state, ifnull(p.link, '') FROM picture p JOIN attempt a ON a.id = p.attempt"  # noqa: S608
        f" JOIN task t ON t.key = a.task WHERE {where} ORDER BY p.attempt, p.idx"
    )
    for attempt, index, state, link in db.execute(sql):
        pictures.setdefault(attempt, []).append(StoredPicture(index, state, link))
    attempts: dict[int, list[StoredAttempt]] = {}
    sql = (
        "SELECT a.task, a.id, a.ordinal, a.state, a.currency, a.open, ifnull(a.operation, ''), a.counts,"  # noqa: S608
        " a.fault_message, a.hold, a.settled, a.images, a.submitted_at, a.ended_at,"
        f" a.id <= {_SUPERSEDED} FROM attempt a JOIN task t ON t.key = a.task WHERE {where} ORDER BY a.id"
    )
    for key, number, ordinal, state, currency, left, operation, counts, *rest in db.execute(sql):
        why, hold, settled, images, submitted, ended, superseded = rest
        known = tuple(pictures.get(number, ()))
        attempts.setdefault(key, []).append(
            StoredAttempt(
                number,
                ordinal,
                AttemptState(state),
                currency,
                left,
                operation,
                bool(counts),
                known,
                why,
                hold,
                settled,
                images,
                submitted,
                ended,
                bool(superseded),
            )
        )
    # Sorted here: an ORDER BY on the number would make SQLite walk every task.
    for key, number, record, phase in sorted(tasks, key=lambda row: (row[1] < 0, abs(row[1]))):
        yield StoredTask(task_from_json(record, number), Phase(phase), tuple(attempts.get(key, ())))


def _among(only: Collection[int] | None) -> str:
    return "" if only is None else f"t.number IN ({', '.join(str(int(number)) for number in only)}) AND "


def numbers_of(db: sqlite3.Connection, attempts: Collection[int]) -> set[int]:
    """The numbers of the tasks of these attempts."""
    among = ", ".join(str(int(attempt)) for attempt in attempts)
    sql = f"SELECT DISTINCT t.number FROM attempt a JOIN task t ON t.key = a.task WHERE a.id IN ({among})"  # noqa: S608
    return {int(number) for (number,) in db.execute(sql)}


def task_rows(db: sqlite3.Connection, only: Collection[int] | None = None) -> Iterator[TaskRow]:
    """Every task in the store (or those of these numbers): the spec's by number, then those it dropped."""
    for order in _IN_ORDER:
        where, _, by = order.partition(" ORDER BY ")
        sql = f"""
            SELECT t.number, t.record, t.phase, t.in_spec, t.fault, t.fault_message, t.submitted_at, t.completed_at,
              ifnull(sum(CASE WHEN a.state IN ('DOUBT', 'VANISHED') THEN 0 ELSE a.open END), 0),
              ifnull(sum(a.settled), 0),
              ifnull(sum(CASE WHEN a.state IN ('DOUBT', 'VANISHED') THEN a.open ELSE 0 END), 0),
              max(a.currency), count(a.submitted_at),
              (SELECT count(*) FROM attempt y JOIN picture p ON p.attempt = y.id AND p.state = 'STORED'
                WHERE y.task = t.key),
              (SELECT ifnull(z.operation, z.request_id) FROM attempt z
                WHERE z.task = t.key AND ifnull(z.operation, z.request_id) <> '' ORDER BY z.id DESC LIMIT 1)
            FROM task t LEFT JOIN attempt a ON a.task = t.key
            WHERE {_among(only)}{where} GROUP BY t.number ORDER BY {by}
        """  # noqa: S608 - our own text
        for number, record, phase, in_spec, fault, message, submitted, completed, *rest in db.execute(sql):
            held, settled, doubt, currency, posts, delivered, operation = rest
            task = task_from_json(record, number)
            yield TaskRow(
                task=task,
                phase=phase,
                in_spec=bool(in_spec),
                held_micros=held,
                settled_micros=settled,
                doubt_micros=doubt,
                currency=currency or task.price.currency,
                images_delivered=delivered,
                attempts=posts,
                fault=fault,
                fault_message=message,
                operation_id=operation or "",
                submitted_at=submitted,
                completed_at=completed,
            )


def image_rows(db: sqlite3.Connection, only: Collection[int] | None = None) -> Iterator[ImageRow]:
    """Every stored picture (or those of these tasks), in the order of `task_rows`, then by image index."""
    for order in _IN_ORDER:
        sql = f"""
            SELECT t.number, t.record, t.in_spec, {_POSTS}, a.id, a.settled, a.images, a.currency,
              ifnull(a.operation, a.request_id), a.revised_prompt, a.submitted_at, a.ended_at,
              a.id <= {_SUPERSEDED},
              p.idx, p.state, p.sha256, p.media_type, p.bytes, p.w, p.h, p.path, p.stored_at
            FROM task t JOIN attempt a ON a.task = t.key JOIN picture p ON p.attempt = a.id
            WHERE {_among(only)}{order}, a.id, p.idx
        """  # noqa: S608 - our own text
        for (number, record), rows in groupby(db.execute(sql), key=lambda row: (row[0], row[1])):
            yield from _images_of(task_from_json(record, number), rows)


def _images_of(task: Task, rows: Iterator[tuple[object, ...]]) -> Iterator[ImageRow]:
    first = 0
    for _, group in groupby(rows, key=lambda row: row[4]):
        pictures = list(group)
        for picture in pictures:
            image = _image(task, picture, first)
            if image is not None:
                yield image
        first += max(task.n, len(pictures))


def _image(task: Task, row: tuple[object, ...], first: int) -> ImageRow | None:
    (in_spec, posts, attempt, settled, images, currency, operation, revised, submitted, ended, *rest) = row[2:]
    superseded, index, state, sha256, media_type, size, width, height, path, stored_at = rest
    if state != "STORED":
        return None
    assert isinstance(settled, int) and isinstance(images, int) and isinstance(index, int)  # noqa: PT018 - for the types
    return ImageRow(
        task=task,
        in_spec=bool(in_spec),
        image_index=first + index,
        attempt=_int(attempt),
        attempts=_int(posts),
        artifact=Artifact(
            str(sha256), str(media_type), _int(size), _int(width), _int(height), str(path), _int(stored_at)
        ),
        revised_prompt=None if revised is None else str(revised),
        cost_micros=cost_of(settled, images, index),
        currency=str(currency),
        operation_id=str(operation),
        submitted_at=None if submitted is None else _int(submitted),
        completed_at=None if ended is None else _int(ended),
        superseded=bool(superseded),
    )


def cost_of(settled: int, images: int, index: int) -> int:
    """A picture's share of what its attempt cost; the remainder of the division is on the first one.

    A gateway may give more pictures than it billed: those cost nothing, and the sum stays what was settled.
    """
    share, remainder = divmod(settled, max(1, images))
    return (share if index < max(1, images) else 0) + (remainder if index == 0 else 0)


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def attempt_rows(db: sqlite3.Connection, where: str = "1") -> Iterator[AttemptRow]:
    """Every attempt of which this holds, by number."""
    sql = (
        "SELECT a.id, t.number, lower(hex(t.id)), a.gateway, t.model, a.ordinal, a.state, a.currency, a.open,"  # noqa: S608
        " a.settled, a.images, a.counts, ifnull(a.operation, ''), a.request_id, a.fault, a.fault_message,"
        " a.submitted_at, a.ended_at FROM attempt a"
        f" JOIN task t ON t.key = a.task WHERE a.id IN (SELECT id FROM attempt WHERE {where}) ORDER BY a.id"
    )
    for row in db.execute(sql):
        yield AttemptRow(*[*row[:11], bool(row[11]), *row[12:]])


def entry_rows(db: sqlite3.Connection) -> Iterator[EntryRow]:
    """Every movement of money, oldest first."""
    for row in db.execute("SELECT id, attempt, currency, kind, amount, why, at FROM entry ORDER BY id"):
        yield EntryRow(*row)


def cap_rows(db: sqlite3.Connection) -> Iterator[CapRow]:
    """Every setting of a cap, oldest first."""
    for row in db.execute("SELECT currency, cap, why, at FROM cap ORDER BY id"):
        yield CapRow(*row)


def said_rows(db: sqlite3.Connection) -> Iterator[SaidRow]:
    """What people told the run while it was alive, oldest first: pauses, continuations, drains."""
    for (text,) in db.execute("SELECT v FROM meta WHERE k >= 'said:' AND k < 'said;' ORDER BY k"):
        said = json.loads(text)
        yield SaidRow(str(said["what"]), said["lane"], str(said["why"]), int(said["at"]))


def last_time(db: sqlite3.Connection) -> int:
    """The latest wall time in the tables, in UTC microseconds; 0 when nothing has happened."""
    sql = (
        "SELECT max(ifnull((SELECT at FROM entry ORDER BY id DESC LIMIT 1), 0), ifnull((SELECT max(at) FROM cap), 0),"
        " ifnull((SELECT max(admitted_at) FROM task), 0), ifnull((SELECT max(submitted_at) FROM attempt), 0),"
        " ifnull((SELECT max(completed_at) FROM task), 0), ifnull((SELECT max(ended_at) FROM attempt), 0),"
        " ifnull((SELECT max(stored_at) FROM picture), 0))"
    )
    return int(db.execute(sql).fetchone()[0])
