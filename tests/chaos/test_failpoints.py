"""The list of failpoints and the code that reaches them are held together."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from pipeline import failpoints

PRODUCT = Path(failpoints.__file__).parent
CALL = re.compile(r"\breach\((?P<argument>[^)]*)\)")


def reached() -> Counter[str]:
    """What the product's code hands to `reach`, as written."""
    found: Counter[str] = Counter()
    for file in PRODUCT.rglob("*.py"):
        if file.name != "failpoints.py":
            found.update(match["argument"] for match in CALL.finditer(file.read_text()))
    return found


def test_each_registered_name_is_reached_in_exactly_one_place_and_no_other_name_is() -> None:
    """A failpoint that was moved away or misspelt is noticed here, before any campaign."""
    assert reached() == Counter(f'"{name}"' for name in failpoints.NAMES)


def test_there_are_at_least_25_names_and_none_twice() -> None:
    """The programme's floor."""
    assert len(set(failpoints.NAMES)) == len(failpoints.NAMES) >= 25


def test_an_unarmed_place_does_nothing_and_an_armed_one_is_told_its_name() -> None:
    """Nothing but a call to `arm` switches failpoints on."""
    told: list[str] = []
    failpoints.reach("commit.done")
    failpoints.arm(told.append)
    try:
        failpoints.reach("commit.done")
    finally:
        failpoints.arm(None)
    failpoints.reach("commit.done")
    assert told == ["commit.done"]


def test_no_environment_and_no_option_arms_them() -> None:
    """Only tests call `arm`: nothing in the product does."""
    assert not [
        file for file in PRODUCT.rglob("*.py") if re.search(r"failpoints\.arm|import .*\barm\b", file.read_text())
    ]
