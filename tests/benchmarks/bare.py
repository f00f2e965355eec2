"""`python -m tests.benchmarks.bare KIND URL --tasks N`: the bare aiohttp loop that the project is measured against.

The same requests as the project sends for a task of this kind, and a plain write of the picture: no store, no sync, no
check, no row. Prints one JSON object: tasks and seconds from the first request to the last answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import aiohttp

HEADERS: Final = {
    "Authorization": "Bearer sk-benchmark-Vw3kTq9sX2mBz7RfLc",
    "User-Agent": "image-batch-pipeline/0.1",
    "Content-Type": "application/json",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}
MULEROUTER: Final = "/vendors/alibaba/v1/qwen-image-max/generation"
DASHSCOPE: Final = "/api/v1/services/aigc/multimodal-generation/generation"


#: What peers call, once a task.
CHAT: Final = "/v1/chat/completions"


async def life(session: aiohttp.ClientSession, kind: str, origin: str, number: int, place: Path | None) -> None:
    """One task: bought, polled if it has to be, fetched, written (not written without a place)."""
    if kind == "chat":
        asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": f"Say {number}"}]}
        async with session.post(origin + CHAT, data=json.dumps(asked).encode(), headers=HEADERS) as response:
            json.loads(await response.read())
        return
    prompt = f"A photograph of object {number}, on a plain table"
    if kind == "async3":
        body = json.dumps({"prompt": prompt, "size": "1328*1328", "seed": number}).encode()
        async with session.post(origin + MULEROUTER, data=body, headers=HEADERS) as response:
            operation = json.loads(await response.read())["task_info"]["id"]
        async with session.get(f"{origin}{MULEROUTER}/{operation}", headers=HEADERS) as response:
            link = json.loads(await response.read())["images"][0]
    else:
        message = {"role": "user", "content": [{"text": prompt}]}
        parameters = {"size": "1024*1024", "n": 1, "seed": number}
        body = json.dumps(
            {"model": "qwen-image-2.0", "input": {"messages": [message]}, "parameters": parameters}
        ).encode()
        async with session.post(origin + DASHSCOPE, data=body, headers=HEADERS) as response:
            output = json.loads(await response.read())["output"]
        link = output["choices"][0]["message"]["content"][0]["image"]
    async with session.get(link) as response:
        data = await response.read()
    if place is not None:
        # The bare loop is to block on its plain write: that is what makes it bare.
        (place / f"{number % 256:02x}" / f"{number}.png").write_bytes(data)


async def loop(kind: str, origin: str, tasks: int, in_flight: int, place: Path | None) -> float:
    """So many workers pull numbers until none is left; the seconds that took."""
    numbers: Iterator[int] = iter(range(tasks))

    async def worker(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            await life(session, kind, origin, number, place)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(min(in_flight, tasks)):
                group.create_task(worker(session))
        return time.monotonic() - began


def main() -> int:
    """Read the options, run, print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bare", description=__doc__)
    parser.add_argument("kind", choices=["sync", "async3", "chat"])
    parser.add_argument("origin", help="http://127.0.0.1:PORT of the stub")
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--into", type=Path, help="where pictures are written; a temporary folder by default")
    parser.add_argument("--no-write", action="store_true", help="fetch the pictures and drop them")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.into) as folder:
        place = None if given.no_write else Path(folder)
        if place is not None:
            for number in range(256):
                (place / f"{number:02x}").mkdir()
        seconds = asyncio.run(loop(given.kind, given.origin, given.tasks, given.in_flight, place))
    print(json.dumps({"tasks": given.tasks, "seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
