"""Identity: what is sent makes a task's id, and what is asked makes its derived seed."""

from __future__ import annotations

import json
from typing import Final

from pipeline.values.digest import JSON, canonical_json, sha256_hex

#: Raised when the meaning of an operation changes, so that its tasks are bought anew.
OPERATION_VERSION: Final = 1
SEED_MASK: Final = 0x7FFF_FFFF

_quote = json.encoder.encode_basestring


def json_of(value: JSON) -> str:
    """Canonical JSON as text, for the parts of an identity."""
    return canonical_json(value).decode()


def json_text(text: str | None) -> str:
    """Canonical JSON of a text or null, at C speed."""
    return "null" if text is None else _quote(text)


def asked_digest(  # noqa: PLR0917 - one piece per field of the identity, in the order of the law
    root: int,
    operation: str,
    prompt: str,
    negative_prompt: str,
    inputs: str,
    params: str,
    size: str,
    n: int,
    sample: int,
) -> int:
    """A derived seed: a digest of what is asked, without gateway and model, cut to 31 bits. Texts are JSON already.

    *Source* - the spec language, Seeds: the same picture can be compared across models, and no other seed moves when
    rows or axes are added.
    """
    whole = (
        f'{{"inputs":{inputs},"n":{n},"negative_prompt":{negative_prompt},"operation":{operation},"params":{params},'
        f'"prompt":{prompt},"root":{root},"sample":{sample},"size":{size}}}'
    )
    return int(sha256_hex(whole.encode())[:8], 16) & SEED_MASK


def task_id(  # noqa: PLR0917 - one piece per field of the identity
    gateway: str,
    model: str,
    operation: str,
    prompt: str,
    negative_prompt: str,
    inputs: str,
    params: str,
    size: str,
    n: int,
    seed_rule: str,
    seed: int | None,
    sample: int,
) -> str:
    """A task's id: SHA-256 of canonical JSON, written by hand as it is made a million times. Texts are JSON."""
    whole = (
        f'{{"gateway":{gateway},"inputs":{inputs},"model":{model},"n":{n},"negative_prompt":{negative_prompt},'
        f'"operation":{operation},"params":{params},"prompt":{prompt},"sample":{sample},'
        f'"seed":{"null" if seed is None else seed},"seed_rule":{seed_rule},"size":{size},'
        f'"version":{OPERATION_VERSION}}}'
    )
    return sha256_hex(whole.encode())
