"""The mutant board: seeded bugs as anchored substitutions, and the few tests that must catch each within seconds.

An anchor occurs exactly once in its file; when the code around it is rewritten the board fails, and the bug is seeded
anew. A mutant that survives is a missing test.
"""

# ruff: noqa: E501, ISC004 - a table of other files' text, which keeps its own lines

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug. `tests` is what pytest is given: one of them must fail."""

    name: str
    file: str
    anchor: str
    replacement: str
    what: str
    tests: tuple[str, ...]

    def applied(self, text: str) -> str:
        """The file's text with the bug in it. *Raises* ValueError unless the anchor occurs exactly once."""
        times = text.count(self.anchor)
        if times != 1:
            raise ValueError(f"{self.name}: its anchor occurs {times} times in {self.file}")
        return text.replace(self.anchor, self.replacement)


def _of(file: str, *rows: tuple[str, str, str, str, str]) -> Iterable[Mutant]:
    for name, what, anchor, replacement, tests in rows:
        yield Mutant(name, file, anchor, replacement, what, tuple(tests.split()))


_WALK: Final = "tests/engine/test_reduced_walk.py::test_no_order_of_a_small_job_breaks_an_invariant[hold]"
_LAWS: Final = "tests/engine/test_money_laws.py::test_the_books_agree_with_the_world_laws"
_CASES: Final = "tests/engine/test_caps.py tests/engine/test_transitions.py tests/engine/test_recovery.py tests/engine/test_lanes.py"
_JOURNAL: Final = "tests/store/test_journal.py"
_EXPORT: Final = "tests/export/test_export.py"
_BESIDE: Final = "tests/store/test_beside.py"
_ORDER: Final = "tests/store/test_write_order.py"
_LOST: Final = "tests/stories/test_rehearsals.py::test_a_lost_answer_is_a_doubt_that_stays_held_and_is_never_sent_again"
_RAISED: Final = "tests/stories/test_rehearsals.py::test_the_job_stops_at_its_budget_and_goes_on_when_it_is_raised"
_EXCHANGE: Final = "tests/transport/test_http_exchange.py"
_DOWNLOAD: Final = "tests/transport/test_http_download.py"
_PAUSES: Final = "tests/engine/test_pauses.py"
_VIEW: Final = "tests/security/test_view.py"
_PACER: Final = "tests/runtime/test_pacer.py"
_PACE: Final = "tests/engine/test_pace.py"
_DRIVER: Final = "tests/stories/test_order.py"
_POWER: Final = "tests/chaos/test_disk.py::test_the_product_keeps_its_word_and_broken_variants_do_not"
_JUDGE: Final = "tests/chaos/test_judge.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    # --- the protocol: what may leave when -------------------------------------------------------------------------
    *_of(
        "pipeline/runtime/driver.py",
        (
            "send before the commit returns",
            "commands are performed in the tick that decided them",
            "            future.add_done_callback(partial(self._durable, facts))",
            "            future.add_done_callback(lambda _: self._touch())\n"
            "            self._committing -= 1\n"
            "            self.audience.say(facts)\n"
            "            for command in [each for fact in facts for each in self.machine.react(fact, 0.0)]:\n"
            "                self._perform(command)",
            _DRIVER,
        ),
        (
            "go on after a failed commit",
            "a commit that failed is taken for one that was done",
            "        if error is not None:\n            self._stop(error)\n            return\n        if self._over is not None:",
            "        if self._over is not None:",
            _DRIVER,
        ),
        (
            "POST after Ctrl-C",
            "what waits for its slot still leaves after the first Ctrl-C",
            "        return self._over is None and not self.draining",
            "        return self._over is None",
            f"{_DRIVER}",
        ),
    ),
    *_of(
        "pipeline/engine/decide.py",
        (
            "hold after submit",
            "a permit needs no hold: the money is put aside when the answer comes",
            "    amount = task.price.hold(task.n)\n",
            "    amount = 0\n",
            f"{_CASES} {_WALK}",
        ),
        (
            "budget off by one image",
            "the cap check leaves one picture out",
            "    wanted = task.price.hold(task.n)\n",
            "    wanted = task.price.hold(max(1, task.n - 1))\n",
            f"{_CASES} {_LAWS}",
        ),
        (
            "cap checked at the wrong time",
            "the cap is checked when a task is offered, and not when it is held again",
            "            refusal = _unaffordable(state, live.task)\n",
            "            refusal = None\n",
            f"{_CASES} {_LAWS} {_WALK}",
        ),
        (
            "resume voids SUBMITTING",
            "a restart takes what was on the wire for not sent",
            "                case AttemptState.RESERVED:\n                    yield Released(",
            "                case AttemptState.RESERVED | AttemptState.SUBMITTING:\n                    yield Released(",
            f"{_CASES} {_WALK}",
        ),
        (
            "doubt released by evidence of nothing",
            "the verdict `billed` frees the money",
            "        yield WrittenOff(attempt.number, attempt.open, verdict.why)\n",
            "        yield DoubtReleased(attempt.number, attempt.open, verdict.why)\n",
            f"{_CASES} {_LAWS}",
        ),
    ),
    *_of(
        "pipeline/engine/react.py",
        (
            "resume sends again",
            "a restart sends what was on the wire once more",
            "        if attempt.state is AttemptState.ACCEPTED:\n            yield from poll(attempt, now)\n    yield from _fetch_oldest",
            "        if attempt.state is AttemptState.DOUBT:\n            yield Submit(attempt.number, attempt.task)\n"
            "        elif attempt.state is AttemptState.ACCEPTED:\n            yield from poll(attempt, now)\n    yield from _fetch_oldest",
            f"{_CASES} {_WALK}",
        ),
    ),
    *_of(
        "pipeline/engine/outcome.py",
        (
            "hold released on timeout",
            "no answer is taken for no bill",
            "    yield Doubted(attempt.number, attempt.open, fault, vanished)\n",
            "    yield Released(attempt.number, attempt.open, fault, counts=True)\n    yield from close(live, fault)\n    return\n",
            f"{_CASES} {_WALK}",
        ),
        (
            "hold released at settle",
            "the rest of a hold is free at once, whatever the gateway's lag",
            "    if attempt.open and not lane.terms.release_lag_s:\n",
            "    if attempt.open:\n",
            "tests/engine/test_recovery.py tests/engine/test_lanes.py",
        ),
        (
            "overage not booked",
            "a bill above the hold is cut to the hold",
            "    overage = cost - amount\n",
            "    overage = 0\n",
            f"{_CASES} {_LAWS}",
        ),
        (
            "overage does not park",
            "a price above the card's goes on buying",
            "    if attempt.settled > attempt.hold:\n",
            "    if attempt.settled > 2**62:\n",
            f"{_CASES} {_LAWS}",
        ),
        (
            "settled by links alone",
            "the gateway's own count is not looked at",
            "    billed = max(reply.billed_images, len(reply.links))\n",
            "    billed = len(reply.links)\n",
            f"{_CASES} {_LAWS}",
        ),
    ),
    *_of(
        "pipeline/engine/outcome.py",
        (
            "resubmit without quiet period",
            "a doubt is bought again before the old POST can have arrived",
            "until=now + state.lane_of(attempt).terms.quiet_s if waits else None)",
            "until=now if waits else None)",
            f"{_CASES}",
        ),
    ),
    *_of(
        "pipeline/engine/hear.py",
        (
            "quiet period not begun anew",
            "after a restart a doubt is bought again at once",
            "            live.due = now + lane.terms.quiet_s\n",
            "            live.due = now\n",
            f"{_CASES}",
        ),
    ),
    *_of(
        "pipeline/engine/ledger.py",
        (
            "settle twice",
            "a settlement is spent twice",
            "held=-_amount(amount), spent=amount + _amount(overage), overage=overage)",
            "held=-_amount(amount), spent=2 * amount + _amount(overage), overage=overage)",
            f"{_CASES} {_LAWS}",
        ),
        (
            "write-off frees the money",
            "written off, and not spent",
            "    return _account(account, doubt=-_amount(amount), spent=amount)",
            "    return _account(account, doubt=-_amount(amount))",
            f"{_CASES} {_LAWS}",
        ),
    ),
    *_of(
        "pipeline/engine/answers.py",
        (
            "poll 404 means failed",
            "the first 404 of a poll ends an operation",
            "            if attempt.gone < GONE_ANSWERS_MIN or _since(attempt.gone_since, now) < GONE_GRACE_S:\n",
            "            if not attempt.gone:\n",
            f"{_CASES} {_LAWS}",
        ),
        (
            "429 counts as an attempt",
            "a 429 uses up one of retry.attempts",
            "            counts = AFTER[fault.kind] in {After.AGAIN, After.GIVE_UP}\n",
            "            counts = True\n",
            f"{_CASES}",
        ),
        (
            "429 without cooling",
            "a 429 is sent again at once",
            "            if AFTER[fault.kind] is After.COOL:\n",
            "            if AFTER[fault.kind] is After.PARK:\n",
            f"{_CASES}",
        ),
        (
            "operation id reused",
            "an id that another attempt has is believed",
            "            if (live.task.gateway, operation) in state.operations:\n                twice",
            "            if not operation:\n                twice",
            f"{_CASES}",
        ),
    ),
    *_of(
        "pipeline/engine/retry.py",
        (
            "Retry-After ignored",
            "our own backoff instead of the gateway's word",
            "    return backoff_s(seed, key, tries) if asked is None else asked",
            "    return backoff_s(seed, key, tries)",
            f"{_CASES}",
        ),
    ),
    *_of(
        "pipeline/engine/lanes.py",
        (
            "unanswered off by one",
            "one more POST is out than the worst case says",
            "            and len(self.unanswered) < (1 if self.careful else self.terms.unanswered_max)\n",
            "            and len(self.unanswered) <= (1 if self.careful else self.terms.unanswered_max)\n",
            "tests/engine/test_lanes.py",
        ),
        (
            "breaker never probes singly",
            "an open breaker lets as many POSTs out as ever",
            "        return self.breaker > 0 or not (self.fresh or self.pace.may_retry)\n",
            "        return not (self.fresh or self.pace.may_retry)\n",
            _PACE,
        ),
        (
            "storm without a breaker",
            "refusals in a row never open the breaker",
            "        return self.breaker == 0 and self.pace.storms\n",
            "        return False\n",
            _PACE,
        ),
        (
            "retries before fresh tasks",
            "retries that fail again and again keep everything else waiting",
            "        return self.again[0] if self.again and (self.pace.may_retry or not self.fresh) else self.fresh[0]\n",
            "        return self.again[0] if self.again else self.fresh[0]\n",
            _PACE,
        ),
    ),
    *_of(
        "pipeline/engine/pace.py",
        (
            "share above what is declared",
            "good answers raise the rate beyond the declared one",
            "            self.share = min(1.0, self.share + SHARE_BACK * max(0.0, periods))\n",
            "            self.share = self.share + 10 * SHARE_BACK * max(0.0, periods)\n",
            _PACE,
        ),
        (
            "share halved for each 429",
            "429s to POSTs that were out together count one by one",
            "        if (now if sent is None else sent) > self.cut_at:\n",
            "        if True:\n",
            _PACE,
        ),
        (
            "share without a floor",
            "a long storm leaves a lane at a standstill",
            "            self.share = max(SHARE_MIN, self.share / 2)\n",
            "            self.share = self.share / 2\n",
            _PACE,
        ),
        (
            "share comes back at once",
            "one good answer after an idle hour gives back the whole rate",
            "            periods = min(1.0, (now - self.raised_at) / period_s)\n",
            "            periods = (now - self.raised_at) / period_s\n",
            _PACE,
        ),
        (
            "polls before the card's first",
            "a quick model is polled before the card allows it",
            "        return max(least_s, min(early, patience_s))\n",
            "        return min(early, patience_s)\n",
            _PACE,
        ),
    ),
    # --- the store ------------------------------------------------------------------------------------------------
    *_of(
        "pipeline/store/schema.py",
        (
            "ledger entry updatable",
            "entries may be changed",
            "CREATE TRIGGER entry_unchanged BEFORE UPDATE ON entry BEGIN "
            "SELECT RAISE(ABORT, 'entries are never changed'); END;",
            "",
            _JOURNAL,
        ),
        (
            "CHECK dropped",
            "the tables take more than the cap",
            "  CHECK(spent + held + doubt <= high_cap + overage)) STRICT;",
            "  CHECK(spent >= 0)) STRICT;",
            _JOURNAL,
        ),
        (
            "one live attempt a task",
            "the tables take a second live attempt",
            "  live_slot INTEGER UNIQUE REFERENCES task(key),",
            "  live_slot INTEGER REFERENCES task(key),",
            _JOURNAL,
        ),
    ),
    *_of(
        "pipeline/store/booking.py",
        (
            "doubt lost in the store",
            "a doubt is booked and its attempt stays SUBMITTING",
            "                state = _S.VANISHED if vanished else _S.DOUBT\n",
            "                state = _S.VANISHED if vanished else _S.SUBMITTING\n",
            f"{_JOURNAL} {_LOST}",
        ),
    ),
    *_of(
        "pipeline/store/gathered.py",
        (
            "link kept after its picture",
            "a presigned link stays in the store",
            "        \"UPDATE picture SET state='STORED', link=NULL, sha256=?,",
            "        \"UPDATE picture SET state='STORED', link=link, sha256=?,",
            _JOURNAL,
        ),
        (
            "a life written out of order",
            "a step back in an attempt's life is written before what was said earlier",
            "        if self._far.get(attempt, step) > step:\n",
            "        if self._far.get(attempt, step) > Step.MOVE:\n",
            "tests/store/test_gathered_laws.py",
        ),
    ),
    *_of(
        "pipeline/store/reading.py",
        (
            "doubt does not survive a restart",
            "an unfinished task in doubt is not loaded",
            "'fetching', 'in_doubt')\n  UNION SELECT task FROM attempt\n    WHERE open > 0 OR state IN "
            "('RESERVED', 'SUBMITTING', 'ACCEPTED', 'DOUBT', 'VANISHED')\n",
            "'fetching')\n  UNION SELECT task FROM attempt\n    WHERE state IN ('RESERVED', 'SUBMITTING', 'ACCEPTED')\n",
            _DRIVER,
        ),
    ),
    *_of(
        "pipeline/store/file.py",
        (
            "synchronous NORMAL",
            "acknowledged commits are lost when the power goes",
            '        db.execute("PRAGMA synchronous=FULL")',
            '        db.execute("PRAGMA synchronous=NORMAL")',
            _ORDER,
        ),
        (
            "sums not checked at open",
            "accounts that differ from their entries are believed",
            "        faults += self._sums_off()\n        if not vouched or in_log",
            "        if not vouched or in_log",
            _JOURNAL,
        ),
        (
            "carry on after a failed commit",
            "a commit that failed does not end the journal",
            "            self._poison = str(exc) or type(exc).__name__\n",
            "",
            _JOURNAL,
        ),
    ),
    *_of(
        "pipeline/store/blobs.py",
        (
            "no fsync of a picture",
            "a name before its bytes are durable",
            "        errors = [None] * len(handles) if whole else self._syncing.each(list(handles.values()))\n",
            "        errors = [None] * len(handles)\n",
            _ORDER,
        ),
        (
            "one sync vouches for what was written before its file was opened",
            "an error of a large picture's bytes is lost with the handle that saw it",
            "        whole = nameless and self._syncing.whole(first, len(handles))\n",
            "        whole = self._syncing.whole(first, len(handles))\n",
            _ORDER,
        ),
        (
            "no fsync of a folder",
            "a picture's name is not durable when its row is",
            "            errors = shelves.sync({place_of(each.task)[0] for each in named}, self._syncing)\n",
            "            errors = {}\n",
            _ORDER,
        ),
        (
            "strangers deleted",
            "adoption does not compare the hash",
            " and path.is_file() and _sha256(path) == note.sha256\n",
            " and path.is_file()\n",
            "tests/store/test_blobs.py",
        ),
    ),
    *_of(
        "pipeline/store/shelves.py",
        (
            "no fsync above a new folder",
            "a picture is durable in a folder that is not",
            "        handles |= self._opened([names[:-1] for names in self._fresh], told)\n",
            "        told |= {names[:-1]: None for names in self._fresh}\n",
            _ORDER,
        ),
    ),
    *_of(
        "pipeline/store/part.py",
        (
            "write under the final name",
            "a taken name is written over",
            "        os.link(part, name, dst_dir_fd=folder, follow_symlinks=False)\n",
            "        os.rename(part, name, dst_dir_fd=folder)\n        return True\n",
            "tests/store/test_blobs.py",
        ),
    ),
    *_of(
        "pipeline/store/durable.py",
        (
            "rename before fsync",
            "a small file gets its name before its bytes are durable",
            "        write_all(handle, data)\n        os.fsync(handle)\n    finally:\n        os.close(handle)\n"
            "    fresh.replace(path)\n",
            "        write_all(handle, data)\n        fresh.replace(path)\n        os.fsync(handle)\n    finally:\n"
            "        os.close(handle)\n",
            _ORDER,
        ),
    ),
    *_of(
        "pipeline/store/blackbox.py",
        (
            "torn answer believed",
            "a damaged line of the black box is evidence",
            '    return text if crc == b"%08x" % zlib.crc32(text) else None',
            "    return text if crc else None",
            _BESIDE,
        ),
        (
            "black box cleared too early",
            "one committed answer empties the whole box",
            "        self._waiting.discard(attempt)\n        if not self._waiting and self._size:",
            "        self._waiting.clear()\n        if not self._waiting and self._size:",
            _BESIDE,
        ),
    ),
    *_of(
        "pipeline/store/lock.py",
        (
            "second runner allowed",
            "two processes at work in one folder",
            "            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)\n        except",
            "            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)\n        except",
            _BESIDE,
        ),
    ),
    *_of(
        "pipeline/runtime/session.py",
        (
            "lock released early",
            "the lock is let go once the folder is open",
            "        self.stack.callback(RunLock.take(folder.lock).release)\n",
            "        RunLock.take(folder.lock).release()\n",
            _DRIVER,
        ),
        (
            "black box not read",
            "answers that were written down before a kill are not believed",
            "            if task is not None and wiring.awaits_answer(snapshot, attempt):\n",
            "            if task is None and wiring.awaits_answer(snapshot, attempt):\n",
            _DRIVER,
        ),
    ),
    *_of(
        "pipeline/plan/part.py",
        (
            "limit counted in pictures",
            "--limit counts pictures, not tasks",
            "len(plan) if self.limit is None else min(self.limit, len(plan))",
            "len(plan) if self.limit is None else min(self.limit // plan.task(0).n, len(plan))",
            f"{_DRIVER} tests/plan/test_part.py",
        ),
    ),
    *_of(
        "pipeline/runtime/owned.py",
        (
            "run buys what it owns",
            "tasks that the store has are offered again",
            "            done[first] = 1\n",
            "            done[first] = 0\n",
            _RAISED,
        ),
    ),
    *_of(
        "pipeline/runtime/perform.py",
        (
            "black box after parsing",
            "an answer is understood before it is written down",
            "        if isinstance(outcome, Answered):\n            self._blackbox.append(command.attempt, outcome.response)\n"
            '            reach("submit.kept")\n'
            "        reply = provider.submitted(task, outcome, self._cards[task.gateway].not_billed)\n",
            "        reply = provider.submitted(task, outcome, self._cards[task.gateway].not_billed)\n"
            "        if isinstance(outcome, Answered):\n            self._blackbox.append(command.attempt, outcome.response)\n"
            '            reach("submit.kept")\n',
            _DRIVER,
        ),
        (
            "transport retry of the POST",
            "a POST that broke is sent once more",
            "            outcome = await self._door.exchange(request, timeout_s=self._model(task).submit_timeout_s)\n",
            "            outcome = await self._door.exchange(request, timeout_s=self._model(task).submit_timeout_s)\n"
            "            if isinstance(outcome, Broken):\n"
            "                outcome = await self._door.exchange(request, timeout_s=self._model(task).submit_timeout_s)\n",
            _LOST,
        ),
        (
            "called off means not sent",
            "a POST that was called off while it was out is taken for not sent",
            '            outcome = Broken("called off before it was answered")\n',
            '            outcome = NotSent("called off before it was answered")\n',
            f"{_DRIVER}",
        ),
    ),
    *_of(
        "pipeline/runtime/shelf.py",
        (
            "pictures not examined",
            "what came is stored without a look at it",
            "        waiting.seen = seen = examine(incoming.part.path if data is None else data)\n",
            '        waiting.seen = seen = Examined("image/png", 1, 1)\n',
            _DRIVER,
        ),
        (
            "pictures wait for a turn that never comes",
            "what came while two groups were at work is not begun when one ends",
            "                _tell(each, failed)\n        self._begin()\n",
            "                _tell(each, failed)\n",
            "tests/runtime/test_shelf.py",
        ),
    ),
    *_of(
        "pipeline/runtime/pacer.py",
        (
            "pacer burst after resume",
            "a resume begins with an empty window",
            "        self._full = True",
            "        self._full = False",
            _PACER,
        ),
        (
            "pacer off by one",
            "one request too many in a window",
            "        if len(self._slots) == self.count:\n            # Whatever",
            "        if len(self._slots) > self.count:\n            # Whatever",
            f"{_PACER} tests/runtime/test_pacer_laws.py",
        ),
        (
            "a request counts from its slot",
            "a connection that took its time is forgotten: two windows' requests arrive in one",
            "        self.at = max(self.at, asyncio.get_running_loop().time())\n",
            "        return\n",
            _PACER,
        ),
        (
            "late wake-ups lost",
            "what was overslept is never caught up",
            "        self._planned = now - caught_up\n",
            "        self._planned = now\n",
            _PACER,
        ),
        (
            "idleness saved up",
            "a lane that wanted nothing sends in one burst what it might have sent",
            "        overslept = now - max(self._next(), wanted)\n",
            "        overslept = now - self._next()\n",
            _PACER,
        ),
        (
            "share of the pace ignored",
            "a lane that was told to slow down goes on at its declared rate",
            "            self.spacing_s = self._even_s * (_TIGHTER if share == 1.0 else 1.0 / share)\n",
            "            self.spacing_s = self._even_s * _TIGHTER\n",
            _PACER,
        ),
    ),
    *_of(
        "pipeline/runtime/commits.py",
        (
            "write after a failed commit",
            "the writer tries again after a failure",
            "    if doom.came:\n        return\n    facts =",
            "    facts =",
            "tests/runtime/test_commits.py",
        ),
    ),
    *_of(
        "pipeline/runtime/pictures.py",
        (
            "truncated picture accepted",
            "only the head of a picture is decoded",
            "        for start, ends in _ENDS.items():\n            if data.startswith(start):\n                ends(data)\n"
            "        if data.startswith(_PNG) and (plain := plain_size(data)) is not None:\n"
            "            _check_pixels(*plain, 1, pixels_max)\n"
            '            return Examined("image/png", *plain)\n'
            "        with _opened(data, _OUTPUTS) as image:\n"
            '            kind = image.format or ""\n            width, height = image.size\n'
            "            _check_pixels(width, height, 1, pixels_max)\n"
            '            frames = 1 if kind == "MPO" else _frames(image)\n'
            "            _check_pixels(width, height, frames, pixels_max)\n"
            "            for number in range(frames):\n                _decode(image, number, pixels_max // frames)\n",
            "        with _opened(data, _OUTPUTS) as image:\n"
            '            kind = image.format or ""\n            width, height = image.size\n',
            "tests/runtime/test_pictures.py",
        ),
    ),
    # --- the report and the review --------------------------------------------------------------------------------
    *_of(
        "pipeline/report/data.py",
        (
            "a script may end in the data",
            "what ends a script element is written as it is",
            'ord("<"): "\\\\u003c", ',
            "",
            "tests/security/test_report_payloads.py",
        ),
    ),
    *_of(
        "pipeline/values/sheet.py",
        (
            "a formula in the review",
            "a note that begins like a formula is one",
            """return f"'{cell}" if _FORMULA.match(cell) else cell""",
            "return cell",
            "tests/security/test_report_payloads.py",
        ),
    ),
    *_of(
        "pipeline/runtime/rejections.py",
        (
            "rejected twice, bought twice",
            "a picture that is superseded is rejected once more",
            "(again.add(image.task.id) if image.superseded else standing.setdefault(image.task.id, []).append(image))",
            "standing.setdefault(image.task.id, []).append(image)",
            "tests/stories/test_rejected.py",
        ),
        (
            "rejected in doubt, bought a third time",
            "a task goes again although a call of it may still be billed",
            "            elif any(attempt.open_micros for attempt in stored.attempts):",
            "            elif not stored.attempts:",
            "tests/stories/test_rejected.py",
        ),
    ),
    # --- the manifest ---------------------------------------------------------------------------------------------
    *_of(
        "pipeline/manifest/table.py",
        (
            "manifest appended",
            "a manifest that is there is kept, whatever the store says",
            "            if _digest(folder / name) == written.sha256s[name]:\n",
            "            if (folder / name).exists():\n",
            _DRIVER,
        ),
        (
            "manifest not synced",
            "the manifest's bytes are not durable before its name",
            "            os.fsync(file.fileno())\n            digests",
            "            digests",
            _ORDER,
        ),
    ),
    *_of(
        "pipeline/manifest/verify.py",
        (
            "verify skips hashes",
            "only sizes are compared",
            "    if _digest(file) != sha256:\n",
            "    if not _digest(file):\n",
            "tests/manifest/test_manifest.py",
        ),
        (
            "verify skips money",
            "sums of the manifest are not compared with the entries",
            '            if has != should:\n                yield f"money: tasks',
            '            if has is None:\n                yield f"money: tasks',
            "tests/manifest/test_manifest.py",
        ),
    ),
    *_of(
        "pipeline/store/columns.py",
        (
            "manifest row for a lost picture",
            "a picture that was lost gets a row",
            '        if picture[0] != "STORED":\n            continue\n',
            '        if picture[0] == "PENDING":\n            continue\n',
            "tests/manifest/test_manifest.py",
        ),
    ),
    # --- the wire -------------------------------------------------------------------------------------------------
    *_of(
        "pipeline/transport/http.py",
        (
            "redirect followed",
            "a paid POST goes wherever the gateway points, with the key",
            "            allow_redirects=False,\n        )\n        try:\n            if paid",
            "            allow_redirects=True,\n        )\n        try:\n            if paid",
            _EXCHANGE,
        ),
        (
            "broken means not sent",
            "what broke after the connection is taken for never sent",
            "            return Broken(why) if mark.connected else NotSent(why)",
            "            return NotSent(why)",
            _EXCHANGE,
        ),
        (
            "key in an error text",
            "the text of an exception goes further",
            "            why = breaks.at(breaks.named(error), host or request.gateway)\n",
            '            why = f"{breaks.at(breaks.named(error), host or request.gateway)}: {gateway.headers(request.headers, keyed=True)}"\n',
            f"{_EXCHANGE}",
        ),
        (
            "key sent along with a download",
            "a result link gets the gateway's key",
            '        headers = {"User-Agent": known.user_agent, "Accept"',
            '        headers = {**dict(known.own[-1:]), "User-Agent": known.user_agent, "Accept"',
            _DOWNLOAD,
        ),
    ),
    *_of(
        "pipeline/transport/receiving.py",
        (
            "echoed key kept",
            "a key that a gateway echoes goes into the black box",
            "        return Answered(Response(response.status, hider.hide(body), _plain(",
            "        return Answered(Response(response.status, body, _plain(",
            f"{_EXCHANGE} tests/security/test_canaries.py",
        ),
        (
            "size cap dropped",
            "a download may fill the disk",
            "        if self.size_bytes > self.size_max:\n",
            "        if self.size_bytes < 0:\n",
            _DOWNLOAD,
        ),
    ),
    *_of(
        "pipeline/transport/sessions.py",
        (
            "no guard on the socket",
            "a name may lead to a private address",
            "                resolver=GuardedResolver(aiohttp.ThreadedResolver(), guard),\n                socket_factory=guard.socket,\n",
            "",
            _DOWNLOAD,
        ),
    ),
    *_of(
        "pipeline/values/addresses.py",
        (
            "private address allowed",
            "result links may lead into the local network",
            '            "192.168.0.0/16",\n',
            "",
            "tests/transport/test_addresses.py",
        ),
    ),
    *_of(
        "pipeline/transport/addresses.py",
        (
            "redirected download unchecked",
            "loopback is allowed to every link",
            "        return is_public(address) or (self._loopback and is_loopback(address))",
            "        return is_public(address) or is_loopback(address)",
            _DOWNLOAD,
        ),
    ),
    *_of(
        "pipeline/transport/secrets.py",
        (
            "secret shown",
            "repr of a key shows it",
            '        return "Secret([hidden])"',
            "        return self.__value",
            "tests/transport/test_secrets.py",
        ),
    ),
    *_of(
        "pipeline/providers/mulerouter.py",
        (
            "silence means refused",
            "a POST without an answer is taken for a refusal",
            "            return Unknown(broken(outcome))",
            "            return Refused(broken(outcome))",
            "tests/providers/test_mulerouter.py",
        ),
    ),
    *_of(
        "pipeline/providers/answers.py",
        (
            "not-billed table too wide",
            "any error body of a known status releases money",
            "(row.status, row.body) == (status, body) and row.code in {None, code})",
            "row.status == status)",
            "tests/providers/test_mulerouter.py",
        ),
    ),
    # --- the plan and the words ------------------------------------------------------------------------------------
    *_of(
        "pipeline/plan/identity.py",
        (
            "identity ignores a parameter",
            "tasks that differ in a parameter have one id",
            '        f\'{{"gateway":{gateway},"inputs":{inputs},"model":{model},"n":{n},"negative_prompt":{negative_prompt},\'\n'
            '        f\'"operation":{operation},"params":{params},',
            '        f\'{{"gateway":{gateway},"inputs":{inputs},"model":{model},"n":{n},"negative_prompt":{negative_prompt},\'\n'
            '        f\'"operation":{operation},"params":{{}},',
            "tests/plan/test_identity.py",
        ),
    ),
    *_of(
        "pipeline/plan/price.py",
        (
            "price unknown = 0",
            "a model without a price costs nothing",
            '        raise Flawed(Flaw("model", f"the price of {lane} is unknown{site}", remedy))',
            '        native, per_image, beside, source = model.price_unit, 0, ("0", "0"), f"unknown{site}{remedy}"',
            "tests/plan/test_price.py",
        ),
    ),
    *_of(
        "pipeline/engine/meter.py",
        (
            "meter of a shared key",
            "a meter is believed although nobody said that the key is ours alone",
            "    if not pool or not told.dedicated or not told.quiescent or",
            "    if not pool or not told.quiescent or",
            "tests/engine/test_meter.py",
        ),
        (
            "meter read too early",
            "a meter that shows nothing yet frees what is still being made",
            "    if late and abs(rest) <= told.grain:\n",
            "    if abs(rest) <= told.grain:\n",
            "tests/engine/test_meter.py",
        ),
        (
            "meter with two explanations",
            "of several explanations of a sum the first is taken",
            "if len(ways) == 1 else None",
            "if ways else None",
            "tests/engine/test_meter.py",
        ),
        (
            "meter beside guesses",
            "what was booked by guess is taken for a doubt's bill",
            "    if state.guessed[told.gateway]:\n",
            "    if state.guessed[told.gateway] > 99:\n",
            "tests/engine/test_meter.py",
        ),
        (
            "meter in the cap's unit",
            "holds are compared with the meter in dollars",
            "    return task.price.native_cost(task.n)\n",
            "    return task.price.cost(task.n)\n",
            "tests/engine/test_meter.py",
        ),
    ),
    *_of(
        "pipeline/engine/evidence.py",
        (
            "settled and not on the meter yet",
            "a meter is believed before it shows what is settled",
            " or at < lane.billed_at + SETTLED_LAG_S:\n",
            ":\n",
            "tests/engine/test_meter.py",
        ),
        (
            "absence with something unexplained",
            "a listing with an unknown operation proves absence",
            "    if all(each.unbilled for each in unknown.values()) and _shows_all(",
            "    if _shows_all(",
            "tests/engine/test_evidence.py",
        ),
        (
            "one doubt lifted, both forgotten",
            "a task with a second doubt is bought again when the first is disproved",
            "    if live.phase is Phase.IN_DOUBT and not live.doubts:",
            "    if live.phase is Phase.IN_DOUBT:",
            "tests/engine/test_evidence.py",
        ),
    ),
    *_of(
        "pipeline/engine/late.py",
        (
            "a late bill parks nothing",
            "what told us that a call was free goes on being believed",
            "        yield from _alarm(state, live, attempt)\n    yield from close(",
            "        yield from ()\n    yield from close(",
            "tests/engine/test_late_bills.py",
        ),
    ),
    *_of(
        "pipeline/runtime/history.py",
        (
            "doubts beside pictures",
            "a doubt whose task has ended does not show in the exit code",
            "    if doubts:\n",
            "    if counts.get(Phase.IN_DOUBT, 0):\n",
            "tests/stories/test_waiting.py",
        ),
    ),
    *_of(
        "pipeline/values/money.py",
        (
            "converted price rounded down",
            "a price in another unit may be a millionth too low",
            "    return -(-product.numerator // product.denominator)",
            "    return product.numerator // product.denominator",
            "tests/plan/test_price.py",
        ),
    ),
    *_of(
        "pipeline/cli/exits.py",
        (
            "exit code precedence",
            "a run with doubts and failures says failed",
            "    Exit.IN_DOUBT,\n    Exit.BUDGET_REACHED,\n    Exit.FAILED_TASKS,\n)",
            "    Exit.FAILED_TASKS,\n    Exit.BUDGET_REACHED,\n    Exit.IN_DOUBT,\n)",
            "tests/cli/test_exits_and_failures.py",
        ),
    ),
    # --- what the campaigns must see, and what their own judge must not forget --------------------------------------
    *_of(
        "pipeline/store/blobs.py",
        (
            "no fsync of a folder, and the power goes",
            "a picture's name is not durable when its row is",
            "            errors = shelves.sync({place_of(each.task)[0] for each in named}, self._syncing)\n",
            "            errors = {}\n",
            _POWER,
        ),
    ),
    # --- people: what they tell a living run, and who may look at it ---------------------------------------------------
    *_of(
        "pipeline/engine/decide.py",
        (
            "a pause keeps what is held",
            "money stays aside for calls that nobody may send",
            '            yield from release_held(state, lane, f"paused: {why}")',
            "            yield from ()",
            _PAUSES,
        ),
        (
            "held again while paused",
            "what a pause freed is held anew at once",
            "            if state.pauses(live.task.lane):\n                continue\n",
            "",
            _PAUSES,
        ),
        (
            "offered while paused",
            "a task of a paused lane is admitted and held",
            "    elif state.disk is None and not state.pauses(task.lane):",
            "    elif state.disk is None:",
            _PAUSES,
        ),
        (
            "a drain without a name",
            "who asked a run to drain is not written down",
            "            yield DrainNoted(why)",
            "            yield from ()",
            _PAUSES,
        ),
    ),
    *_of(
        "pipeline/engine/machine.py",
        (
            "a paused run ends",
            "a run that waits to be continued says that nothing is left",
            "or state.rests or self._paused_work():",
            "or state.rests:",
            _PAUSES,
        ),
    ),
    *_of(
        "pipeline/engine/evolve.py",
        (
            "one pause too many is lifted",
            "continuing one lane lifts every pause",
            "            del state.paused[name]",
            "            state.paused.clear()",
            _PAUSES,
        ),
    ),
    *_of(
        "pipeline/store/booking.py",
        (
            "what people said is not kept",
            "a pause leaves no trace in the store",
            '        self._db.execute(sql, (json.dumps(said, ensure_ascii=False, separators=(",", ":")),))',
            "        _ = sql, said",
            "tests/store/test_journal_laws.py::test_loading_the_tables_equals_folding_the_facts_laws",
        ),
    ),
    *_of(
        "pipeline/runtime/offers.py",
        (
            "a paused lane's tasks are lost",
            "what was put aside never comes again",
            "        numbers.append(task.number)\n",
            "",
            "tests/runtime/test_offers.py",
        ),
    ),
    *_of(
        "pipeline/runtime/changes.py",
        (
            "a watcher too far behind hears nothing of it",
            "changes that were forgotten are passed over in silence",
            "not self._floor <= int(text) <= self._count",
            "not int(text) <= self._count",
            "tests/runtime/test_changes.py",
        ),
    ),
    *_of(
        "pipeline/runtime/guard.py",
        (
            "any host",
            "a name that was made to lead to this machine is answered",
            '        if headers.get("Host") not in self._hosts:',
            '        if not headers.get("Host"):',
            _VIEW,
        ),
        (
            "no token",
            "whoever is on this machine sees the run",
            "        if not self.is_token(cookies.get(self.cookie)):",
            "        if self.cookie in cookies and not cookies[self.cookie]:",
            _VIEW,
        ),
        (
            "any page may change things",
            "another page's POST with our cookie is done",
            '        if headers.get("Origin") not in self._origins:',
            "        if not headers:",
            _VIEW,
        ),
        (
            "no mark",
            "a form of another page could do it",
            '        if headers.get(MARK) != "1" or',
            "        if",
            _VIEW,
        ),
    ),
    *_of(
        "pipeline/store/inside.py",
        (
            "links are followed",
            "a link in the place of a picture leads out of the folder",
            "_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW",
            "_FILE: Final = os.O_RDONLY",
            _VIEW,
        ),
        (
            "any name is a picture's",
            "the store of a folder that came from a stranger names files of whoever looks at it",
            "    return first == IMAGES and bool(rest) and",
            "    return bool(rest or first) or",
            "tests/security/test_strange_folders.py",
        ),
    ),
    *_of(
        "pipeline/runtime/door.py",
        (
            "a silent connection stays",
            "whoever is on this machine uses up the page's descriptors without a token",
            "        self._deadline = self._loop.call_later(self._head_s, self.give_up)",
            "        self._deadline = None",
            _VIEW,
        ),
    ),
    *_of(
        "pipeline/runtime/view.py",
        (
            "any file of the folder",
            "what the store does not name is served as well",
            "        if name not in known:\n            return nothing()\n        return await send(request, partial(open_picture, self._folder, name), known[name], _KEPT)",
            '        return await send(request, plain(self._folder / name), known.get(name, "image/png"), _KEPT)',
            _VIEW,
        ),
    ),
    *_of(
        "pipeline/runtime/answering.py",
        (
            "a body of any size",
            "a request may fill the memory",
            "        raise web.HTTPRequestEntityTooLarge(most, request.content_length or 0)",
            "        most = request.content_length or 0",
            _VIEW,
        ),
    ),
    *_of(
        "tests/chaos/judge.py",
        (
            "the judge compares sums alone",
            "one attempt booked above its operation hides behind another",
            "        found += _settled(books, tables.attempts)\n",
            "",
            _JUDGE,
        ),
        (
            "the judge lets operations be unknown",
            "an accepted operation that no attempt covers",
            "        found += _coverage(books, tables.attempts, tables.prompts)\n",
            "",
            _JUDGE,
        ),
        (
            "the judge believes a parked run",
            "a run that has nothing left may say that it was parked",
            "        if code == 6 and wanted in (0, 4):",
            "        if code == 6 and wanted in (99,):",
            _JUDGE,
        ),
    ),
    *_of(
        "pipeline/export/pictures.py",
        (
            "an export believes its rows",
            "a damaged picture is handed on as if it were the one that was bought",
            '    if len(data) != size or hashlib.sha256(data).hexdigest() != row["sha256"]:',
            "    if len(data) != size:",
            _EXPORT,
        ),
        (
            "an export takes any id",
            "a member of an archive gets a name that leads out of the folder it is unpacked in",
            "    if not (isinstance(task_id, str) and is_digest(task_id) and isinstance(index, int) and 0 <= index < 1_000_000):",
            "    if not isinstance(index, int):",
            _EXPORT,
        ),
    ),
    *_of(
        "pipeline/export/write.py",
        (
            "an export is named at once",
            "a killed export looks like a whole one",
            '        part = place.with_name(f"{place.name}.part")',
            "        part = place",
            _EXPORT,
        ),
        (
            "an export that lacks pictures is whole",
            "the same command says that there is nothing to do, with pictures missing",
            "identity.mark(whole=not made.spoilt, pictures=made.pictures)",
            "identity.mark(whole=True, pictures=made.pictures)",
            _EXPORT,
        ),
        (
            "an export counts shards with pictures left out",
            "after a kill pictures come twice, or never",
            "            shards.stop()\n",
            "",
            _EXPORT,
        ),
    ),
    *_of(
        "pipeline/export/shards.py",
        (
            "an export believes its notes",
            "a shard that a power cut shortened is kept",
            '            if _length(self._path.parent, name) != note.get("length"):',
            "            if not name:",
            _EXPORT,
        ),
    ),
    *_of(
        "pipeline/values/rows.py",
        (
            "a statement forgets write-offs",
            "its column of what was spent is below the account",
            '    "write_off": (1, 0, -1),',
            '    "write_off": (0, 0, -1),',
            "tests/cli/test_ledger.py",
        ),
    ),
    *_of(
        "pipeline/plan/part.py",
        (
            "a larger sample is another one",
            "what a smaller sample bought is no part of it",
            "        moved[other] = moved.get(place, place)",
            "        moved[other] = place",
            "tests/plan/test_part.py",
        ),
    ),
)
