"""The vendor's own client, `dashscope` from PyPI, judges the emulator: it asks over HTTP, and its code gets its due.

It knows nothing of this project: its base URL is pointed to the server as its own documentation says.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar

import dashscope
import pytest
import requests
from dashscope.common.error import UploadFileException
from PIL import Image

from pipeline.runtime.serve import Server
from pipeline.simulator.faults import parse_faults
from pipeline.simulator.world import World

#: Its own types promise less than its answers hold.
ImageSynthesis: Any = dashscope.ImageSynthesis
MultiModalConversation: Any = dashscope.MultiModalConversation

KEY = "sk-of-a-test"
SHORT = {"latency_s": 0.0, "generation_s": 0.05}
#: PENDING for a tenth of it.
LONG = {"latency_s": 0.0, "generation_s": 600.0}
Told = TypeVar("Told")

pytestmark = pytest.mark.slow  # the client is a large package, and its waits are in real time


@pytest.fixture(autouse=True)
def _nowhere_but_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client may reach 127.0.0.1 and nothing else, and names no machine of ours in its headers."""
    connect = socket.socket.connect

    def here_only(self: socket.socket, address: Any) -> None:
        assert self.family not in {socket.AF_INET, socket.AF_INET6} or address[0] == "127.0.0.1", address
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", here_only)
    monkeypatch.setenv("DASHSCOPE_DISABLE_SDK_HEADERS", "1")
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(dashscope, "api_key", KEY)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A picture on this machine."""
    path = tmp_path / "hill.png"
    Image.linear_gradient("L").resize((600, 400)).save(path)
    return path


def served(
    ask: Callable[[], Told], monkeypatch: pytest.MonkeyPatch, faults: dict[str, Any] | None = None
) -> tuple[Told, World]:
    """What the client got from a world behind a port, and that world."""
    worlds: list[World] = []

    def make(links_base: str) -> World:
        worlds.append(World(1, parse_faults(faults or SHORT), links_base=links_base))
        return worlds[0]

    async def serve() -> Told:
        async with Server(make) as server:
            monkeypatch.setattr(dashscope, "base_http_api_url", f"http://127.0.0.1:{server.port}/dashscope/api/v1")
            return await asyncio.to_thread(ask)

    return asyncio.run(serve()), worlds[0]


def bill(world: World) -> dict[str, Any]:
    """The vendor's book."""
    gateways: Any = world.bill()["gateways"]
    return dict(gateways.get("dashscope", {}))


def size_of(link: str) -> tuple[int, int]:
    """Width and height of the picture behind a link."""
    answer = requests.get(link, timeout=10)
    assert answer.status_code == HTTPStatus.OK
    with Image.open(io.BytesIO(answer.content)) as picture:
        return picture.size


def images(answer: Any) -> list[str]:
    """The links of a call's answer, as the client's own classes hold them."""
    return [part["image"] for part in answer.output.choices[0].message.content if "image" in part]


def test_a_call_answers_with_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """MultiModalConversation.call: two pictures in one choice, the usage counts them, sizes on multiples of 16."""

    def ask() -> tuple[Any, list[tuple[int, int]]]:
        answer = MultiModalConversation.call(
            model="qwen-image-2.0",
            messages=[{"role": "user", "content": [{"text": "A red panda"}]}],
            n=2,
            size="1033*1032",
            negative_prompt="blur",
            prompt_extend=True,
            watermark=False,
            seed=7,
        )
        return answer, [size_of(link) for link in images(answer)]

    (answer, sizes), world = served(ask, monkeypatch)
    assert (answer.status_code, answer.code) == (HTTPStatus.OK, "")
    assert answer.request_id
    assert answer.output.choices[0].finish_reason == "stop"
    assert sizes == [(1040, 1024), (1040, 1024)]
    assert answer.usage["output_image_count"] == 2
    assert bill(world)["micros"] == 70_000


def test_a_local_file_goes_to_the_temporary_storage_first(monkeypatch: pytest.MonkeyPatch, photo: Path) -> None:
    """An edit with a path: the client gets a policy, posts its form to the storage and names `oss://`."""

    def ask() -> tuple[Any, list[tuple[int, int]]]:
        answer = MultiModalConversation.call(
            model="qwen-image-edit-plus",
            messages=[{"role": "user", "content": [{"image": f"file://{photo}"}, {"text": "in snow"}]}],
            n=2,
        )
        return answer, [size_of(link) for link in images(answer)]

    (answer, sizes), world = served(ask, monkeypatch)
    assert answer.status_code == HTTPStatus.OK, answer
    assert sizes == [(1248, 832), (1248, 832)]
    assert answer.usage["image_count"] == 2
    assert (bill(world)["uploads"], bill(world)["micros"]) == (1, 60_000)


def test_the_storage_being_away_is_an_exception_of_the_client(monkeypatch: pytest.MonkeyPatch, photo: Path) -> None:
    """503 from the storage: the client raises its own UploadFileException, and nothing is bought."""

    def ask() -> str:
        with pytest.raises(UploadFileException) as caught:
            MultiModalConversation.call(
                model="qwen-image-edit",
                messages=[{"role": "user", "content": [{"image": str(photo)}, {"text": "in snow"}]}],
            )
        return str(caught.value)

    message, world = served(ask, monkeypatch, {**SHORT, "server_error_upload": 1.0})
    assert "ServiceUnavailable" in message
    assert bill(world) == {}


def test_a_task_is_made_waited_for_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """ImageSynthesis: async_call, wait, fetch; its own ImageSynthesisResponse holds url, prompts and usage."""

    def ask() -> tuple[Any, Any, Any, tuple[int, int]]:
        begun = ImageSynthesis.async_call(
            model="qwen-image-plus", prompt="A red panda", negative_prompt="blur", n=1, size="1328*1328", seed=3
        )
        ended = ImageSynthesis.wait(begun)
        return begun, ended, ImageSynthesis.fetch(begun), size_of(ended.output.results[0].url)

    (begun, ended, fetched, size), world = served(ask, monkeypatch)
    assert (begun.status_code, begun.output.task_status) == (HTTPStatus.OK, "PENDING")
    assert ended.output.task_status == fetched.output.task_status == "SUCCEEDED"
    assert ended.output.task_id == begun.output.task_id
    (result,) = ended.output.results
    assert (result["orig_prompt"], result["actual_prompt"].startswith("A red panda ")) == ("A red panda", True)
    assert ended.usage.image_count == 1
    assert size == (1328, 1328)
    assert bill(world)["micros"] == 30_000


def test_call_is_all_of_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """ImageSynthesis.call makes the task and waits for its end."""
    answer, world = served(lambda: ImageSynthesis.call(model="qwen-image", prompt="A fox"), monkeypatch)
    assert answer.output.task_status == "SUCCEEDED"
    assert bill(world)["micros"] == 35_000


@pytest.mark.parametrize(("fault", "code"), [("failed", "InternalError.Algo"), ("moderated", "DataInspectionFailed")])
def test_a_task_that_failed_tells_its_code(monkeypatch: pytest.MonkeyPatch, fault: str, code: str) -> None:
    """The client ends its wait with FAILED, and finds code and message in the output."""
    answer, world = served(
        lambda: ImageSynthesis.call(model="qwen-image", prompt="A fox"), monkeypatch, {**SHORT, fault: 1.0}
    )
    assert (answer.status_code, answer.output.task_status, answer.output["code"]) == (HTTPStatus.OK, "FAILED", code)
    assert bill(world)["micros"] == 0


def test_a_pending_task_is_cancelled_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancel answers with a bare request id, a second one with UnsupportedOperation; the task is CANCELED, unbilled."""

    def ask() -> tuple[Any, ...]:
        begun = ImageSynthesis.async_call(model="qwen-image", prompt="A fox")
        pending = ImageSynthesis.fetch(begun)
        return pending, ImageSynthesis.cancel(begun), ImageSynthesis.cancel(begun), ImageSynthesis.wait(begun)

    (pending, first, second, ended), world = served(ask, monkeypatch, LONG)
    assert pending.output.task_status == "PENDING"
    assert (first.status_code, bool(first.request_id)) == (HTTPStatus.OK, True)
    assert (second.status_code, second.code) == (HTTPStatus.BAD_REQUEST, "UnsupportedOperation")
    assert ended.output.task_status == "CANCELED"
    assert (bill(world)["micros"], bill(world)["failed"]) == (0, 1)


def test_tasks_are_listed_in_pages_and_by_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """ImageSynthesis.list: pages, totals, filters; every task is in exactly one page."""

    def ask() -> tuple[Any, ...]:
        made = [ImageSynthesis.async_call(model="qwen-image", prompt=f"Fox {index}") for index in range(5)]
        made.append(ImageSynthesis.async_call(model="qwen-image-plus", prompt="A fox"))
        ImageSynthesis.cancel(made[0])
        ids = [each.output.task_id for each in made]
        pages = [ImageSynthesis.list(model_name="qwen-image", page_no=page, page_size=2) for page in (1, 2, 3)]
        canceled = ImageSynthesis.list(status="CANCELED")
        long_ago = ImageSynthesis.list(start_time="20230420000000", end_time="20230420010000")
        refused = ImageSynthesis.list(start_time="20230420000000", end_time="20230422000000")
        return ids, pages, canceled, long_ago, refused

    (ids, pages, canceled, long_ago, refused), _ = served(ask, monkeypatch, LONG)
    assert [page.output["total"] for page in pages] == [5, 5, 5]
    assert [page.output["total_page"] for page in pages] == [3, 3, 3]
    assert sorted(row["task_id"] for page in pages for row in page.output["data"]) == sorted(ids[:5])
    assert [row["task_id"] for row in canceled.output["data"]] == [ids[0]]
    assert long_ago.output["data"] == []
    assert (refused.status_code, refused.code) == (HTTPStatus.BAD_REQUEST, "InvalidParameter")


def test_an_unknown_task_is_unknown_with_status_200(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's wait ends at once: UNKNOWN is one of its last states."""
    answer, _ = served(lambda: ImageSynthesis.wait("3c90c3cc-0d44-4b50-8888-8dd25736052a"), monkeypatch)
    assert (answer.status_code, answer.output.task_status) == (HTTPStatus.OK, "UNKNOWN")


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"n": 2}, 400, "InvalidParameter"),
        ({"size": "1024*1024"}, 400, "InvalidParameter"),
        ({"model": "qwen-image-edit"}, 400, "InvalidParameter"),
        ({"model": "qwen-image-edit", "image": "oss://no/such"}, 400, "InvalidParameter"),
        ({"model": "qwen-image-mini"}, 404, "ModelNotFound"),
        ({"api_key": " "}, 401, "InvalidApiKey"),
        ({"headers": {"X-DashScope-Async": "enable"}}, 403, "AccessDenied"),
    ],
)
def test_refusals_reach_the_client_with_their_code(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any], status: int, code: str
) -> None:
    """A refusal is no exception of the client: it is a response with status, code, message and request id."""
    image = [{"image": asked["image"]}] if "image" in asked else []
    more = {name: value for name, value in asked.items() if name != "image"}
    messages = [{"role": "user", "content": [*image, {"text": "x"}]}]
    answer, world = served(
        lambda: MultiModalConversation.call(**{"model": "qwen-image-max", "messages": messages, **more}), monkeypatch
    )
    assert (answer.status_code, answer.code) == (status, code)
    assert answer.message
    assert answer.request_id
    assert bill(world) == {}


def test_the_client_sends_a_lost_post_again_which_is_why_ours_is_not_its(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken connection: the client repeats the POST by itself, and two calls were taken on."""

    def ask() -> Any:
        return MultiModalConversation.call(
            model="qwen-image-max", messages=[{"role": "user", "content": [{"text": "A fox"}]}]
        )

    answer, world = served(ask, monkeypatch, {**SHORT, "cut_after": {"first": 1}})
    assert answer.status_code == HTTPStatus.OK
    assert bill(world)["accepted"] == 2


@pytest.fixture(autouse=True)
def _sessions_of_its_own() -> Iterator[None]:
    """The client keeps connections between calls; each test has a server of its own."""
    yield
    from dashscope.api_entities import http_request

    shared = getattr(http_request, "_shared_sync_session", None)
    if shared is not None:
        shared.close()
