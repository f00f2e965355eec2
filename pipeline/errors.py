"""What people, and we, can do wrong: the exception tree. What the world does wrong is a `Fault` (values.reply).

PipelineError
+-- SpecError          every fault of a spec, each with line, column and remedy
+-- PlanError          the spec is well-formed and means something that cannot be bought
+-- CardError          a gateway card in schemas/gateways is wrong
+-- SecretMissing      a key is needed and is not set
+-- RunError
+-- RunLocked      another process has the run folder
+-- PlanChanged    the spec changed and going on would cost money nobody agreed to
+-- JournalNewer   the store was written by a newer version
+-- RunNotFound    there is no run folder at that path
+-- RunStopped     a signal came before the run was at work, or for the second time
+-- StorageFailed  a commit or a write failed: fail-stop
Bug(AssertionError)    our own mistake, with the story of the task
"""

from __future__ import annotations

from dataclasses import dataclass


class PipelineError(Exception):
    """Something that we or the user did; the message says what, where, and how to mend it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file a person wrote. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    #: The text of that line, without its newline; empty when it is not known.
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One fault of a spec: where, what is wrong at which key, and how to mend it."""

    place: Place
    #: One sentence without a full stop, naming the key or value.
    what: str
    #: One clause that says how to mend it; empty when `what` says it already.
    remedy: str = ""

    def render(self) -> str:
        """`file:line:column: error: what; remedy`, then the line and a caret."""
        head = f"{self.place}: error: {self.what}" + (f"; {self.remedy}" if self.remedy else "")
        if not self.place.text:
            return head
        caret = "".join("\t" if letter == "\t" else " " for letter in self.place.text[: self.place.column - 1]) + "^"
        return f"{head}\n  {self.place.text}\n  {caret}"


class MistakesError(PipelineError):
    """Many faults of one spec, reported at once."""

    def __init__(self, mistakes: tuple[Mistake, ...]) -> None:
        self.mistakes = mistakes
        super().__init__("\n".join(mistake.render() for mistake in mistakes))


class SpecError(MistakesError):
    """The spec is not well-formed."""


class PlanError(MistakesError):
    """The spec is well-formed, but what it asks for cannot be bought."""


class CardError(PipelineError):
    """A gateway card is wrong; the message names the file and the key."""


class SecretMissing(PipelineError):  # noqa: N818 - a word of the house
    """A key is needed and not set; the message names the variable, never a value."""


class RunError(PipelineError):
    """A run folder is not in a state that allows what was asked."""


class RunLocked(RunError):  # noqa: N818
    """Another process has this run folder."""


class PlanChanged(RunError):  # noqa: N818
    """The spec changed since the last run and going on would buy something new."""


class JournalNewer(RunError):  # noqa: N818
    """The store was written by a newer version of pipeline: upgrade to read it."""


class RunNotFound(RunError):  # noqa: N818
    """There is no run folder at that path."""


class RunStopped(RunError):  # noqa: N818
    """A signal came before the run was at work, or for the second time."""


class StorageFailed(RunError):  # noqa: N818
    """A write to the store or to the disk failed; nothing further is sent. Run the same command again."""


class Bug(AssertionError):  # noqa: N818
    """Our own mistake. Resuming is safe; please report the story that comes with it."""
