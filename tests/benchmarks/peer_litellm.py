"""litellm as its page shows it: `acompletion` behind a semaphore. Runs without this project."""

from __future__ import annotations

import asyncio
import sys

import litellm  # type: ignore[import-not-found]  # it lives in an environment of its own


async def call_all(origin: str, tasks: int, in_flight: int) -> None:
    """So many calls, so many at once."""
    turn = asyncio.Semaphore(in_flight)

    async def call(number: int) -> None:
        async with turn:
            messages = [{"role": "user", "content": f"Say {number}"}]
            await litellm.acompletion(model="openai/gpt-4o-mini", messages=messages, api_base=f"{origin}/v1")

    async with asyncio.TaskGroup() as group:
        for number in range(tasks):
            group.create_task(call(number))


if __name__ == "__main__":
    asyncio.run(call_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
