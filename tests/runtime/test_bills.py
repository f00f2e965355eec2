"""Money by gateway: what stands on each vendor's bill, in its unit, beside the cap's."""

from __future__ import annotations

from pathlib import Path

from pipeline.cli.statement import render_status
from pipeline.runtime import inspect
from tests.stories.jobs import faults, rehearse

SPEC = """\
version: 1
name: story
matrix: {which: [mulerouter/qwen-image-max, evolink/qwen-image-3.0]}
model: "{{ which }}"
prompt: a mug
on_doubt: hold
rates: {evolink-credit: 0.5 USD}
budget: 9 USD
"""


def test_status_says_what_stands_on_each_bill(tmp_path: Path) -> None:
    """Two gateways under one cap in USD: MuleRouter's part in USD, Evolink's in its credits and in USD."""
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    rehearse(path)
    status = inspect.status(tmp_path / "run")
    bills = status["by_gateway"]
    assert isinstance(bills, dict)
    assert bills["mulerouter"]["USD"]["settled_micros"] == 75_000
    evolink = bills["evolink"]["evolink-credit"]
    assert evolink["settled_micros"] == 1_836_000
    assert evolink["in_cap"]["USD"]["settled_micros"] == 918_000
    page = render_status(status, "run")
    assert "  bill      mulerouter: 0.075 USD settled" in page
    assert "  bill      evolink: 1.836 evolink-credit settled = 0.918 USD" in page


def test_a_doubt_stands_on_the_bill_of_its_gateway(tmp_path: Path) -> None:
    """What may be billed is told apart from what was."""
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC)
    rehearse(path, faults=faults(tmp_path, "cut_after: 1\n"))
    bills = inspect.status(tmp_path / "run")["by_gateway"]
    assert isinstance(bills, dict)
    assert bills["mulerouter"]["USD"]["doubt_micros"] == 75_000
    assert bills["evolink"]["evolink-credit"]["doubt_micros"] == 1_836_000
