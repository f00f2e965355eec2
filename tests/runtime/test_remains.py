"""What is said of a damaged store: the first lines of what SQLite tells by the hundred."""

from __future__ import annotations

from pipeline.runtime.remains import in_short


def test_faults_of_pages_are_told_in_short_and_all_others_whole() -> None:
    """Three lines of the store's own, however they come, and how many more; a picture's fault is never cut."""
    pages = [f"page {number} is never used" for number in range(4)]
    pictures = [f"images/{number}.png: missing" for number in range(5)]
    told = in_short(["the store: tree 2\n" + "\n".join(pages), *pictures, "the store: row 7 missing"])
    assert told == [
        "the store: tree 2",
        "the store: page 0 is never used",
        "the store: page 1 is never used",
        *pictures,
        "the store: 3 more faults of the same sort",
    ]
    assert in_short(["the store: one", "the store: two", "the store: three"])[-1] == "the store: three"
