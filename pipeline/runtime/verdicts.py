"""A person's word about an attempt: whether an operation's id can be one, before it is booked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pipeline.errors import RunError
from pipeline.runtime import prepare

if TYPE_CHECKING:
    from pipeline.values.task import Task

#: Longer than any id of a gateway (characters).
_ID_MAX: Final = 256


def operation_id(text: str, task: Task | None) -> str:
    """The id as a gateway would write it, without what a copy brought along. *Raises* RunError.

    A task of None is not known. Where the answer to the call holds the pictures there is nothing to ask for later: an
    id that was booked there could never be followed.
    """
    operation = text.strip()
    if not operation or len(operation) > _ID_MAX or not operation.isprintable() or " " in operation:
        raise RunError(f"that is no id of an operation ({len(text):,} characters); copy it from the vendor's records")
    card = None if task is None else prepare.cards().get(task.gateway)
    model = None if card is None or task is None else card.models.get(task.model)
    if task is not None and model is not None and model.synchronous:
        raise RunError(
            f"{task.gateway}/{task.model} answers a call with its pictures, so there is no operation to ask for: say "
            "--billed or --not-billed"
        )
    return operation
