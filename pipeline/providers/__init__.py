"""Every gateway that pipeline can talk to: its name and the module that speaks its language."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pipeline.providers import dashscope, evolink, mulerouter, onemin
from pipeline.values.provider import Provider

#: {gateway name, as a spec writes it before the slash of a model: its module, which may be spelled differently}
PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {"mulerouter": mulerouter, "evolink": evolink, "1min": onemin, "dashscope": dashscope}
)
