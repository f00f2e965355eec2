"""A large plan is checked once: the proof holds for that plan and no other, and losing it costs only time."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.plan.expand import Plan
from pipeline.runtime import checked, prepare

SPEC = """\
version: 1
name: mugs
model: mulerouter/qwen-image-max
matrix: {color: [red, teal, red], glaze: [matt, bright]}
samples: 4
prompt: "A {{ color }} mug, {{ glaze }}"
budget: 100 USD
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec whose size is worth a proof, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(checked, "WORTH", 1)
    (tmp_path / "mugs.yaml").write_text(SPEC.replace("red, teal, red", "red, teal"))
    return tmp_path


def made(place: Path) -> Plan:
    """The spec's plan, made anew."""
    return prepare.plan(prepare.load(place / "mugs.yaml"))


def test_a_plan_is_checked_once_and_the_proof_says_the_same(place: Path) -> None:
    """The next process has the whole summary without a look at a task."""
    plan = made(place)
    assert checked.proven(plan) is None
    found = prepare.summary(plan)
    again = made(place)
    assert prepare.is_checked(again)
    assert prepare.summary(again) == found


@pytest.mark.parametrize(
    ("before", "after"),
    [("A {{ color }} mug", "One {{ color }} mug"), ("100 USD", "1 USD"), ("samples: 4", "samples: 5")],
)
def test_a_proof_is_of_one_plan(place: Path, before: str, after: str) -> None:
    """Whatever is edited, the plan is checked again."""
    prepare.summary(made(place))
    spec = place / "mugs.yaml"
    spec.write_text(spec.read_text().replace(before, after))
    assert checked.proven(made(place)) is None


def test_another_region_is_another_check(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base URL may choose other prices."""
    prepare.summary(made(place))
    monkeypatch.setenv("MULEROUTER_BASE_URL", "http://127.0.0.1:1")
    assert checked.proven(made(place)) is None


@pytest.mark.parametrize("harm", ["cut", "flipped", "nothing"])
def test_a_damaged_proof_is_none(place: Path, harm: str) -> None:
    """What cannot be believed is checked anew."""
    plan = made(place)
    prepare.summary(plan)
    (proof,) = (place / "cache").rglob("checked/*.json")
    data = proof.read_bytes()
    proof.write_bytes({"cut": data[:-9], "flipped": data.replace(b'"tasks": 16', b'"tasks": 17'), "nothing": b""}[harm])
    assert checked.proven(plan) is None
