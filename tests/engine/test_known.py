"""Operation ids that are kept in eight bytes each."""

from __future__ import annotations

import sys

from pipeline.engine.known import Operations


def test_an_id_is_known_however_many_there_are() -> None:
    """Each id that was added is known, no other one is, and a copy goes its own way."""
    known = Operations(("mule", f"op-{number}") for number in range(100_000))
    assert all(("mule", f"op-{number}") in known for number in range(0, 100_000, 997))
    assert ("evo", "op-1") not in known
    assert ("mule", "op-100000") not in known
    twin = known.copy()
    assert twin == known
    twin.add(("mule", "late"))
    assert ("mule", "late") in twin
    assert ("mule", "late") not in known
    assert twin != known


def test_a_million_ids_take_eight_bytes_each() -> None:
    """What is sorted is an array, and at most 32,768 ids wait to be."""
    known = Operations(("mule", f"op-{number}") for number in range(200_000))
    assert sum(sys.getsizeof(each) for each in known._sorted) < 9 * 200_000
    assert len(known._fresh) < 32_768
