"""Uploads: each picture once for a gateway and account, however many want it, and again only when it is gone."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from PIL import Image

from pipeline.runtime.clock import VirtualClock, run_virtual
from pipeline.runtime.pictures import to_png
from pipeline.runtime.placements import NotPlaced, Placements
from pipeline.transport.addresses import AddressGuard, unfit_location
from pipeline.values.provider import CarriedBytes, Placed, UploadFailed, UploadStep
from pipeline.values.reply import Fault, FaultKind
from pipeline.values.rows import Placement
from pipeline.values.task import InlineInput, LocalInput, Picture, Task
from pipeline.values.wire import Answered, Outcome, Request, Response
from tests.engine.worlds import task as plain_task
from tests.plan.jobs import CARDS

GATEWAY = CARDS["mulerouter"]
MODELS = {
    name: replace(model, pictures=None if model.pictures is None else replace(model.pictures, carry="upload"))
    for name, model in GATEWAY.models.items()
}
DAY = 86_400.0


def picture(name: str, media_type: str = "image/jpeg", size_bytes: int = 100) -> Picture:
    """A picture by its name."""
    return Picture(hashlib.sha256(name.encode()).hexdigest(), media_type, size_bytes, 512, 512)


def task(number: int, *names: str, model: str = "qwen-image-edit-max") -> Task:
    """A task with these pictures."""
    inputs = tuple(LocalInput(f"{name}.jpg", picture(name)) for name in names)
    return replace(plain_task(number), gateway="mulerouter", model=model, inputs=inputs)


@dataclass
class Gateway:
    """A provider and a door in one: it keeps what was uploaded, and fails as it is told."""

    #: What each upload in turn fails with; None: it works.
    faults: list[Fault | None] = field(default_factory=list)
    lives_s: float | None = DAY
    uploaded: list[tuple[str, str, str]] = field(default_factory=list)
    at_once: int = 0
    most: int = 0
    key: str = "one"
    #: Where everything is said to stand; empty: each upload at a place of its own.
    location: str = ""

    def upload(self, model: str, asset: CarriedBytes, name: str, told: Sequence[Outcome]) -> UploadStep:
        """One request, then the end."""
        if not told:
            return Request("mulerouter", "POST", "/upload", asset.data, free=True)
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None:
            return UploadFailed(fault)
        self.uploaded.append((model, asset.media_type, name))
        return Placed(self.location or f"https://files.example/{len(self.uploaded)}/{name}", self.lives_s)

    async def exchange(self, request: Request, *, timeout_s: float, body_max: int = 0) -> Outcome:
        """It takes a second."""
        del request, timeout_s, body_max
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(1.0)
        self.at_once -= 1
        return Answered(Response(200, b"", {}))

    def unfit(self, gateway: str, location: str) -> str:
        """A gateway on the Internet."""
        del gateway
        return unfit_location(location, AddressGuard(loopback=False))

    def account(self, gateway: str) -> str:
        """Whose key it is."""
        del gateway
        return self.key


@dataclass
class Desk:
    """Placements with everything around them."""

    gateway: Gateway
    clock: VirtualClock
    known: list[Placement] = field(default_factory=list)
    scope: str = "account"
    kept: list[Placement] = field(default_factory=list)

    def __post_init__(self) -> None:
        """A new process."""
        card = replace(GATEWAY, models=MODELS, placement_scope=self.scope)  # type: ignore[arg-type]  # of the two words
        self.it = Placements(
            door=self.gateway,  # type: ignore[arg-type]  # as much of a door as uploads need
            providers={"mulerouter": self.gateway},  # type: ignore[dict-item]  # likewise
            cards={"mulerouter": card},
            clock=self.clock,
            data=self._data,
            keep=self._keep,
            known=self.known,
        )

    async def _data(self, source: LocalInput | InlineInput) -> bytes:
        return source.uri.encode()

    def _keep(self, placement: Placement) -> asyncio.Future[None]:
        self.kept.append(placement)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def place(self, *tasks: Task) -> None:
        """As the driver does: all at once."""
        works = [work for one in tasks for work in self.it.missing(one)]
        await asyncio.gather(*(work() for work in works))

    def location(self, one: Task) -> str:
        """What a submit would name for its first picture."""
        source = one.inputs[0]
        assert isinstance(source, LocalInput)
        return self.it.location(one, source)


def virtual(work: Callable[[VirtualClock], Coroutine[Any, Any, None]]) -> None:
    """Run in virtual time."""
    run_virtual(work)


def test_many_tasks_at_once_upload_a_picture_once() -> None:
    """Fifty tasks want two pictures: two uploads, and never more at once than allowed."""

    async def work(clock: VirtualClock) -> None:
        desk = Desk(Gateway(), clock)
        tasks = [task(number, "fox", "owl") for number in range(50)]
        assert not desk.it.ready(tasks[0])
        await desk.place(*tasks)
        assert all(map(desk.it.ready, tasks))
        assert len(desk.gateway.uploaded) == len(desk.kept) == 2
        assert len({desk.location(one) for one in tasks}) == 1
        await desk.place(*(task(60 + number, f"picture {number}") for number in range(20)))
        assert len(desk.gateway.uploaded) == 22
        assert desk.gateway.most <= 4

    virtual(work)


def test_a_picture_is_named_by_its_content_and_never_by_its_path() -> None:
    """No name of a user's folder leaves the machine."""

    async def work(clock: VirtualClock) -> None:
        desk = Desk(Gateway(), clock)
        await desk.place(task(0, "my secret trip"))
        ((_, _, name),) = desk.gateway.uploaded
        assert name == f"{picture('my secret trip').sha256[:24]}.jpg"

    virtual(work)


def test_the_next_process_goes_on_with_what_stands_and_another_account_does_not() -> None:
    """Known placements are used as they are; those of another key, and expired ones, are not."""

    async def work(clock: VirtualClock) -> None:
        first = Desk(Gateway(), clock)
        await first.place(task(0, "fox"))
        second = Desk(Gateway(), clock, known=first.kept)
        await second.place(task(0, "fox"))
        assert second.gateway.uploaded == []
        assert second.location(task(0, "fox")) == first.location(task(0, "fox"))
        stranger = Desk(Gateway(key="two"), clock, known=first.kept)
        await stranger.place(task(0, "fox"))
        assert len(stranger.gateway.uploaded) == 1
        await clock.until(clock.now() + DAY)
        later = Desk(Gateway(), clock, known=first.kept)
        assert not later.it.ready(task(0, "fox"))

    virtual(work)


@pytest.mark.parametrize(("scope", "uploads"), [("account", 1), ("model", 2)])
def test_an_upload_that_is_bound_to_its_model_is_made_for_each(scope: str, uploads: int) -> None:
    """*Source* - DashScope's page on temporary URLs: bound to account and model."""

    async def work(clock: VirtualClock) -> None:
        desk = Desk(Gateway(), clock, scope=scope)
        await desk.place(task(0, "fox"), task(1, "fox", model="qwen-image-edit-plus"))
        assert len(desk.gateway.uploaded) == uploads

    virtual(work)


def test_it_is_uploaded_again_half_an_hour_before_it_expires_and_not_earlier() -> None:
    """The gateway reads it after the call: what is about to go is not named."""

    async def work(clock: VirtualClock) -> None:
        desk, one = Desk(Gateway(), clock), task(0, "fox")
        await desk.place(one)
        await clock.until(clock.now() + DAY - 1801 - 1)
        await desk.place(one)
        assert len(desk.gateway.uploaded) == 1
        await clock.until(clock.now() + 10)
        assert not desk.it.ready(one)
        with pytest.raises(NotPlaced, match="uploaded again first"):
            desk.location(one)
        await desk.place(one)
        assert len(desk.gateway.uploaded) == 2

    virtual(work)


def test_what_the_gateway_no_longer_has_is_forgotten_and_uploaded_again() -> None:
    """Here and in the store, where an empty location erases it."""

    async def work(clock: VirtualClock) -> None:
        desk, one = Desk(Gateway(lives_s=None), clock), task(0, "fox")
        await desk.place(one)
        desk.it.gone(one)
        assert (desk.kept[-1].sha256, desk.kept[-1].location) == (desk.kept[0].sha256, "")
        assert not desk.it.ready(one)
        await desk.place(one)
        assert len(desk.gateway.uploaded) == 2

    virtual(work)


BUSY = Fault(FaultKind.TRANSIENT, "try again later")


def test_a_failure_of_the_moment_is_tried_again_without_telling_anybody() -> None:
    """Two 503 and a broken connection: the picture stands a few seconds later."""

    async def work(clock: VirtualClock) -> None:
        desk, one = Desk(Gateway([BUSY, replace(BUSY, kind=FaultKind.TIMEOUT), BUSY]), clock), task(0, "fox")
        began = clock.now()
        await desk.place(one)
        assert desk.it.ready(one)
        assert desk.location(one)
        assert clock.now() - began < 30

    virtual(work)


def test_a_wait_that_the_gateway_asks_for_is_kept() -> None:
    """Retry-After counts for uploads too."""

    async def work(clock: VirtualClock) -> None:
        desk = Desk(Gateway([replace(BUSY, retry_after_s=40.0)]), clock)
        began = clock.now()
        await desk.place(task(0, "fox"))
        assert 40 <= clock.now() - began < 50

    virtual(work)


def test_a_gateway_that_stays_away_lets_the_money_go_after_two_minutes() -> None:
    """The task is let through to say so, once; the next try starts anew."""

    async def work(clock: VirtualClock) -> None:
        desk, one = Desk(Gateway([BUSY] * 100), clock), task(0, "fox")
        began = clock.now()
        await desk.place(one)
        assert clock.now() - began <= 150
        assert desk.it.ready(one)
        with pytest.raises(NotPlaced) as caught:
            desk.location(one)
        assert caught.value.fault == BUSY
        desk.gateway.faults.clear()
        assert not desk.it.ready(one)
        await desk.place(one)
        assert desk.location(one)

    virtual(work)


@pytest.mark.parametrize("kind", [FaultKind.REJECTED, FaultKind.UNAUTHORIZED, FaultKind.OUT_OF_CREDIT])
def test_a_definite_failure_is_not_tried_again(kind: FaultKind) -> None:
    """Every task with this picture hears of it, and the gateway is asked once."""

    async def work(clock: VirtualClock) -> None:
        desk, tasks = Desk(Gateway([Fault(kind, "no")]), clock), [task(number, "fox") for number in range(3)]
        await desk.place(*tasks)
        for one in tasks:
            with pytest.raises(NotPlaced, match="no"):
                desk.location(one)
            assert desk.it.missing(one) == []
        assert desk.gateway.uploaded == []

    virtual(work)


@pytest.mark.parametrize(
    ("carry", "bound", "uploads"), [("inline", None, 0), ("upload", None, 1), ("auto", 100, 0), ("auto", 99, 1)]
)
def test_only_what_the_card_says_travels_by_an_upload(carry: str, bound: int | None, uploads: int) -> None:
    """With `auto` the size decides: what fits into the body goes there."""

    async def work(clock: VirtualClock) -> None:
        desk = Desk(Gateway(), clock)
        model = MODELS["qwen-image-edit-max"]
        assert model.pictures is not None
        rule = replace(model.pictures, carry=carry, inline_bytes_max=bound)  # type: ignore[arg-type]  # of the three words
        card = replace(GATEWAY, models={model.name: replace(model, pictures=rule)})
        desk.it._cards = {"mulerouter": card}
        assert len(desk.it.uploads(task(0, "fox"))) == uploads

    virtual(work)


@pytest.mark.parametrize(("form", "mode"), [("BMP", "RGB"), ("TIFF", "RGBA"), ("TIFF", "CMYK"), ("GIF", "P")])
def test_a_picture_that_an_upload_does_not_take_is_the_same_picture_as_png(form: str, mode: str) -> None:
    """No pixel changes where PNG has the mode; other modes become RGB."""
    made = io.BytesIO()
    image = Image.linear_gradient("L").resize((40, 30)).convert(mode)
    image.save(made, form)
    with Image.open(io.BytesIO(to_png(made.getvalue()))) as png:
        assert (png.format, png.size) == ("PNG", (40, 30))
        assert png.convert("RGB").tobytes() == image.convert("RGB").tobytes()


def test_a_damaged_picture_is_no_png() -> None:
    """It is refused with a sentence."""
    made = io.BytesIO()
    Image.linear_gradient("L").save(made, "BMP")
    with pytest.raises(ValueError, match="cut short or damaged"):
        to_png(made.getvalue()[:900])


@pytest.mark.parametrize(("most", "placed"), [(0, True), (1, False)])
def test_what_a_picture_became_is_held_to_the_models_limit_too(most: int, placed: bool) -> None:  # noqa: FBT001 - a row of the table
    """A TIFF of few bytes may be a PNG of many: it is refused before it is uploaded, for good, with both numbers."""
    made = io.BytesIO()
    Image.effect_noise((64, 64), 200).save(made, "BMP")
    became = to_png(made.getvalue())

    async def data(_source: LocalInput | InlineInput) -> bytes:
        return made.getvalue()

    async def work(clock: VirtualClock) -> None:
        desk = Desk(Gateway(), clock)
        desk.it._data = data
        model = MODELS["qwen-image-edit-max"]
        assert model.pictures is not None
        rule = replace(model.pictures, size_bytes_max=len(became) - most)
        desk.it._cards = {"mulerouter": replace(GATEWAY, models={model.name: replace(model, pictures=rule)})}
        source = LocalInput("fox.bmp", picture("fox", "image/bmp"), sent_as="image/png")
        one = replace(task(0), inputs=(source,))
        await desk.place(one)
        assert len(desk.gateway.uploaded) == placed
        if not placed:
            with pytest.raises(NotPlaced) as caught:
                desk.location(one)
            assert caught.value.fault.kind is FaultKind.REJECTED
            assert f"{len(became)} bytes" in caught.value.fault.message
            assert f"at most {len(became) - 1} bytes" in caught.value.fault.message

    virtual(work)


def test_a_picture_that_is_converted_is_uploaded_as_what_it_became() -> None:
    """The type, the ending and the bytes are those of the PNG."""
    made = io.BytesIO()
    Image.linear_gradient("L").save(made, "BMP")

    async def work(clock: VirtualClock) -> None:
        desk = Desk(Gateway(), clock)

        async def data(_source: LocalInput | InlineInput) -> bytes:
            return made.getvalue()

        desk.it._data = data
        source = LocalInput("fox.bmp", picture("fox", "image/bmp"), sent_as="image/png")
        await desk.place(replace(task(0), inputs=(source,)))
        ((_, media_type, name),) = desk.gateway.uploaded
        assert (media_type, name[-4:]) == ("image/png", ".png")

    virtual(work)


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/fox.png",
        "https://[::1]/fox.png",
        "http://localhost/fox.png",
        "file:///etc/passwd",
    ],
)
def test_a_location_that_no_call_may_name_ends_after_three_uploads_and_is_named(location: str) -> None:
    """A gateway's own file service must not make us point a paid call into its network: few tries, loud, and final."""

    async def work(clock: VirtualClock) -> None:
        desk = Desk(Gateway(location=location), clock)
        one = task(0, "fox")
        await desk.place(one)
        for _ in range(3):
            with pytest.raises(NotPlaced) as caught:
                desk.location(one)
            await desk.place(one)
        assert len(desk.gateway.uploaded) == 3
        assert desk.kept == []
        fault = caught.value.fault
        assert fault.kind is FaultKind.REJECTED
        assert location in fault.message

    virtual(work)


def test_a_location_s_signature_and_user_are_not_told() -> None:
    """What is refused is named without what makes it a secret."""

    async def work(clock: VirtualClock) -> None:
        desk = Desk(Gateway(location="https://me:hush@10.0.0.1/fox.png?Signature=hush"), clock)
        await desk.place(task(0, "fox"))
        with pytest.raises(NotPlaced) as caught:
            desk.location(task(0, "fox"))
        assert "10.0.0.1/fox.png" in caught.value.fault.message
        assert "hush" not in caught.value.fault.message

    virtual(work)
