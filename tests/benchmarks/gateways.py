"""Two vendors' languages as far as a healthy run needs them, written from their manuals: pure functions over bytes.

Nothing of the product is imported: a shared mistake would agree with itself.

*Source* - MuleRouter: API page of qwen-image-max; DashScope: page on image editing and the Qwen image API, 2026-11.
"""

from __future__ import annotations

from typing import Final

#: Where DashScope's synchronous models answer with their pictures; its base URL ends in /api/v1.
DASHSCOPE_CALL: Final = b"/api/v1/services/aigc/multimodal-generation/generation"
#: MuleRouter's models: `.../MODEL/generation`, and the same with `/ID` behind it for a poll.
MULEROUTER_MODELS: Final = b"/vendors/alibaba/v1/"
_GENERATION: Final = b"/generation"
#: What other tools speak: one call that answers with words. Only peers use it.
CHAT: Final = b"/v1/chat/completions"
PICTURES: Final = b"/pictures/"


def operation_id(number: int) -> str:
    """A UUID as vendors hand them out, told from a counter, so that it costs nothing."""
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def number_of(operation: bytes) -> int | None:
    """The counter in an operation's id; None for an id that was never handed out."""
    try:
        return int(operation[-12:], 16)
    except ValueError:
        return None


def is_submit(path: bytes) -> bool:
    """Whether a POST to this path makes a MuleRouter operation."""
    return path.startswith(MULEROUTER_MODELS) and path.endswith(_GENERATION)


def polled_id(path: bytes) -> bytes | None:
    """The operation that a GET of this path asks about; None when it is no poll."""
    if not path.startswith(MULEROUTER_MODELS):
        return None
    model, _, operation = path.rpartition(b"/")
    return operation if model.endswith(_GENERATION) else None


def accepted(operation: str) -> bytes:
    """MuleRouter's answer to a submit."""
    return b'{"task_info":{"id":"%s","status":"pending","created_at":"2026-11-21T00:00:00Z"}}' % operation.encode()


def running(operation: bytes) -> bytes:
    """MuleRouter's answer to a poll of what is not done yet."""
    return b'{"task_info":{"id":"%s","status":"processing"}}' % operation


def completed(operation: bytes, link: bytes) -> bytes:
    """MuleRouter's answer to a poll of what is done."""
    return b'{"task_info":{"id":"%s","status":"completed"},"images":["%s"]}' % (operation, link)


def unknown_operation() -> bytes:
    """MuleRouter's 404."""
    return b'{"code":404,"title":"Not Found","detail":"task not found"}'


def made(request_id: str, link: bytes, width: int, height: int) -> bytes:
    """DashScope's answer to a synchronous call: the picture's link, the bill, the request's id."""
    return (
        b'{"output":{"choices":[{"finish_reason":"stop","message":{"role":"assistant","content":[{"image":"%s"}]}}]},'
        b'"usage":{"width":%d,"height":%d,"image_count":1},"request_id":"%s"}'
        % (link, width, height, request_id.encode())
    )


def chatted(number: int) -> bytes:
    """An answer as OpenAI's chat completions give it, which every peer understands."""
    return (
        b'{"id":"chatcmpl-%d","object":"chat.completion","created":1795000000,"model":"gpt-4o-mini","choices":[{"index":0,'
        b'"message":{"role":"assistant","content":"made %d"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}' % (number, number)
    )
