"""Every gateway has a page, and what stands on it is what its card says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import cli
from tests.habits import gateway_pages
from tests.habits.gateway_pages import PAGES, PARTS, ROOT

CARDS = gateway_pages.cards()


def text(gateway: str) -> str:
    """A gateway's page."""
    return (PAGES / f"{gateway}.md").read_text(encoding="utf-8")


def by_hand(gateway: str) -> str:
    """What is written on a page and not drawn."""
    return re.sub(r"<!-- drawn: .*?<!-- end -->", "", text(gateway), flags=re.DOTALL)


def test_every_card_has_a_page_and_the_readme_leads_there() -> None:
    """No page without a card, no card without a page, and a link to each."""
    assert {page.stem for page in PAGES.glob("*.md")} == set(CARDS)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for gateway in CARDS:
        assert f"](docs/gateways/{gateway}.md)" in readme


@pytest.mark.parametrize("gateway", CARDS)
@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_a_page_is_the_card_s(gateway: str, part: str) -> None:
    """A drawn part is what `python -m tests.habits.gateway_pages` draws, whole; every part is on every page."""
    drawn = gateway_pages.drawn(text(gateway)).get(part)
    assert drawn == PARTS[part](CARDS[gateway]), "run: python -m tests.habits.gateway_pages"


@pytest.mark.parametrize("gateway", CARDS)
def test_what_is_written_by_hand_names_only_what_there_is(gateway: str) -> None:
    """Environment names, models and links in the words around the tables exist."""
    card, words = CARDS[gateway], by_hand(gateway)
    known = {card.key_env, card.base_url_env, *(base.env for base in card.bases.values())}
    assert set(re.findall(r"\b[A-Z]+_[A-Z_]+(?:URL|KEY)\b", words)) <= known
    names = {name for model in card.models.values() for name in (model.name, *model.aliases)}
    assert set(re.findall(r"\bqwen-image[a-z0-9.-]*[a-z0-9]", words)) <= names
    for target in re.findall(r"\]\(([^)#:]+)\)", words):
        assert (PAGES / target).exists(), target


@pytest.mark.parametrize("gateway", CARDS)
def test_what_is_unknown_is_said(gateway: str) -> None:
    """Every figure that is no word of the vendor's stands in the page's last part, with its certainty."""
    card = CARDS[gateway]
    said = gateway_pages.drawn(text(gateway))["notes"]
    for model in card.models.values():
        for figure in (model.rate, model.in_flight, model.unanswered):
            assert figure.certainty == "documented" or f"{figure.certainty}: {figure.source}" in said
    for note in card.notes:
        assert f"- {note}\n" in said


def test_the_spec_on_1min_s_page_plans_and_warns_above_one(tmp_path: Path) -> None:
    """The example can be bought as it stands; `plan` warns for n above 1, and refuses it without a price."""
    shown = re.search(r"```yaml\n(.*?)```", text("1min"), re.DOTALL)
    assert shown is not None
    shutil.copy(ROOT / "specs" / "assets" / "astronaut.png", tmp_path / "photo.png")
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"version: 1\nname: page\n{shown[1]}", encoding="utf-8")
    one = CliRunner().invoke(cli, ["plan", str(spec)])
    assert one.exit_code == 0, one.output
    assert "100.00 1min-credit" in one.output
    assert "warning" not in one.output
    spec.write_text(f"version: 1\nname: page\nn: 2\n{shown[1]}", encoding="utf-8")
    two = CliRunner().invoke(cli, ["plan", str(spec)])
    assert f"warning: 1min/qwen-image-edit-plus: {CARDS['1min'].models['qwen-image-edit-plus'].n_warning}" in two.output
    assert (
        '"warnings": ["1min/qwen-image-edit-plus: only' in CliRunner().invoke(cli, ["plan", "--json", str(spec)]).output
    )
    unstated = re.sub(r"(?m)^prices:.*$", "", shown[1])
    spec.write_text(f"version: 1\nname: page\n{unstated}", encoding="utf-8")
    none = CliRunner().invoke(cli, ["plan", str(spec)])
    assert none.exit_code != 0
    assert "the price of 1min/qwen-image-edit-plus is unknown" in none.output


def test_models_says_what_several_pictures_risk() -> None:
    """`pipeline models NAME` shows the card's warning."""
    shown = CliRunner().invoke(cli, ["models", "1min/qwen-image-edit-plus"])
    assert shown.exit_code == 0, shown.output
    assert "n above 1: only the first picture of a call has a link" in shown.output
