"""S10: a spec reads below its own folder and nowhere else, and what it is refused tells it nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from pipeline.errors import PlanError, SpecError
from pipeline.plan.resources import ResourceMissing
from pipeline.runtime import prepare
from pipeline.runtime.resources import Files, read_plain
from tests.spec.specs import HEAD

CANARY: Final = "canary-7Gk2-of-somebody-else"
PIXEL: Final = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f0005fe02fe"
    "0def46b80000000049454e44ae426082"
)
OUTSIDE: Final = (
    "/etc/passwd", "/etc/shadow", "/etc", "/", "//etc/passwd", "/proc/self/environ", "/proc/self/mem",
    "/proc/1/environ",
    "/proc/self/cwd/../secret.txt", "/proc/self/fd/0", "/dev/zero", "/dev/random",
    "/dev/stdin", "/dev/fd/0", "/dev/tty", "/dev/null", "/sys/kernel/notes", "/srv", "/somebody/.ssh/id_rsa",
    "/nowhere/at/all",
    "../secret.txt", "../nothing.txt", "../", "..", "../..", "../../../../../../../../etc/passwd", "./../secret.txt",
    "sub/../../secret.txt", "sub/../../nothing.txt", "a/b/c/../../../../secret.txt", "nowhere/../../secret.txt",
    "../job/../secret.txt", "../secret/", "../.env", "sub/../../../x", "../job2/table.csv", "../jo",
    "../job-secret/x.csv",
)  # fmt: skip
#: Not outside by their letters; each is a link, or what is no plain file.
LINKS: Final = (
    "link.txt",
    "link-to-nothing.txt",
    "folder/secret.txt",
    "folder/nothing.txt",
    "deep/up/secret.txt",
    "loop",
)
STRANGE: Final = ("pipe", "socket", "sub", ".", "", "zero", "./sub/../pipe")
HIDDEN: Final = (".env", "sub/.hidden", ".git/config", "sub/../.env", "./.env", ".hidden/table.csv")
#: Names that mean something to a shell, a library or another system; here each is a file that is not there.
LITERAL: Final = (
    "~/secret.txt", "~root/.ssh/id_rsa", "$HOME/secret.txt", "${HOME}/secret.txt", "%HOME%\\secret.txt",
    "..\\secret.txt",
    "C:\\secret.txt", "\\\\host\\share", "file:///etc/passwd", "file:secret.txt", "http:secret.txt", "ftp://host/a",
    "%2e%2e/secret.txt", "..%2fsecret.txt", "\uff0e\uff0e/secret.txt", "..;/secret.txt", "`cat x`", "$(cat x)",
    "| cat x",
    "; cat x", "-rf", "--help", "!ENV HOME", "secret.txt\u202e", "secret.txt ", "secret.txt.", "secret.txt::$DATA",
    "x" * 255, "x" * 300, "x/" * 2_000 + "x", "sub/table.csv/../../link.txt",
)  # fmt: skip
CONTROL: Final = ("secret.txt\0.csv", "\0", "../secret.txt\0", "a\nb", "a\x1b[2Jb", "table.csv\r", "a\x7fb", "\ud800")
PATTERNS: Final = (
    "../*", "../*.txt", "/etc/*", "/*", "/proc/self/*", "sub/*/../../../*", "*/../../*.txt", "**/../../*", "**/**/**/*",
    "folder/*", "deep/*/*.txt", ".*", "**/.*", "../job*/*", "[.][.]/*", "?*/..", "~/*", "/dev/*", "../../**/*.txt",
)  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A spec's folder, with what must not be read around it, and links and pipes in it."""
    base = tmp_path / "job"
    (base / "sub" / "deep").mkdir(parents=True)
    (tmp_path / "job-secret").mkdir()
    for path in (tmp_path / "secret.txt", tmp_path / ".env", base / ".env", base / "sub" / ".hidden"):
        path.write_text(CANARY)
    (tmp_path / "job-secret" / "x.csv").write_text(CANARY)
    (base / "table.csv").write_text("sku\na\n")
    (base / "sub" / "table.csv").write_text("sku\nb\n")
    (base / "pixel.png").write_bytes(PIXEL)
    (base / "link.txt").symlink_to(tmp_path / "secret.txt")
    (base / "link-to-nothing.txt").symlink_to(tmp_path / "nothing.txt")
    (base / "folder").symlink_to(tmp_path)
    (base / "deep").mkdir()
    (base / "deep" / "up").symlink_to("../..")
    (base / "loop").symlink_to("loop")
    (base / "zero").symlink_to("/dev/zero")
    os.mkfifo(base / "pipe")
    line = socket.socket(socket.AF_UNIX)
    line.bind(os.fspath(base / "socket"))
    line.close()
    return base


def refusals(files: Files, path: str) -> set[str]:
    """What each way of reading says of a path; a way that reads is an AssertionError."""
    said = set()
    for read in (files.text, files.picture, files.data, files.locate):
        if read == files.locate and path in (*LITERAL, *STRANGE):
            continue
        with pytest.raises(ResourceMissing) as caught:
            read(path)
        assert CANARY not in str(caught.value)
        assert not set(str(caught.value)) & set("\r\n\x1b\u202e\0")
        said.add(caught.value.why)
    return said


def test_there_are_a_hundred_payloads() -> None:
    """The count that the programme asks for."""
    assert len({*OUTSIDE, *LINKS, *STRANGE, *HIDDEN, *LITERAL, *CONTROL, *PATTERNS}) >= 100


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_outside_is_refused_without_a_look_at_it(base: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its letters alone: the same words whether something stands there or not, and no call to the disk."""
    files = Files(base)
    looked: list[object] = []

    def watched(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: object, **more: object) -> Any:
            looked.append(given)
            return real(*given, **more)

        return call

    for name in ("stat", "lstat", "readlink", "open"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    (why,) = refusals(files, path)
    assert why.startswith("it is outside the spec's folder; allow it with --allow-path ")
    assert looked == []


@pytest.mark.parametrize("path", LINKS)
def test_a_link_that_leads_out_is_refused_alike_wherever_it_leads(base: Path, path: str) -> None:
    """Whether its end is there or not: the words are the same, and do not name it."""
    said = refusals(Files(base), path)
    if path == "loop":
        assert said == {"it cannot be resolved"}
    else:
        assert said == {"a link leads from it out of the spec's folder; allow where it leads with --allow-path DIR"}


@pytest.mark.parametrize("path", [*STRANGE, *HIDDEN, *LITERAL, *CONTROL])
def test_what_is_no_plain_visible_file_is_refused_at_once(base: Path, path: str) -> None:
    """Pipes are not waited for, devices not read; a shell's words are a file's name, and no such file is there."""
    refusals(Files(base), path)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_find_nothing_outside(base: Path, pattern: str) -> None:
    """Refused, or matching below the folder only; hidden files never match."""
    try:
        found = Files(base).glob(pattern)
    except ResourceMissing as refusal:
        found, why = (), refusal.why
    else:
        why = ""
    assert not any(word in why for word in (CANARY, "secret", "passwd"))
    assert set(found) <= {"table.csv", "sub/table.csv", "pixel.png"}


def test_allowed_folders_are_read_and_nothing_beside_them(base: Path) -> None:
    """`--allow-path DIR` opens DIR with what is below it, through links too."""
    with pytest.raises(ResourceMissing):
        Files(base).text("../job-secret/x.csv")
    files = Files(base, [base.parent / "job-secret"])
    assert files.text("../job-secret/x.csv") == CANARY
    with pytest.raises(ResourceMissing):
        files.text("../secret.txt")
    assert Files(base, [base.parent]).text("link.txt") == CANARY
    assert Files(base).text("sub/../table.csv") == Files(base).text(f"{base}/table.csv") == "sku\na\n"
    assert Files(base).glob("**/*.csv") == ("sub/table.csv", "table.csv")
    assert Files(base).picture("pixel.png").width == 1


def test_a_folder_that_is_reached_by_a_link_knows_its_own_name(base: Path, tmp_path: Path) -> None:
    """Absolute paths below the spec's folder are its own, by whichever name it was entered."""
    (tmp_path / "alias").symlink_to(base)
    assert Files(tmp_path / "alias").text(f"{tmp_path}/alias/table.csv") == "sku\na\n"


def test_a_file_that_turns_into_a_pipe_is_not_waited_for(base: Path) -> None:
    """The kind is looked at again once it is open."""
    with pytest.raises(ValueError, match="it is a pipe"):
        read_plain(base / "pipe", 10)
    with pytest.raises(ValueError, match="larger than"):
        read_plain(base / "table.csv", 3)


KEYS: Final = {
    "inputs": "inputs: {{from: {0}}}\n",
    "lines": "matrix: {{a: {{lines: {0}}}}}\n",
    "glob": "matrix: {{a: {{glob: {0}}}}}\n",
    "images": "images: [{0}]\n",
    "override": "overrides: [{{when: {{sample: 0}}, set: {{images: [{0}]}}}}]\n",
}


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("path", ["/etc/passwd", "../secret.txt", "link.txt", "pipe", ".env", "/proc/self/environ"])
def test_a_spec_that_names_a_foreign_file_is_a_mistake_at_its_place(base: Path, key: str, path: str) -> None:
    """Whichever key names it; the message holds nothing of what is in the file."""
    written = '"' + path + ('*"' if key == "glob" else '"')
    spec = base / "spec.yaml"
    model = "mulerouter/qwen-image-edit-max" if key in {"images", "override"} else "mulerouter/qwen-image-max"
    spec.write_text(HEAD.replace("mulerouter/qwen-image-max", model) + "budget: 1 USD\n" + KEYS[key].format(written))
    with pytest.raises((PlanError, SpecError)) as caught:
        prepare.summary(prepare.plan(prepare.load(spec)))
    assert CANARY not in str(caught.value)
    assert "root:" not in str(caught.value)
    assert caught.value.mistakes[0].place.file == str(spec)


@pytest.mark.parametrize(
    "line",
    [
        "key_env: AWS_SECRET_ACCESS_KEY", "api_key: x", "base_url: http://localhost", "params: {api_key: x}",
        "headers: {Authorization: x}", "params: {Authorization: Bearer x}", "env: {A: b}", "params: {base_url: x}",
        "limits: {mulerouter: {key_env: HOME}}", "name: !ENV HOME", "params: {a: !ENV HOME}", "proxy: http://x",
        "prompt: !include /etc/passwd", "params: !!python/name:os.environ {}", "model: !!python/object:os.system x",
    ],
)  # fmt: skip
def test_no_key_of_a_spec_chooses_a_key_an_address_or_a_variable(base: Path, line: str) -> None:
    """Keys and base URLs come from the environment, under names that the gateways' cards declare."""
    key = line.partition(":")[0]
    head = "".join(row + "\n" for row in HEAD.splitlines() if not row.startswith(key + ":"))
    spec = base / "spec.yaml"
    spec.write_text(head + line + "\nbudget: 1 USD\n")
    with pytest.raises(SpecError) as caught:
        prepare.load(spec)
    assert caught.value.mistakes[0].place.line > 0


@pytest.mark.parametrize("text", ["${HOME}", "$HOME", "%HOME%", "$(id)", "{HOME}", "~", "!ENV HOME"])
def test_variables_stand_for_nothing(base: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every text of a spec they stay the letters that they are."""
    monkeypatch.setenv("HOME", CANARY)
    spec = base / "spec.yaml"
    spec.write_text(HEAD.replace("a mug", f'"a {text} mug"') + "budget: 1 USD\n")
    plan = prepare.plan(prepare.load(spec))
    assert plan.task(0).prompt == f"a {text} mug"
