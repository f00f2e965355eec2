"""S1: canary secrets in every slot. The whole program runs, is refused, crashes, is killed and goes on; then every byte
of its streams, logs, tracebacks, stores, manifests, temporary files and of /proc is searched: no secret may be there.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from pipeline.runtime.control import ask
from tests.chaos.report import Report
from tests.security.canaries import Canaries, open_to_others, search
from tests.security.vendor import Gossip, gossip

ROOT: Final = Path(__file__).resolve().parents[2]
SLOTS: Final = ("env key", "file key", "dotenv key", "other key", "stranger", "signature", "proxy", "url", "spec")
#: Files that the campaign planted itself.
PLANTED: Final = ("key", ".env", "leaky.yaml")
#: Until a picture is stored its link stands in the store, and nowhere else.
STORES: Final = ("state.db", "blackbox")
_PATIENCE_S: Final = 60.0

SPEC: Final = """\
version: 1
name: {name}
model: mulerouter/qwen-image-max
matrix: {{color: [red, teal]}}
prompt: "A {{{{ color }}}} cup"
budget: 1.00 USD
limits: {{mulerouter: {{rate: 6000/min}}}}
retry: {{attempts: 2}}
"""
LEAKY: Final = (
    'version: 1\nname: leaky\nmodel: mulerouter/qwen-image-max\nprompt: "sk-{secret}"\napi_key: sk-{secret}\n'
)
FAULTS: Final = (
    "{rate_limited: 0.2, cut_after: {every: 3}, malformed_poll: 0.2, failed: {every: 5}, expired_links: 0.2}"
)

Order = dict[str, Any]


@dataclass
class _Run:
    """The campaign's tally."""

    canaries: Canaries
    violations: list[str] = field(default_factory=list)
    commands: int = 0
    bytes_searched: int = 0

    def judge(self, desk: Path, outputs: Sequence[bytes], where: str, apart: frozenset[str] = frozenset()) -> None:
        """Search a working directory and what was printed."""
        for output in outputs:
            self.bytes_searched += len(output)
            self.violations += [f"{where}: printed: {hit}" for hit in self.canaries.hits(output, apart=apart)]
        self.violations += [f"{where}: {hit}" for hit in search(self.canaries, desk, apart=apart, skip=PLANTED)]
        self.bytes_searched += sum(path.stat().st_size for path in desk.rglob("*") if path.is_file())


def campaign(size: str, seed: int) -> Report:
    """Every slot, every form, every artefact; merge size repeats it with ten nests of canaries."""
    rounds = 1 if size == "small" else 10
    tally = _Run(Canaries.hatch(seed, *SLOTS))
    for number in range(rounds):
        tally.canaries = Canaries.hatch(seed + number, *SLOTS)
        with gossip(tally.canaries["signature"]) as vendor, ThreadPoolExecutor(3) as lanes:
            lane = [lanes.submit(story, tally, vendor) for story in (_killed, _other_keys, _crashing)]
            for done in lane:
                done.result()
        if vendor.leaked:
            tally.violations.append("a key came with a download")
        if not any(tally.canaries["env key"] in key for key in vendor.keys):
            tally.violations.append("no key reached the vendor: the campaign proves nothing")
    figures = {"commands": tally.commands, "secrets": rounds * len(SLOTS), "bytes searched": tally.bytes_searched}
    return Report("secrets", figures, tuple(f"seed {seed}: {hit}" for hit in dict.fromkeys(tally.violations)))


# --- stories ----------------------------------------------------------------------------------------------------------


def _killed(tally: _Run, vendor: Gossip) -> None:
    """Killed while links wait in the store, looked at, resumed; then everything else there is to call."""
    with _Desk(tally.canaries) as desk:
        environ = desk.environ({"MULEROUTER_API_KEY": tally.canaries["env key"]})
        order = {"argv": ["run", "cups.yaml"], "env": {"MULEROUTER_BASE_URL": vendor.base("good")}}
        child = _start(desk.folder, [order], environ)
        tally.commands += 1
        if not vendor.asked.wait(_PATIENCE_S):
            tally.violations.append("killed: no download was asked for")
        run = desk.folder / "runs" / "cups"
        answers = [json.dumps(ask(run / "control")).encode(), _processes(child.pid)]
        child.send_signal(signal.SIGKILL)
        out, err = child.communicate()
        tally.violations += [f"killed: others may read {path}" for path in open_to_others(run)]
        linked = [hit for hit in search(tally.canaries, desk.folder, skip=PLANTED) if not _in_store(hit)]
        tally.violations += [f"killed: {hit}" for hit in linked]
        tally.judge(desk.folder, [*answers, out, err], "killed", apart=frozenset({"signature"}))
        vendor.give.set()
        looks = [["status", "cups"], ["status", "cups", "--json"], ["resolve", "cups"], ["ls", "--json"]]
        after = [["verify", "cups"], ["manifest", "cups"], ["models"], ["plan", "cups.yaml"], ["validate", "cups.yaml"]]
        after += [["plan", "cups.yaml", flag] for flag in ("--tasks", "--expand", "--json")]
        orders = [{"argv": argv} for argv in looks] + [order] + [{"argv": argv} for argv in looks + after]
        for mode in ("refuse", "wrong", "broken", "garbled", "failing"):
            env = {"MULEROUTER_BASE_URL": vendor.base(mode)}
            (desk.folder / f"{mode}.yaml").write_text(SPEC.format(name=mode))
            orders.append({"argv": ["run", f"{mode}.yaml", "--json"], "env": env})
            orders += [{"argv": [word, mode]} for word in ("status", "resolve", "verify")]
        orders += [{"argv": ["retry", "refuse"], "env": {"MULEROUTER_BASE_URL": vendor.base("refuse")}}]
        codes = _finish(tally, desk, orders, environ, "resumed")
        if len(codes) != len(orders) or codes[len(looks)] != 0:
            tally.violations.append(f"resumed: the run did not complete: {codes}")


def _other_keys(tally: _Run, vendor: Gossip) -> None:
    """Keys from a file and from .env, none at all, ones that are no keys; addresses and specs with secrets in them."""
    with _Desk(tally.canaries) as desk:
        canaries, base = tally.canaries, {"MULEROUTER_BASE_URL": vendor.base("wrong")}
        key = desk.folder / "key"
        key.write_text(canaries["file key"] + "\n")
        (desk.folder / "leaky.yaml").write_text(LEAKY.format(secret=canaries["spec"][:40]))
        run = ["run", "cups.yaml", "--run-dir"]
        bad = f"https://user:{canaries['url'][:40]}@mule.example/"
        queried = f"https://mule.example/?key={canaries['url'][:40]}"
        none = {"MULEROUTER_API_KEY": "", "MULEROUTER_API_KEY_FILE": ""}
        orders: list[Order] = [
            {"argv": [*run, "a"], "env": {**base, "MULEROUTER_API_KEY_FILE": str(key)}},
            {"argv": [*run, "b"], "env": {"MULEROUTER_API_KEY_FILE": str(desk.folder)}},
            {"argv": [*run, "c"], "env": none},
            {"argv": [*run, "d", "--json"], "env": {"MULEROUTER_API_KEY": canaries["env key"] + " and more"}},
            {
                "argv": [*run, "e"],
                "env": {**none, "MULEROUTER_API_KEY": canaries["env key"], "MULEROUTER_BASE_URL": bad},
            },
            {"argv": [*run, "f"], "env": {"MULEROUTER_BASE_URL": queried}},
            {"argv": ["run", "leaky.yaml", "--simulate"]},
            {"argv": ["plan", "leaky.yaml", "--json"]},
            {"argv": ["run", "cups.yaml", "--simulate", "--faults", "faults.yaml", "--json"]},
        ]
        _finish(tally, desk, orders, desk.environ({}), "other keys")


def _crashing(tally: _Run, vendor: Gossip) -> None:
    """A bug where the key is at hand: in our code, in the library's, before, during and after the call."""
    with _Desk(tally.canaries) as desk:
        environ = desk.environ({"MULEROUTER_API_KEY": tally.canaries["env key"], "PIPELINE_DEBUG": "1"})
        env = {"MULEROUTER_BASE_URL": vendor.base("refuse")}
        places = ("headers", "library", "answer", "opening", "secret")
        orders = [{"argv": ["run", "cups.yaml", "--run-dir", place], "env": env, "crash": place} for place in places]
        codes = _finish(tally, desk, orders, environ, "crashing")
        if codes.count(1) != len(places):
            tally.violations.append(f"crashing: not every crash was one: {dict(zip(places, codes, strict=False))}")


def _finish(tally: _Run, desk: _Desk, orders: list[Order], environ: dict[str, str], where: str) -> list[int]:
    """Run orders in one telling process, judge what is left, and hand back the exit codes."""
    child = _start(desk.folder, orders, environ)
    try:
        out, err = child.communicate(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        tally.violations.append(f"{where}: took too long")
    tally.commands += len(orders)
    tally.judge(desk.folder, [out, err], where)
    try:
        found: list[int] = json.loads(out.splitlines()[-1])["codes"]
    except (ValueError, IndexError, KeyError, TypeError):
        tally.violations.append(f"{where}: the process broke: {err[-800:].decode(errors='replace')}")
        return []
    return found


# --- desks and processes ----------------------------------------------------------------------------------------------


class _Desk:
    """A working directory with a spec, `.env`, and folders for temporary files and caches in it."""

    def __init__(self, canaries: Canaries) -> None:
        self.canaries = canaries

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="canaries-"))
        (self.folder / "cups.yaml").write_text(SPEC.format(name="cups"))
        (self.folder / "faults.yaml").write_text(FAULTS)
        key, stranger = self.canaries["dotenv key"], self.canaries["stranger"]
        (self.folder / ".env").write_text(f"EVOLINK_API_KEY={key}\nMULEROUTER_API_KEY={key}\nPASSWORD={stranger}\n")
        (self.folder / "tmp").mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)

    def environ(self, more: Mapping[str, str]) -> dict[str, str]:
        """This process's environment without keys, with canaries in every other slot."""
        proxy = f"http://user:{self.canaries['proxy']}@127.0.0.1:9"
        clean = {name: text for name, text in os.environ.items() if not name.startswith(("MULEROUTER", "PIPELINE"))}
        proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"), proxy)
        private = {name: str(self.folder / "tmp") for name in ("TMPDIR", "XDG_CACHE_HOME")}
        other = {"ONEMIN_API_KEY": self.canaries["other key"], "AWS_SECRET_ACCESS_KEY": self.canaries["stranger"]}
        path = {"PYTHONPATH": str(ROOT), "PYTHONASYNCIODEBUG": "1"}
        return {**clean, **proxies, **private, **other, **path, **more}


def _start(folder: Path, orders: list[Order], environ: dict[str, str]) -> subprocess.Popen[bytes]:
    """A telling process at work in a folder."""
    command = [sys.executable, "-m", "tests.security.telling_child", str(folder / "told.log")]
    pipe = subprocess.PIPE
    child = subprocess.Popen(command, cwd=folder, env=environ, stdin=pipe, stdout=pipe, stderr=pipe)
    assert child.stdin is not None
    child.stdin.write(json.dumps(orders).encode())
    child.stdin.close()
    child.stdin = None
    return child


def _processes(pid: int) -> bytes:
    """The arguments of a process, and arguments and environments of its children: what `ps` would show of them."""
    told = _read(Path(f"/proc/{pid}/cmdline"))
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in _read(task).split():
            told += _read(Path(f"/proc/{int(child)}/cmdline")) + _read(Path(f"/proc/{int(child)}/environ"))
    return told


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # It is gone, or this system has no such file.
        return b""


def _in_store(hit: str) -> bool:
    """Whether it is a link's signature in one of the two places where links may wait."""
    file, _, what = hit.partition(": ")
    return what.startswith("signature") and file.startswith(tuple(f"runs/cups/{name}" for name in STORES))
