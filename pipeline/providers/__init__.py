"""Every gateway that pipeline can talk to: its name and the module that speaks its language."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pipeline.providers import dashscope, evolink, mulerouter, onemin
from pipeline.values.provider import Provider

#: Names as a spec writes them before the slash of a model: `mulerouter/qwen-image-max`.
GATEWAYS: Final[tuple[str, ...]] = ("mulerouter", "evolink", "1min", "dashscope")

#: {gateway name: its module}. Names are the gateways', so a module may be spelled differently.
PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {"mulerouter": mulerouter, "evolink": evolink, "1min": onemin, "dashscope": dashscope}
)
