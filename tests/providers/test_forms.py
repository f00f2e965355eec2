"""A form is read back as it was written, whatever stands in the picture and in its name."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.providers import evolink, onemin
from pipeline.providers.forms import form
from pipeline.simulator.forms import read_form
from pipeline.values.provider import CarriedBytes
from pipeline.values.wire import Request


def tempting(data: bytes) -> bytes:
    """A picture that holds the boundary which its own start would get."""
    return data + b"\r\n--pipeline-" + hashlib.sha256(data).hexdigest()[:40].encode() + b"--\r\n"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.binary(max_size=99), st.text(max_size=20), st.dictionaries(st.sampled_from("abc"), st.text("xy-=/", max_size=9))
)
def test_a_form_is_read_as_it_was_written_laws(data: bytes, name: str, fields: dict[str, str]) -> None:
    """By the emulators' reader, which was written from RFC 7578 alone."""
    body, kind = form(fields, "file", name, CarriedBytes("image/png", tempting(data)))
    assert form(fields, "file", name, CarriedBytes("image/png", tempting(data))) == (body, kind)
    parts = read_form(kind, body)
    assert not isinstance(parts, str), parts
    assert [(part.name, part.data) for part in parts[:-1]] == [(key, text.encode()) for key, text in fields.items()]
    assert (parts[-1].name, parts[-1].data, parts[-1].media_type) == ("file", tempting(data), "image/png")
    assert parts[-1].filename is not None
    assert len(parts[-1].filename) == len(name)


def test_a_boundary_stands_in_no_part() -> None:
    """Not in the picture, also where its digest was put into a text."""
    data = b"\x89PNG"
    digest = hashlib.sha256(data).hexdigest()
    body, kind = form({"policy": digest}, "file", "a.png", CarriedBytes("image/png", data))
    assert digest[:40] not in kind
    assert body.count(kind.removeprefix("multipart/form-data; boundary=").encode()) == 3


@pytest.mark.parametrize("module", [evolink, onemin])
def test_every_upload_is_such_a_form(module: object) -> None:
    """One writer for all: 1min.ai's boundary, too, is sought until the picture does not hold it."""
    asset = CarriedBytes("image/png", b"\x89PNG")
    step = module.upload("qwen-image-edit-plus", asset, "a.png", ())  # type: ignore[attr-defined]  # both are providers
    assert isinstance(step, Request)
    field = "asset" if module is onemin else "file"
    assert (step.body, dict(step.headers)["Content-Type"]) == form({}, field, "a.png", asset)
