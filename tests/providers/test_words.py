"""What is told of answers that came to nothing: the fact itself, escaped, and the right kind."""

from __future__ import annotations

import pytest

from pipeline.providers.answers import broken, refused_id
from pipeline.values.reply import FaultKind
from pipeline.values.wire import Broken


def test_an_answer_that_is_too_large_is_no_timeout() -> None:
    """It came, and nobody reads it."""
    assert broken(Broken("larger than 4194304 bytes", too_large=True)).kind is FaultKind.MALFORMED
    assert broken(Broken("no answer came in time")).kind is FaultKind.TIMEOUT
    assert broken(Broken("")).message == "no complete answer came"


@pytest.mark.parametrize(
    ("value", "told"),
    [(None, ""), ("../x\x1b[31m", r": '../x\x1b[31m'"), ("a b", ": 'a b'"), (-1, ": -1"), ("\u202e", r": '\u202e'")],
)
def test_a_refused_id_is_shown_escaped(value: object, told: str) -> None:
    """Whoever has to look it up sees what stood there, and no terminal obeys it."""
    assert refused_id(value) == told
    assert len(refused_id("x" * 10_000)) < 250
