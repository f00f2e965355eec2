"""Texts that the tests of the spec share, and the shipped schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from pipeline.errors import Mistake, SpecError
from pipeline.spec.job import JobSpec
from pipeline.spec.load import load_job

SCHEMA: Final[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "schemas" / "job.schema.json").read_text(encoding="utf-8")
)

HEAD: Final = "version: 1\nname: mugs\nmodel: mulerouter/qwen-image-max\nprompt: a mug\n"

MINIMAL: Final = """\
# yaml-language-server: $schema=../schemas/job.schema.json
version: 1
name: mugs
model: mulerouter/qwen-image-max
matrix:
  color: [red, teal, black]
  scene: [on a desk, in a sink]
prompt: "Studio photo of a {{ color }} mug {{ scene }}"
samples: 2
budget: 2.00 USD          # 12 images, 0.90 USD at most
"""

TYPICAL: Final = """\
version: 1
name: product-backgrounds
inputs:
  from: products.csv                # csv, tsv, jsonl, parquet, arrow, or a folder of images
  id: sku                           # stable identity of a row; must be unique
  where: row.category != "hidden"
matrix:
  background:
    - {id: oak, text: a warm oak table next to a window}
    - {id: marble, text: white marble under soft light}
  size: ["1024x1024", "1280x720"]
  exclude: [{background: marble, size: "1280x720"}]
  include: [{background: {id: studio, text: a plain grey sweep}, size: "1024x1024"}]
overrides:
  - when: {row.category: jewellery}    # or an expression: row.price > 100
    set: {samples: 3}
model: mulerouter/qwen-image-edit-max
images: ["{{ row.photo }}", refs/style.png]     # 1-3, order is Image 1, 2, 3
prompt: "Put the product of Image 1 on {{ background.text }}, lit like Image 2."
negative_prompt: blurry, low quality
size: "{{ size }}"
n: 2                                # images per call: money is n x price, rate limits count calls
samples: 1                          # calls per combination, each with its own seed
params: {prompt_extend: false}      # checked against the model's card
budget: 90.00 USD                   # or {limits: [90 USD, 5000 1min-credit]}
limits:
  mulerouter: {rate: 60/min, in_flight: 20, unanswered: 4}
retry: {attempts: 3}                # the first included; a 429 and a proven 'not sent' do not count
on_doubt: hold                      # hold | resubmit | write_off
outputs:
  path: "{{ row.sku }}/{{ background.id }}-{{ size }}-{{ sample }}"
"""

#: Every key that the single-step form has, so that each can be misspelt.
EVERYTHING: Final = """\
version: 1
name: everything
description: each key once
inputs: {from: rows.csv, id: sku, where: row.price > 1, exclude_from: review.csv}
matrix:
  steps_left: {range: {from: 0.50, to: 1.50, step: 0.25}}
  room: {lines: rooms.txt}
  photo: {files: "photos/*.jpg"}
  light: [{id: warm, text: warm light}, dusk]
  zip: [{lens: [24mm, 50mm], distance: [1 m, 2 m]}]
  exclude: [{room: [hall, cellar]}]
  include: [{light: {id: cold, text: cold light}}]
overrides:
  - when: row.price > 100
    set:
      {prompt: a, negative_prompt: b, images: [c.png], size: 512x512, n: 1, samples: 2, seed: 3,
       params: {watermark: true}, model: mulerouter/qwen-image-max}
model: mulerouter/qwen-image-edit-max
images: ["{{ photo }}"]
prompt: "{{ light.text }}"
negative_prompt: blurry
size: 1024x1024
n: 2
samples: 3
seed: {derive: 42}
params: {prompt_extend: false, style: [a, 1, 0.5]}
budget: {limits: [90 USD, 5000 1min-credit]}
rates: {CNY: 0.14 USD}
prices: {1min/qwen-image-edit-plus: 105 1min-credit}
limits: {mulerouter: {rate: 10/s, in_flight: 20, unanswered: 4}}
retry: {attempts: 4}
on_doubt: write_off
dedicated: [mulerouter]
order: even
outputs: {path: "{{ room }}/{{ sample }}"}
"""


def load(text: str, *settings: tuple[str, str]) -> JobSpec:
    """The job of a text in spec.yaml."""
    return load_job(text, "spec.yaml", SCHEMA, settings)


def mistakes(text: str, *settings: tuple[str, str]) -> tuple[Mistake, ...]:
    """The mistakes of a text; none when it loads."""
    try:
        load(text, *settings)
    except SpecError as error:
        return error.mistakes
    return ()


def report(text: str, *settings: tuple[str, str]) -> str:
    """What a person would read."""
    return "\n".join(mistake.render() for mistake in mistakes(text, *settings))
