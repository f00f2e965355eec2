"""`pipeline report` of real folders: finished, half-finished, failed, empty, killed and living runs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pyarrow import feather

import pipeline
from pipeline.cli.main import cli
from pipeline.runtime import inspect
from pipeline.runtime.prepare import Options
from tests.stories.jobs import gateway, rehearse, spec

pytestmark = pytest.mark.slow


def call(*arguments: str) -> Result:
    """One command in this process."""
    return CliRunner().invoke(cli, arguments)


def report(folder: Path, *options: str) -> dict[str, Any]:
    """The answer of `pipeline report`."""
    found = call("report", str(folder / "run"), "--json", *options)
    assert found.exit_code == 0, found.output
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def data(text: str) -> Any:
    """What a data file hands over."""
    return json.loads(text[text.index(".push(") + 6 : text.rindex(");")])


def read(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The meta object and the rows of a report."""
    place = folder / "run" / "report"
    meta = data((place / "data-meta.js").read_text("ascii"))
    rows = []
    for chunk in range(meta["chunks"]):
        found = data((place / f"data-{chunk:03d}.js").read_text("ascii"))
        rows += [dict(zip(found["columns"], row, strict=True)) for row in found["rows"]]
    return meta, rows


def digests(folder: Path) -> dict[str, str]:
    """Every file of a run folder but its report."""
    files = (path for path in (folder / "run").rglob("*") if path.is_file() and "report" not in path.parts)
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_finished_run_is_shown_whole_and_left_as_it_was(tmp_path: Path) -> None:
    """Counts are the manifest's, every file is where its row says, a second report makes no thumbnail."""
    rehearse(spec(tmp_path))
    before = digests(tmp_path)
    assert report(tmp_path)["thumbnails_made"] == 6
    assert report(tmp_path)["thumbnails_made"] == 0
    assert digests(tmp_path) == before
    meta, rows = read(tmp_path)
    images = feather.read_table(tmp_path / "run" / "images.arrow").to_pylist()
    assert [(row["task_id"], row["sha256"], row["cost_micros"]) for row in rows] == [
        (image["task_id"], image["sha256"], image["cost_micros"]) for image in images
    ]
    place = tmp_path / "run" / "report"
    for row in rows:
        assert hashlib.sha256((place / row["src"]).resolve().read_bytes()).hexdigest() == row["sha256"]
        assert (place / row["thumb"]).is_file()
    assert (meta["state"], meta["rows"], meta["images"], meta["live"]) == ("complete", 6, 6, False)
    assert meta["money"][0]["settled_micros"] == sum(row["cost_micros"] for row in rows)
    assert {axis["name"] for axis in meta["axes"]} == {"color", "scene"}
    assert inspect.verify(tmp_path / "run") == []
    for name in re.findall(r'(?:src|href)="([\w.-]+\.(?:js|css))"', (place / "index.html").read_text()):
        assert (place / name).is_file(), name
    assert all(path.stat().st_mode & 0o077 == 0 for path in place.rglob("*"))


def test_a_half_finished_run_has_what_is_there(tmp_path: Path) -> None:
    """And the command that goes on with it; the finished run's report then drops nothing and gains the rest."""
    path = spec(tmp_path)
    rehearse(path, limit=2)
    report(tmp_path)
    meta, rows = read(tmp_path)
    assert (len(rows), meta["tasks"]) == (2, {"done": 2, "total": 2})
    assert meta["commands"]["resume"].startswith("pipeline run ")
    rehearse(path)
    assert report(tmp_path)["thumbnails_made"] == 4
    assert len(read(tmp_path)[1]) == 6


def test_a_run_of_failures_says_what_to_do(tmp_path: Path) -> None:
    """A row per task, one group, nothing charged."""
    (tmp_path / "faults.yaml").write_text("moderated: 1.0\n")
    rehearse(spec(tmp_path), faults=tmp_path / "faults.yaml")
    report(tmp_path)
    meta, rows = read(tmp_path)
    assert [row["src"] for row in rows] == [None] * 6
    (group,) = meta["failures"]
    assert (group["fault"], group["count"], len(group["examples"])) == ("moderated", 6, 5)
    assert "Nothing was charged." in group["sentence"]
    assert {row["id"] for row in rows} >= set(group["examples"])


def test_an_empty_run_has_a_page(tmp_path: Path) -> None:
    """Nothing fitted under the budget."""
    rehearse(spec(tmp_path, budget="0.01 USD"))
    report(tmp_path)
    meta, rows = read(tmp_path)
    assert (meta["state"], meta["rows"], rows) == ("budget_reached", 0, [])


def test_fewer_rows_than_there_are(tmp_path: Path) -> None:
    """`--limit` cuts the rows; the sums are of all."""
    rehearse(spec(tmp_path))
    assert report(tmp_path, "--limit", "2")["rows"] == 2
    meta, rows = read(tmp_path)
    assert (len(rows), meta["rows"], meta["left_out"], meta["images"]) == (2, 2, 4, 6)


def test_one_file_for_mailing_needs_no_other(tmp_path: Path) -> None:
    """All that it shows is in it; it names no folder of this machine."""
    rehearse(spec(tmp_path))
    page = Path(report(tmp_path, "--single-file")["page"])
    html = page.read_text("utf-8")
    assert page == tmp_path / "run" / "report.html"
    assert not re.search(r'<(?:script|link|img)[^>]*\s(?:src|href)="(?!data:)', html)
    found = [data(body) for body in re.findall(r"<script>(\(window\.PIPELINE_DATA.*?)</script>", html, re.DOTALL)]
    assert [each["kind"] for each in found] == ["meta", "rows"]
    rows = [dict(zip(found[1]["columns"], row, strict=True)) for row in found[1]["rows"]]
    assert [row["src"] for row in rows] == [None] * 6
    assert all(row["thumb"].startswith("data:image/webp;base64,") for row in rows)
    assert found[0]["single"] is True
    assert str(tmp_path) not in html


def test_an_archive_opens_elsewhere(tmp_path: Path) -> None:
    """Every address of its data leads to a member of it; no member leads out of where it is unpacked."""
    rehearse(spec(tmp_path, more='outputs: {path: "{{ color }} & 100%/{{ scene }} #1"}\n'))
    with zipfile.ZipFile(report(tmp_path, "--zip")["page"]) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        archive.extractall(tmp_path / "elsewhere")
    assert all(name.startswith("run/") and ".." not in name for name in names)
    assert len(names) == len(set(names))
    (tmp_path / "run").rename(tmp_path / "gone")
    (tmp_path / "elsewhere" / "run").rename(tmp_path / "run")
    from urllib.parse import unquote

    for row in read(tmp_path)[1]:
        for url in (row["src"], row["thumb"]):
            assert (tmp_path / "run" / "report" / unquote(url)).resolve().is_file()


def test_what_stands_in_the_way_is_told(tmp_path: Path) -> None:
    """A link in the place of the report leads nowhere; two forms at once are refused; so is a run that is not there."""
    rehearse(spec(tmp_path))
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "run" / "report").symlink_to(outside)
    assert call("report", str(tmp_path / "run")).exit_code == 70
    assert list(outside.iterdir()) == []
    assert call("report", str(tmp_path / "run"), "--zip", "--single-file").exit_code == 2
    assert call("report", str(tmp_path / "nowhere")).exit_code == 2


async def test_a_living_run_is_shown_and_not_disturbed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a runner holds the lock: what is durable, its lanes, and the word live; the run then ends as it would."""
    async with gateway(tmp_path, monkeypatch, {"generation_s": 1.5}):
        options = Options(run_dir=tmp_path / "run")
        going = asyncio.create_task(pipeline.run(pipeline.plan(pipeline.load(spec(tmp_path))), options))
        live: dict[str, Any] = {}
        for _ in range(200):
            await asyncio.sleep(0.05)
            if (tmp_path / "run" / "control").exists():
                await asyncio.to_thread(report, tmp_path)
                live, rows = read(tmp_path)
                if live["tasks"].get("running"):
                    break
        result = await going
    assert (live["live"], live["state"]) == (True, "running")
    assert [lane["name"] for lane in live["lanes"]] == ["mulerouter/qwen-image-max"]
    assert len(rows) == sum(count for name, count in live["tasks"].items() if name != "total")
    assert (result.state, inspect.verify(tmp_path / "run")) == ("complete", [])
    report(tmp_path)
    assert read(tmp_path)[0]["state"] == "complete"


def test_rows_come_in_files_of_five_thousand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And an older, longer report leaves none behind."""
    rehearse(spec(tmp_path))
    monkeypatch.setattr("pipeline.report.pages.CHUNK", 2)
    monkeypatch.setattr("pipeline.report.summary.CHUNK", 2)
    report(tmp_path)
    meta, rows = read(tmp_path)
    assert (meta["chunks"], len(rows)) == (3, 6)
    report(tmp_path, "--limit", "1")
    left = sorted(path.name for path in (tmp_path / "run" / "report").glob("data-*.js"))
    assert left == ["data-000.js", "data-meta.js"]
