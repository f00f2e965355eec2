"""Questions buy nothing: they share connections and may be repeated, at every gateway alike."""

from __future__ import annotations

import pytest

from pipeline.errors import Bug
from pipeline.values.wire import Request
from tests.providers.tongues import TONGUES


@pytest.mark.parametrize("gateway", TONGUES)
def test_what_buys_nothing_is_free_and_what_buys_is_not(gateway: str) -> None:
    """Polls, lists and balances on one side; the submit on the other."""
    tongue = TONGUES[gateway]
    module, task = tongue.module, tongue.task
    asked: list[Request | None] = [module.balance(), module.listing(task.model, 0, 1, None)]
    if not tongue.card.models[task.model].synchronous:
        asked.append(module.poll(task, tongue.identity))
    else:
        try:
            asked.append(module.poll(task, tongue.identity))
        except Bug:
            assert gateway == "1min"
    questions = [each for each in asked if each is not None]
    assert questions or gateway == "1min"
    assert all(each.free for each in questions)
    assert not module.submit(task, [], "0f").free
