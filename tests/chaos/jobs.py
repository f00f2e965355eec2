"""The jobs that campaigns run: a spec, its faults and the rules that its judge goes by, drawn from a seed."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image

#: Micro-USD for each picture, as both of the emulated models cost.
PRICE: Final = 75_000

#: {fault: probability} of everything that leaves an attempt's fate open.
DOUBTFUL: Final = {
    "cut_before": 0.06,
    "cut_after": 0.06,
    "cut_mid": 0.04,
    "server_error_before": 0.03,
    "server_error_after": 0.03,
    "malformed_submit": 0.03,
}
#: Faults that every job has to cope with and to hide.
USUAL: Final = {
    "rate_limited": 0.03,
    "failed": 0.02,
    "cut_poll": 0.02,
    "server_error_poll": 0.02,
    "malformed_poll": 0.02,
    "expired_links": 0.05,
    "cut_download": 0.08,
    "server_error_download": 0.05,
    "truncated_picture": 0.05,
    "page_picture": 0.03,
}


@dataclass(frozen=True, slots=True)
class Job:
    """What is run. *Units* - cap: micro-USD."""

    tasks: int
    #: Pictures per call; 0 makes a text-to-image job, whose calls make one each.
    n: int
    on_doubt: str
    cap: int
    faults: dict[str, object]
    rate: str = "10/s"
    #: What each task is a picture of, in this order; none: w00, w01, and so on.
    words: tuple[str, ...] = ()

    @property
    def more(self) -> bool:
        """The gateway may make, and bill, more pictures than were asked for."""
        return "more" in self.faults

    def write(self, folder: Path, *, tasks: int | None = None) -> Path:
        """Write spec, faults and the picture to edit; answers the spec."""
        words = ", ".join(self.words or [f"w{number:02d}" for number in range(tasks or self.tasks)])
        lines = [
            "version: 1",
            "name: chaos",
            f"matrix: {{word: [{words}]}}",
            'prompt: "A picture of {{ word }}"',
            f"budget: {self.cap / 1e6:.6f} USD",
            f"on_doubt: {self.on_doubt}",
            f"limits: {{mulerouter: {{rate: {self.rate}}}}}",
        ]
        if self.n:
            lines += ["model: mulerouter/qwen-image-edit-max", "images: [photo.png]", "size: 512x512", f"n: {self.n}"]
            Image.new("RGB", (400, 400), (90, 120, 30)).save(folder / "photo.png")
        else:
            lines += ["model: mulerouter/qwen-image-max"]
        (folder / "spec.yaml").write_text("\n".join(lines) + "\n")
        (folder / "faults.yaml").write_text("".join(f"{key}: {value}\n" for key, value in self.faults.items()))
        return folder / "spec.yaml"


def drawn(
    dice: random.Random, *, tasks: int, latency_s: object, generation_s: object, policies: tuple[str, ...]
) -> Job:
    """A job from a seed: some budgets bind, most gateways misbehave; `policies` are what to do with doubts."""
    n = dice.choice((0, 1, 2, 2, 3, 4))
    faults: dict[str, object] = {"latency_s": latency_s, "generation_s": generation_s, **USUAL}
    if dice.random() < 0.8:
        faults |= DOUBTFUL
    if n > 1 and dice.random() < 0.5:
        faults["fewer"] = 0.1
    whole = tasks * max(1, n) * PRICE
    binding = dice.random() < 0.3
    if not binding and n and dice.random() < 0.3:
        faults["more"] = 0.1
    return Job(
        tasks=tasks,
        n=n,
        on_doubt=dice.choice(policies),
        # An odd sum now and then, so that the cap falls between two prices.
        cap=int(whole * dice.uniform(0.4, 0.9)) if binding else whole * 3,
        faults=faults,
    )
