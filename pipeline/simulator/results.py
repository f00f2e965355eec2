"""What a simulated gateway gives back in the end: the picture behind a result link, and what befalls it on the way."""

from __future__ import annotations

from pipeline.simulator.books import Books
from pipeline.simulator.exchange import Exchange, page_response
from pipeline.simulator.orders import Operation
from pipeline.simulator.pixels import Scene, draw
from pipeline.values.wire import Response


def picture(books: Books, operation: Operation, index: int, delay_s: float, now: float) -> Exchange:
    """One picture of an operation that has ended, for a link that was found to be in order; else a page with 404."""
    if not 0 <= index < operation.billed_images(now):
        return Exchange(delay_s, page_response(404, "Not found"))
    prompt, occasion = operation.order.prompt, f"{operation.id}/{index}/{now:.3f}"
    if books.strikes("server_error_download", occasion, prompt):
        return Exchange(delay_s, page_response(503, "Service unavailable"))
    if books.strikes("page_picture", occasion, prompt):
        return Exchange(delay_s, page_response(200, "One moment, please"))
    wrong = books.strikes("wrong_size_picture", occasion, prompt)
    data = draw(scene(books, operation, index, wrong_size=wrong))
    if books.strikes("truncated_picture", occasion, prompt):
        data = data[: len(data) // 2]
    cut = books.strikes("cut_download", occasion, prompt)
    return Exchange(delay_s, Response(200, data, {"content-type": "image/png"}), "mid" if cut else "none")


def scene(books: Books, operation: Operation, index: int, *, wrong_size: bool = False) -> Scene:
    """What is drawn for one picture of an operation."""
    order = operation.order
    seed = str(order.seed) if order.seed is not None else f"random {operation.id}"
    return Scene(
        width=order.width // 2 if wrong_size else order.width,
        height=order.height // 2 if wrong_size else order.height,
        prompt=order.prompt,
        negative_prompt=order.negative_prompt,
        model=order.model,
        seed=seed,
        index=index,
        count=operation.images,
        inputs=tuple(books.pictures[digest].thumbnail for digest in order.inputs),
        edits=bool(order.inputs),
    )
