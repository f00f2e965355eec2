"""How each gateway's answers look, for the fuzz: honest shapes with places that something odd may stand in.

In a shape "ID", "STATUS", "IMAGES", "ERROR" and "DETAIL" are places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from pipeline.plan.catalog import read_card
from pipeline.providers import dashscope, evolink, mulerouter, onemin
from pipeline.values.card import GatewayCard
from pipeline.values.provider import Provider
from pipeline.values.task import Price, Task

_CARDS: Final = Path(__file__).parents[2] / "schemas" / "gateways"


@dataclass(frozen=True)
class Tongue:
    """One gateway's module, and what its answers are made of."""

    module: Provider
    card: GatewayCard
    #: The call that is answered.
    task: Task
    #: An id as the vendor makes them.
    identity: str
    states: tuple[str, ...]
    shapes: tuple[str, ...]
    keys: tuple[str, ...]
    #: Header names that its module reads, beside the usual ones.
    headers: tuple[str, ...]
    #: An accepted or honest object, without its closing brace.
    start: bytes


def card(name: str) -> GatewayCard:
    """The shipped card of a gateway."""
    return read_card((_CARDS / f"{name}.json").read_text(), f"{name}.json")


def task(gateway: str, model: str, **other: object) -> Task:
    """An edit without anything special but what else is said."""
    plain = Task(
        number=0,
        id="a" * 64,
        step="job",
        operation="image.edit",
        gateway=gateway,
        model=model,
        prompt="x",
        negative_prompt=None,
        size=None,
        n=1,
        seed=None,
        params={},
        inputs=(),
        price=Price("USD", 1, 0, "USD", 1, ""),
    )
    return replace(plain, **other)  # type: ignore[arg-type]  # a test's words


_MULEROUTER: Final = Tongue(
    module=mulerouter,
    card=card("mulerouter"),
    task=task("mulerouter", "qwen-image-edit-max"),
    identity="3c90-36a",
    states=("pending", "completed", "succeeded", "failed", "processing"),
    shapes=(
        '{"task_info":{"id":"ID","status":"STATUS"}}',
        '{"task_info":{"id":"ID","status":"STATUS","error":"ERROR"},"images":"IMAGES"}',
        '{"task_info":{"id":"ID","status":"completed"},"images":"IMAGES"}',
        '{"task_info":{"id":"ID","id":"ID","status":"completed"},"images":"IMAGES"}',
        '{"detail":"DETAIL"}',
        '{"error":"ERROR"}',
        '{"detail":"DETAIL","task_info":{"id":"ID"}}',
        '{"detail":"DETAIL","data":{"id":"ID"}}',
        '{"detail":"DETAIL","meta":{"usage":{"image_count":"STATUS"}}}',
        '{"error":{"code":400,"detail":"DETAIL","results":"IMAGES"}}',
    ),
    keys=("task_info", "id", "status", "images", "error", "code", "title", "detail", "message", "data", ""),
    headers=("traceparent",),
    start=b'{"task_info":{"id":"x","status":"pending"}',
)

_EVOLINK: Final = Tongue(
    module=evolink,
    card=card("evolink"),
    task=task("evolink", "qwen-image-edit-plus"),
    identity="task-unified-1757156493-imcg5zqt",
    states=("pending", "completed", "processing", "failed", "cancelled"),
    shapes=(
        '{"id":"ID","status":"STATUS","usage":{"credits_reserved":1.5}}',
        '{"id":"ID","status":"completed","results":"IMAGES"}',
        '{"id":"ID","status":"completed","results":"IMAGES","usage":{"credits_used":"DETAIL"}}',
        '{"id":"ID","status":"STATUS","error":"ERROR"}',
        '{"id":"ID","status":"failed","error":{"code":"content_policy_violation","message":"DETAIL"}}',
        '{"id":"ID","id":"ID","status":"completed","results":"IMAGES"}',
        '{"error":{"code":"rate_limit_exceeded","message":"DETAIL","fallback_suggestion":"retry after 60 seconds"}}',
        '{"error":{"code":"ERROR","message":"DETAIL","type":"invalid_request_error"}}',
        '{"error":"ERROR","id":"ID"}',
        '{"error":{"code":"invalid_parameters","message":"DETAIL"},"data":{"id":"ID"}}',
        '{"error":{"code":"invalid_parameters","message":"DETAIL"},"usage":{"credits_used":1.5}}',
        '{"error":{"code":"invalid_parameters","message":"see task-unified-1757156493-imcg5zqt"}}',
        '{"error":{"code":"invalid_parameters","message":"DETAIL"},"result_data":[{"image_url":"DETAIL"}]}',
        '{"success":true,"data":{"token":{"used_credits":1.5},"user":"DETAIL"}}',
        '{"success":"STATUS","data":{"token":{"used_credits":"ERROR"}}}',
        '{"success":true,"code":200,"data":{"file_url":"https://x.example/a.png","expires_at":"2026-03-01T10:30:00Z"}}',
        '{"success":true,"data":{"file_url":"DETAIL","upload_time":"2026-02-26T10:30:00Z","expires_at":"DETAIL"}}',
        '{"success":false,"code":40001,"msg":"DETAIL"}',
    ),
    keys=(
        "id",
        "status",
        "results",
        "error",
        "code",
        "message",
        "type",
        "data",
        "token",
        "used_credits",
        "file_url",
        "",
    ),
    headers=("x-request-id", "idempotency-replayed"),
    start=b'{"id":"task-unified-1-a","status":"pending"',
)

_RECORD: Final = '{"aiRecord":{"uuid":"ID","status":"STATUS","aiRecordDetail":{"resultObject":"IMAGES"},'
_ONEMIN: Final = Tongue(
    module=onemin,
    card=card("1min"),
    task=task("1min", "qwen-image-edit-plus"),
    identity="f85656ed-1eb1-4191-a2ca-8ded269ab888",
    states=("SUCCESS", "SUCCESS", "SUCCESS", "FAILED", "PROCESSING"),
    shapes=(
        _RECORD + '"temporaryUrl":"https://x.example/1?X-Amz-Signature=1"}}',
        _RECORD + '"temporaryUrl":"DETAIL"}}',
        _RECORD + '"temporaryUrl":"https://["},"message":"invalid"}',
        '{"aiRecord":{"uuid":"ID","status":"SUCCESS","aiRecordDetail":{"resultObject":["images/1.png","DETAIL"]}}}',
        '{"aiRecord":"ERROR","aiRecord":"ERROR"}',
        '{"errorCode":"INSUFFICIENT_CREDITS","message":"DETAIL"}',
        '{"errorCode":"DETAIL","message":"n is required"}',
        '{"message":["ERROR"],"error":"ERROR"}',
        '{"message":"n is required","data":{"uuid":"ID"}}',
        '{"errorCode":"INSUFFICIENT_CREDITS","message":"DETAIL","usage":{"credits":"STATUS"}}',
        '{"message":"n is required","aiRecord":{"aiRecordDetail":{"resultObject":"IMAGES"}}}',
        '{"asset":{"key":"DETAIL"},"fileContent":{"path":"images/1.png"}}',
        '{"asset":{"key":"ID"},"fileContent":"ERROR"}',
    ),
    keys=(
        *("aiRecord", "aiRecordDetail", "resultObject", "temporaryUrl", "status", "uuid", "message", "error"),
        *("errorCode", "detail", "asset", "key", "fileContent", "path", ""),
    ),
    headers=("x-request-id",),
    start=b'{"aiRecord":{"status":"SUCCESS","aiRecordDetail":{"resultObject":["images/1.png"]}}',
)

_PART: Final = '{"image":"https://x.example/1.png?Signature=1"}'
_DASHSCOPE: Final = Tongue(
    module=dashscope,
    card=card("dashscope"),
    task=task("dashscope", "qwen-image-edit-plus"),
    identity="0385dc79-5ff8-4d82-bcb6-4f1a3c90b36a",
    states=("PENDING", "RUNNING", "SUSPENDED", "SUCCEEDED", "SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN"),
    shapes=(
        '{"output":{"task_status":"STATUS","task_id":"ID"},"request_id":"ID"}',
        '{"output":{"choices":[{"message":{"content":[' + _PART + ',{"image":"DETAIL"},{"text":"DETAIL"}]}}]},'
        '"usage":{"image_count":2},"request_id":"ID"}',
        '{"output":{"choices":[{"message":{"content":[' + _PART + ']}},{"message":{"content":"ERROR"}}]},'
        '"usage":{"output_image_count":"DETAIL"},"request_id":"ID"}',
        '{"output":{"choices":"IMAGES","task_metric":{"TOTAL":1,"SUCCEEDED":1}},"request_id":"ID"}',
        (
            '{"output":{"task_id":"ID","task_status":"STATUS","results":[{"url":"https://x.example/1.png",'
            '"orig_prompt":"DETAIL","actual_prompt":"DETAIL"},{"code":"DataInspectionFailed","message":"DETAIL"}]},'
            '"usage":{"image_count":1}}'
        ),
        '{"output":{"task_id":"ID","task_status":"SUCCEEDED","results":"IMAGES"},"usage":"ERROR"}',
        '{"output":{"task_id":"ID","task_status":"FAILED","code":"DataInspectionFailed","message":"DETAIL"}}',
        '{"request_id":"ID","code":"InvalidParameter","message":"DETAIL"}',
        '{"request_id":"ID","code":"Throttling.RateQuota","msg":"DETAIL"}',
        '{"request_id":"ID","code":"DETAIL","message":"DETAIL","output":"ERROR"}',
        '{"request_id":"ID","code":"InternalError","code":"InternalError"}',
        '{"request_id":"ID","code":"InvalidParameter","message":"DETAIL","data":{"task_id":"ID"}}',
        '{"request_id":"ID","code":"InvalidParameter","message":"DETAIL","output":{"more":{"results":"IMAGES"}}}',
        '{"request_id":"ID","code":"DataInspectionFailed","message":"DETAIL","usage":{"image_count":1}}',
        (
            '{"request_id":"ID","data":{"policy":"DETAIL","signature":"a=","upload_dir":"d/1","oss_access_key_id":"k",'
            '"upload_host":"https://x.aliyuncs.com","x_oss_object_acl":"private","x_oss_forbid_overwrite":true,'
            '"max_file_size_mb":"ERROR"}}'
        ),
        (
            '{"total":1,"data":[{"task_id":"ID","gmt_create":1745568428109,"status":"STATUS"}],"total_page":2,'
            '"page_no":1,"page_size":100,"request_id":"ID"}'
        ),
        '{"total":1,"data":["ERROR",{"task_id":"ID","gmt_create":"DETAIL"}],"total_page":1,"page_no":1,"page_size":1}',
    ),
    keys=(
        *("output", "task_id", "task_status", "choices", "message", "content", "image", "text", "results", "url"),
        *(
            "usage",
            "image_count",
            "output_image_count",
            "task_metric",
            "SUCCEEDED",
            "code",
            "request_id",
            "msg",
            "data",
        ),
        *("actual_prompt", "gmt_create", "page_no", "total_page", "page_size", ""),
    ),
    headers=("x-request-id", "retry-after-ms"),
    start=b'{"request_id":"1","output":{"task_id":"x","task_status":"PENDING"}',
)

#: {gateway: how it talks}.
TONGUES: Final[Mapping[str, Tongue]] = {
    "mulerouter": _MULEROUTER,
    "evolink": _EVOLINK,
    "1min": _ONEMIN,
    "dashscope": _DASHSCOPE,
}
