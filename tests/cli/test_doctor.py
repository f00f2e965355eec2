"""`doctor` against the emulators over HTTP: what is set, where from, and who answers."""

from __future__ import annotations

import asyncio
import platform
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from yarl import URL

from pipeline.cli.doctor import _lines, here, here_line, verdict
from pipeline.cli.exits import Exit
from pipeline.cli.main import version
from pipeline.runtime import doctor, prepare, serve
from pipeline.runtime.doctor import GatewayHealth, Health
from pipeline.runtime.serve import Server
from pipeline.transport.memory import World, open_world
from pipeline.transport.probe import probe
from tests.transport.servers import free_port, http, mute_server, raw_server

CANARY = "canary-key-0815-doctor"


@asynccontextmanager
async def emulators() -> AsyncIterator[dict[str, str]]:
    """The variables that lead to them."""

    def make(links_base: str) -> World:
        return open_world(None, links_base=links_base)

    async with Server(make) as server:
        yield {**serve.environment(server.port), "HTTPS_PROXY": "http://proxy.example:3128"}


async def looked(
    environ: dict[str, str], dotenv: dict[str, str] | None = None
) -> tuple[Health, dict[str, GatewayHealth]]:
    """What doctor finds, and its gateways by name."""
    health = await asyncio.to_thread(doctor.look, environ, dotenv or {}, prepare.cards_in({}))
    return health, {gateway.name: gateway for gateway in health.gateways}


async def test_every_gateway_is_asked_at_all_its_addresses_and_says_what_its_meter_says() -> None:
    """All four answer, with any key; Evolink has a meter; nothing was bought; a proxy is named and not used."""
    async with emulators() as environ:
        health, gateways = await looked(environ)
    assert set(gateways) == {"mulerouter", "evolink", "1min", "dashscope"}
    for gateway in gateways.values():
        assert gateway.has_key
        assert gateway.wrong == ""
        assert all(each.answers and each.said_by for each in gateway.addresses), gateway
    assert [each.base for each in gateways["evolink"].addresses] == ["", "files"]
    assert "evolink-credit used" in gateways["evolink"].meter
    assert health.proxies == ("HTTPS_PROXY",)
    assert health.skew_s is not None
    assert abs(health.skew_s) < 5
    assert verdict(health) is Exit.COMPLETE
    assert "set, and ignored" in "\n".join(_lines(health))


async def test_a_key_is_told_by_its_place_and_never_shown(tmp_path: Path) -> None:
    """From a variable, a file, or `.env`; one that is not set is named."""
    file = tmp_path / "key"
    file.write_text(CANARY)
    async with emulators() as environ:
        environ["EVOLINK_API_KEY"] = CANARY
        del environ["ONEMIN_API_KEY"], environ["DASHSCOPE_API_KEY"], environ["MULEROUTER_API_KEY"]
        environ["ONEMIN_API_KEY_FILE"] = str(file)
        health, gateways = await looked(environ, {"DASHSCOPE_API_KEY": CANARY})
    told = {name: gateway.key for name, gateway in gateways.items()}
    assert told == {
        "evolink": "from EVOLINK_API_KEY",
        "1min": "from the file that ONEMIN_API_KEY_FILE names",
        "dashscope": "from DASHSCOPE_API_KEY in .env",
        "mulerouter": "not set: MULEROUTER_API_KEY",
    }
    assert CANARY[:6] not in "\n".join(_lines(health)) + repr(health)


async def test_what_a_run_would_refuse_is_2_and_what_does_not_answer_is_6() -> None:
    """A key that is none and an address that may not be used; a port where nobody is. Without a key it is no matter."""
    nobody = f"http://127.0.0.1:{free_port()}"
    dead = {"MULEROUTER_BASE_URL": nobody, "MULEROUTER_API_KEY": "k"}
    async with emulators() as environ:
        health, gateways = await looked({**environ, **dead})
        assert not gateways["mulerouter"].addresses[0].answers
        assert verdict(health) is Exit.PARKED
        health, _ = await looked({**environ, **dead, "MULEROUTER_API_KEY": ""})
        assert verdict(health) is Exit.COMPLETE
        for broken in ({"EVOLINK_API_KEY": "two words"}, {"EVOLINK_FILES_BASE_URL": "http://files.example"}):
            health, gateways = await looked({**environ, **broken})
            assert gateways["evolink"].wrong
            assert verdict(health) is Exit.INVALID


async def test_without_any_key_or_any_answer_nothing_is_well() -> None:
    """No key at all is 2, as it is for a run; nobody anywhere is 6; and a 404 vouches for nothing."""
    async with emulators() as environ:
        keyless = {name: "" if name.endswith("_API_KEY") else value for name, value in environ.items()}
        health, gateways = await looked(keyless)
        assert verdict(health) is Exit.INVALID
        assert "none is set" in "\n".join(_lines(health))
        found = gateways["mulerouter"].addresses[0].found
        assert "404" in found
        assert "only a call with a key shows" in found
        nobody = f"http://127.0.0.1:{free_port()}"
        health, _ = await looked({name: nobody if "BASE_URL" in name else v for name, v in environ.items()})
        assert verdict(health) is Exit.PARKED
        health, _ = await looked({name: nobody if "BASE_URL" in name else "" for name in environ})
        assert verdict(health) is not Exit.COMPLETE


async def test_a_probe_carries_no_key_follows_nothing_and_does_not_wait_for_ever() -> None:
    """Any status is an answer; silence is not."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() - 3600))
    answer = http("302 Found", b"", "Location: http://127.0.0.1:9/", f"Date: {date}")
    async with raw_server(lambda _: answer) as seen:
        found = await probe(URL(f"http://127.0.0.1:{seen.port}/v1"), "agent/1")
    assert found.status == 302
    assert found.date_s == pytest.approx(time.time() - 3600, abs=5)
    ((head, _),) = seen.requests
    assert "authorization" not in head.lower()
    assert "agent/1" in head
    async with mute_server() as silent:
        gone = await probe(URL(f"http://127.0.0.1:{silent.port}/"), "agent/1", timeout_s=0.05)
    assert (gone.status, gone.why) == (0, "nothing came within 0.05 s")


def test_doctor_says_what_runs_here_and_how_old_the_prices_are() -> None:
    """Version, Python and the dates of the price table: the first things that a question from afar is answered with."""
    found = here()
    assert found["version"] == version()
    assert found["python"] == platform.python_version()
    assert re.fullmatch(r"\d{4}-\d{2}(-\d{2})?", found["prices_from"])
    assert found["prices_from"] <= found["prices_to"]
    assert here_line().startswith(f"pipeline  {found['version']} on Python {found['python']}; prices read 20")
