"""`python -m tests.benchmarks.peers --python .venv-peers/bin/python`: other tools on the same stub, in turn.

Each makes one call a task with 64 in flight and zero latency, in its own way and with its own defaults; the bare loop
makes the same calls. Peers live in an environment of their own (`make bench-peers`), so nothing of theirs is ours.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from tests.benchmarks.processes import ROOT, Ended, StubProcess, python, run, stub
from tests.benchmarks.table import draw, number

#: {peer: the module that drives it}; each is a script that takes the stub's origin, the tasks and what is in flight.
PEERS: Final = {"litellm": "peer_litellm", "curator": "peer_curator", "Ray Data": "peer_ray"}
IN_FLIGHT: Final = 64
#: A peer that is slower than this is stopped (seconds).
LONGEST_S: Final = 600.0


def measure(served: StubProcess, interpreter: Path, names: Sequence[str], tasks: int, rounds: int) -> str:
    """The table: tasks a second between first and last call, CPU per 1,000 tasks, the life of a one-task process."""
    laps: dict[str, list[tuple[float, float]]] = {}
    starts: dict[str, float] = {}
    lost: dict[str, str] = {}
    for turn in range(rounds):
        for name in ["bare aiohttp", *names]:
            if name in lost:
                continue
            if not turn:
                starts[name] = _lap(served, interpreter, name, 1).seconds
            ended = _lap(served, interpreter, name, tasks)
            told = served.stats()
            if ended.code or told["submits"] < tasks:
                last = (ended.err.strip().splitlines() or ["said nothing"])[-1][:100]
                lost[name] = f"{told['submits']} of {tasks} calls, exit {ended.code}: {last}"
            else:
                laps.setdefault(name, []).append((told["submits"] / told["seconds"], 1000 * ended.cpu_s / tasks))
    bare = statistics.median(rate for rate, _ in laps["bare aiohttp"])
    rows = []
    for name, done in laps.items():
        rate, cpu = statistics.median(each for each, _ in done), statistics.median(each for _, each in done)
        rows.append((name, number(rate), f"{rate / bare:.3f}", number(cpu), number(starts[name])))
    rows += [(name, "", "", "", why) for name, why in lost.items()]
    head = ("Tool", "Tasks/s", "Of bare", "CPU s per 1,000, with starting", "One task, whole process, s")
    return f"{tasks:,} tasks, one call each, {IN_FLIGHT} in flight\n\n{draw(head, rows)}"


def _lap(served: StubProcess, interpreter: Path, name: str, tasks: int) -> Ended:
    served.reset()
    if name == "bare aiohttp":
        more = ("--tasks", str(tasks), "--in-flight", str(IN_FLIGHT), "--no-write")
        return run(python("-m", "tests.benchmarks.bare", "chat", served.origin, *more), cwd=ROOT)
    script = Path(__file__).with_name(f"{PEERS[name]}.py")
    with TemporaryDirectory(prefix="benchmark-") as folder:
        environ = {
            "OPENAI_API_KEY": "sk-benchmark-Vw3kTq9sX2mBz7RfLc",
            "HOME": folder,
            "CURATOR_DISABLE_CACHE": "1",
            "TELEMETRY_ENABLED": "false",
            "RAY_USAGE_STATS_ENABLED": "0",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        }
        command = [str(interpreter), str(script), served.origin, str(tasks), str(IN_FLIGHT)]
        return run(command, cwd=Path(folder), environment=environ, timeout_s=LONGEST_S)


def installed(interpreter: Path) -> list[str]:
    """Which peers that environment has."""
    modules = {"litellm": "litellm", "curator": "bespokelabs.curator", "Ray Data": "ray.data"}
    asked = "import importlib.util as u, sys; sys.exit(u.find_spec(sys.argv[1].partition('.')[0]) is None)"
    return [
        name
        for name, module in modules.items()
        if not subprocess.run([interpreter, "-c", asked, module], check=False).returncode
    ]


def main() -> int:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="of the environment that has the peers")
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    interpreter = given.python.absolute()
    names = installed(interpreter)
    print(f"installed: {', '.join(names) or 'none'}", file=sys.stderr)
    with stub() as served:
        print(measure(served, interpreter, names, given.tasks, given.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
