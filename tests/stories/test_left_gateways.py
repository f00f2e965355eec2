"""Stories of a gateway that left the spec while it still had work of ours: what is paid there is collected."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import pipeline
from pipeline.engine.phases import AttemptState
from pipeline.runtime import inspect, serve
from pipeline.runtime.history import Result
from pipeline.runtime.prepare import Options
from pipeline.store.journal import Journal
from tests.stories.jobs import bill, failing, gateway

SPEC = """\
version: 1
name: story
matrix: {scene: [desk, sink]}
prompt: "A mug on a {{ scene }}"
"""
LEFT = "model: evolink/qwen-image-3.0\nbudget: 100 evolink-credit\n"
NEW = "model: mulerouter/qwen-image-max\nsize: 1328x1328\nbudget: 2.00 USD\n"


def left(folder: Path) -> str:
    """How the attempt at the gateway that left stands."""
    journal = Journal.open_read_only(folder / "run" / "state.db")
    try:
        (row,) = [row for row in journal.attempt_rows() if row.gateway == "evolink"]
        return row.state
    finally:
        journal.close(clean=False)


async def go(path: Path) -> Result:
    """The same command."""
    return await pipeline.run(pipeline.plan(pipeline.load(path)), Options(run_dir=path.parent / "run", yes=True))


@pytest.fixture
async def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A spec that has just moved to another gateway, with one operation accepted at the old one."""
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC.replace("desk, sink", "desk") + LEFT)
    async with gateway(tmp_path, monkeypatch) as server:
        for name, value in serve.environment(server.port).items():
            monkeypatch.setenv(name, value)
        with failing("told.begun", RuntimeError("as a kill would"), after=2), pytest.raises(RuntimeError):
            await go(path)
        assert left(tmp_path) == AttemptState.ACCEPTED
        path.write_text(SPEC + NEW)
        yield path


@pytest.mark.slow
async def test_a_gateway_that_left_the_spec_is_collected_from(story: Path) -> None:
    """Its operation is followed to the end and its picture fetched, beside the new gateway's work."""
    result = await go(story)
    assert (result.exit_code, result.status["images"]) == (0, 3)
    assert left(story.parent) == AttemptState.SETTLED
    assert bill(story.parent, "world.jsonl")[0] == 2
    assert inspect.verify(story.parent / "run") == []


@pytest.mark.slow
async def test_a_gateway_that_left_and_whose_key_is_gone_is_parked_and_the_rest_goes_on(
    story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 6 names the variable; the new gateway's work is done; with the key back the same command collects."""
    with monkeypatch.context() as patch:
        patch.delenv("EVOLINK_API_KEY")
        result = await go(story)
    assert (result.state, result.exit_code, result.status["images"]) == ("parked", 6, 2)
    parked = result.status["parked"]
    assert isinstance(parked, list)
    assert [each["lane"] for each in parked] == ["evolink/qwen-image-3.0"]
    assert "EVOLINK_API_KEY is not set" in parked[0]["why"]
    assert "key" in parked[0]["remedy"]
    assert left(story.parent) == AttemptState.ACCEPTED
    final = await go(story)
    assert (final.exit_code, final.status["images"]) == (0, 3)
    assert inspect.verify(story.parent / "run") == []


@pytest.mark.slow
async def test_a_picture_of_a_gateway_whose_key_is_gone_is_fetched_all_the_same(
    story: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A presigned link needs no key; nothing is parked, because nothing is left to ask."""
    with failing("fetch.opened", RuntimeError("as a kill would")), pytest.raises(RuntimeError):
        await go(story)
    monkeypatch.delenv("EVOLINK_API_KEY")
    result = await go(story)
    assert (result.exit_code, result.status["images"]) == (0, 3)
    assert left(story.parent) == AttemptState.SETTLED
