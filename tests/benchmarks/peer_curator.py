"""curator as its page shows it: an LLM over a list of prompts. Runs without this project."""

from __future__ import annotations

import sys

from bespokelabs import curator  # type: ignore[import-not-found]  # it lives in an environment of its own


def call_all(origin: str, tasks: int, in_flight: int) -> None:
    """So many prompts, with limits that do not pace."""
    model = curator.LLM(
        model_name="gpt-4o-mini",
        backend="openai",
        backend_params={
            "base_url": f"{origin}/v1",
            "max_requests_per_minute": 10_000_000,
            "max_tokens_per_minute": 1_000_000_000,
            "max_concurrent_requests": in_flight,
            "require_all_responses": True,
        },
    )
    model([f"Say {number}" for number in range(tasks)])


if __name__ == "__main__":
    call_all(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
