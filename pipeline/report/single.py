"""The whole report in one file for mailing: scripts and styles named by their digests, thumbnails in the data."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from pipeline.errors import Bug
from pipeline.report.data import Entry, Links, Placer
from pipeline.report.pages import INDEX, META, SITE

#: Thumbnails in one file: about 10 kB each.
THUMBS_MAX: Final = 500
_POLICY: Final = re.compile(r'(<meta[^>]*http-equiv="Content-Security-Policy"[^>]*content=")[^"]*(")')
_SCRIPT: Final = re.compile(r'<script[^>]*\ssrc="([\w.-]+\.js)"[^>]*></script>')
_STYLE: Final = re.compile(r'<link[^>]*\shref="([\w.-]+\.css)"[^>]*>')
#: What would end an inline script, or let one hide its end.
_BREAKS: Final = re.compile(r"</script|<!--|<script", re.IGNORECASE)


def embedded(place: Path, links: Placer) -> Placer:
    """Rows whose thumbnails are in the data, the first 500 of them, and which point at nothing outside."""
    left = [THUMBS_MAX]
    known: dict[str, str | None] = {}

    def inside(entry: Entry) -> Links:
        found = links(entry)
        thumb = None
        if found.thumb is not None and left[0]:
            thumb = _data_uri(place / found.thumb)
            left[0] -= thumb is not None
        inputs = {}
        for number, (_, small) in (found.inputs or {}).items():
            if small is not None and small not in known and len(known) < THUMBS_MAX:
                known[small] = _data_uri(place / small)
            inputs[number] = (None, known.get(small) if small is not None else None)
        return replace(found, src=None, thumb=thumb, inputs=inputs)

    return inside


def _data_uri(path: Path) -> str | None:
    try:
        return "data:image/webp;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
    except OSError:
        return None


def page(data: Mapping[str, bytes], site: Path = SITE) -> bytes:
    """The one file: `index.html` with its styles and scripts written in; `data` are data files by name, in order.

    Nothing of it runs but what is named by digest: the policy allows neither other scripts nor any request.
    """
    html = (site / INDEX).read_text("utf-8")
    styles: list[str] = []
    scripts: list[str] = []

    def styled(match: re.Match[str]) -> str:
        styles.append((site / match[1]).read_text("utf-8"))
        return f"<style>{styles[-1]}</style>"

    def gathered(match: re.Match[str]) -> str:
        if match[1] == META:
            # All chunks follow at once: everything is there before the page's own scripts begin.
            scripts.extend(each.decode("ascii") for each in data.values())
        else:
            scripts.append((site / match[1]).read_text("utf-8"))
        return ""

    html = _SCRIPT.sub(gathered, _STYLE.sub(styled, html))
    # At the end of the body: an inline script runs where it stands, and what it works on must stand before it.
    inline = "".join(f"<script>{_whole(text)}</script>\n" for text in scripts)
    before, end, after = html.rpartition("</body>")
    html, changed = _POLICY.subn(lambda match: match[1] + _policy(scripts, styles) + match[2], before)
    if changed != 1 or not end:
        raise Bug(f"the page has {changed} policies where one belongs, or no end of its body")
    return f"{html}{inline}{end}{after}".encode()


def _policy(scripts: list[str], styles: list[str]) -> str:
    return (
        f"default-src 'none'; script-src {_digests(scripts)}; style-src {_digests(styles)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digests(texts: list[str]) -> str:
    found = (base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii") for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in found)


def _whole(text: str) -> str:
    if found := _BREAKS.search(text):
        raise Bug(f"a script cannot stand within a page, it has {found[0]}: {text[:60]}")
    return text
