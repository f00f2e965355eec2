"""One `validate` tells as many true faults as can be known: of form, of templates, of constants, of axes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.main import cli

HEAD = "version: 1\nname: mugs\nmodel: mulerouter/qwen-image-max\nbudget: 1 USD\n"
CONSTANTS = "size: 7x7\nn: 9\nseed: 99999999999\nparams: {prompt_extnd: true}\n"
CONSTANT_FAULTS = ("has no size 7x7", "makes 1 per call", "takes seeds from 0", "did you mean 'prompt_extend'?")


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """A function that validates a text and answers what stderr says."""
    monkeypatch.chdir(tmp_path)

    def validate(text: str) -> str:
        (tmp_path / "mugs.yaml").write_text(text)
        result = CliRunner().invoke(cli, ["validate", "mugs.yaml"])
        assert result.exit_code == 2, result.output
        return result.stderr

    return validate


@pytest.mark.parametrize(
    ("text", "more"),
    [
        pytest.param(
            HEAD + 'prompt: "a {{ colr }} mug"\nmatrix: {color: [red]}\n', ("did you mean 'color'?",), id="name"
        ),
        pytest.param(HEAD + 'prompt: "{% if %}"\n', ("no statements",), id="template"),
        pytest.param(HEAD + "promt: a mug\n", ("did you mean 'prompt'?",), id="form"),
        pytest.param(HEAD + "prompt: a mug\nmatrix: {color: []}\n", ("'matrix.color' is empty",), id="axis form"),
        pytest.param(
            HEAD + "prompt: a mug\nmatrix: {c: {lines: no.txt}}\n", ("there is no such file",), id="axis file"
        ),
        pytest.param(HEAD + "prompt: a mug\ninputs: {from: no.csv}\n", ("there is no such file",), id="table"),
        pytest.param(
            HEAD + "prompt: a mug\nnmae: b\nretry: 3\n", ("'name' is given already", "'retry'"), id="two forms"
        ),
    ],
)
def test_faults_of_one_kind_hide_no_faults_of_constants(said, text: str, more: tuple[str, ...]) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Size, n, seed and parameters are judged against the card whatever else is wrong, each once and in file order."""
    out = said(text + CONSTANTS)
    for word in (*CONSTANT_FAULTS, *more):
        assert out.count(word) == 1, (word, out)
    assert f"{len(CONSTANT_FAULTS) + len(more)} errors; nothing was sent" in out
    lines = [int(line.split(":")[1]) for line in out.splitlines() if line.startswith("mugs.yaml:")]
    assert lines == sorted(lines)


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "promt: a mug\noverrides: [{when: {color: red}, set: {size: 1328x1328}}]\nsize: 7x7\n",
        HEAD.replace("mulerouter/qwen-image-max", '"{{ m }}"') + "promt: a mug\nsize: 7x7\n",
        HEAD + "promt: a mug\nsize: '{{ size }}'\nn: '{{ n }}'\n",
        HEAD + "prompt: a mug\nimages: 3\n",
        HEAD.replace("model:", "modl:") + "prompt: a mug\nsize: 7x7\n",
    ],
)
def test_nothing_is_said_of_what_cannot_be_known(said, text: str) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """A value that an override replaces, a model from a template, a key that is left out: only true faults are told."""
    assert said(text).endswith("1 error; nothing was sent\n")


def test_a_key_that_is_there_is_not_suggested(said) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """`nmae` beside `name` is one too many, and no misspelling of something far away."""
    out = said(HEAD + "prompt: a mug\nnmae: cups\n")
    assert "unknown key 'nmae'; 'name' is given already; remove this one" in out
    assert "images" not in out


def test_a_collision_shows_the_path_as_it_was_written(said) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Not as the program folds it to compare."""
    out = said(HEAD + 'prompt: "a {{ c }} mug"\nmatrix: {c: [Fox, fOX]}\noutputs: {path: "X/{{ c }}"}\n')
    assert "different pictures would have one name" in out
    assert "X/fOX" in out
    assert "x/fox" not in out
