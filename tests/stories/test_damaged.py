"""Stories of a store that cannot be read any more: the words say so, and starting anew takes two words of consent."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipeline
from pipeline.errors import PlanChanged, RunError, StorageFailed
from pipeline.runtime import inspect
from pipeline.runtime.history import Result
from pipeline.runtime.prepare import Options
from tests.stories.jobs import bill, footprint, gateway, rehearse, spec


def flip(folder: Path, place: int) -> None:
    """Change one bit of the store."""
    path = folder / "state.db"
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("place", [0, 7, 15])
async def test_a_store_without_its_header_is_gone_on_with_only_by_two_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """What was bought cannot be known: a run is refused with the way out, --fresh alone as well, and --yes agrees."""
    path, folder = spec(tmp_path, more="limits: {mulerouter: {rate: 6000/min}}\n"), tmp_path / "run"
    asked: list[str] = []

    def answer(question: str) -> bool:
        asked.append(question)
        return len(asked) > 1

    async with gateway(tmp_path, monkeypatch):

        async def go(*, fresh: bool = False, yes: bool = False) -> Result:
            plan = pipeline.plan(pipeline.load(path))
            return await pipeline.run(plan, Options(run_dir=folder, fresh=fresh, yes=yes))

        assert (await go()).exit_code == 0
        flip(folder, place)
        before = footprint(folder)
        with pytest.raises(StorageFailed, match=r"not a database.*whole copy.*--fresh --yes"):
            await go()
        with pytest.raises(PlanChanged, match=r"nobody knows what.*--yes"):
            await go(fresh=True)
        plan = pipeline.plan(pipeline.load(path))
        with pytest.raises(PlanChanged):
            await pipeline.run(plan, Options(run_dir=folder, fresh=True), confirm=answer)
        assert footprint(folder) == before
        result = await go(fresh=True, yes=True)
    assert result.exit_code == 0
    assert any("nobody knows what" in note for note in result.notes)
    assert "nobody knows what" in asked[0]
    assert footprint(tmp_path / "run.1") == before
    assert bill(tmp_path, "world.jsonl")[0] == 12


async def test_a_real_run_that_lost_its_store_starts_anew_by_two_words_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No store is as unknown as one that cannot be read."""
    path, folder = spec(tmp_path, more="limits: {mulerouter: {rate: 6000/min}}\n"), tmp_path / "run"
    async with gateway(tmp_path, monkeypatch):
        plan = pipeline.plan(pipeline.load(path))
        assert (await pipeline.run(plan, Options(run_dir=folder))).exit_code == 0
        (folder / "state.db").unlink()
        with pytest.raises(RunError, match="--fresh --yes"):
            await pipeline.run(plan, Options(run_dir=folder))
        with pytest.raises(PlanChanged, match="--yes"):
            await pipeline.run(plan, Options(run_dir=folder, fresh=True))
        assert (await pipeline.run(plan, Options(run_dir=folder, fresh=True, yes=True))).exit_code == 0


@pytest.mark.parametrize("place", [0, 15])
def test_a_rehearsal_without_its_header_starts_anew_at_once(tmp_path: Path, place: int) -> None:
    """Nothing was bought, so nobody is asked."""
    path = spec(tmp_path)
    rehearse(path)
    flip(tmp_path / "run", place)
    with pytest.raises(StorageFailed, match="not a database"):
        rehearse(path)
    with pytest.raises(StorageFailed, match="not a database"):
        inspect.status(tmp_path / "run")
    assert rehearse(path, fresh=True).exit_code == 0
