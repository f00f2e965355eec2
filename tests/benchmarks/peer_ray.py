"""Ray Data's HTTP processor as its page shows it. Runs without this project."""

from __future__ import annotations

import sys
from typing import Any

import ray  # type: ignore[import-not-found]  # it lives in an environment of its own
from ray.data.llm import HttpRequestProcessorConfig, build_llm_processor  # type: ignore[import-not-found]


def asked(row: dict[str, Any]) -> dict[str, Any]:
    """The request of one row."""
    message = {"role": "user", "content": f"Say {row['id']}"}
    return {"payload": {"model": "gpt-4o-mini", "messages": [message]}}


def told(row: dict[str, Any]) -> dict[str, Any]:
    """What is kept of the answer."""
    return {"text": row["http_response"]["choices"][0]["message"]["content"]}


def call_all(origin: str, tasks: int, in_flight: int) -> None:
    """So many rows in batches of what is in flight."""
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR")
    config = HttpRequestProcessorConfig(
        url=f"{origin}/v1/chat/completions",
        headers={"Authorization": "Bearer none"},
        batch_size=in_flight,
        concurrency=1,
    )
    build_llm_processor(config, preprocess=asked, postprocess=told)(ray.data.range(tasks)).materialize()


if __name__ == "__main__":
    call_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
