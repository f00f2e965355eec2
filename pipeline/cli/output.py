"""The two streams: results to stdout, everything said to people to stderr."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from typing import TextIO

import click

from pipeline.cli.words import clean_lines, fold


def say(text: str) -> None:
    """Tell people something: stderr, without control characters. A reader that went away stops nothing."""
    try:
        click.echo(clean_lines(text), err=True)
    except OSError:  # a closed pipe, or a terminal that is gone
        _silence(sys.stderr)


def answer(text: str) -> None:
    """The result itself: stdout, without control characters. *Raises* BrokenPipeError when nobody reads it."""
    click.echo(clean_lines(text))


def for_screen(text: str, stream: TextIO) -> str:
    """A page of words as it is for a file or a pipe, folded at the width of a terminal."""
    return fold(text, shutil.get_terminal_size().columns) if stream.isatty() else text


def json_line(value: object) -> str:
    """One JSON value on one line, ASCII only, so that no terminal can be moved by it."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False, default=_plain)


def answer_json(value: object) -> None:
    """The one JSON value of a command on stdout. A reader that went away changes no exit code."""
    try:
        click.echo(json_line(value))
    except BrokenPipeError:
        _silence(sys.stdout)


def _plain(value: object) -> object:
    """What JSON has no word for: mappings that are no dict, sets and tuples, and everything else as text."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return str(value)


def reader_gone() -> None:
    """`pipeline plan --tasks | head`: let the interpreter end without a complaint about the closed pipe."""
    _silence(sys.stdout)


def _silence(stream: TextIO) -> None:
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except (OSError, ValueError):  # A stream without a descriptor has no pipe behind it that could complain.
        return
