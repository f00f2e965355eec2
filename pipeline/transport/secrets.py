"""Keys: where they come from, a type that does not show them, and a filter that keeps them out of logs."""

from __future__ import annotations

import base64
import logging
import re
import traceback
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import quote

from dotenv import dotenv_values

from pipeline.errors import SecretMissing

#: A key file longer than this holds something else (bytes).
_FILE_MAX: Final = 8192
_HIDDEN: Final = "[hidden]"
#: A shorter key is no secret, and might be a word of an honest answer.
_HIDEABLE: Final = 8


class Secret:
    """A key. Printing, formatting, copying, pickling and JSON show or give nothing of it; only `reveal` does."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """The key itself: for the header of a request and for nothing else."""
        return self.__value

    def __repr__(self) -> str:
        return "Secret([hidden])"

    __str__ = __repr__

    def __format__(self, _how: str) -> str:
        return repr(self)

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a secret is neither copied nor pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is neither copied nor pickled")


def read_dotenv(names: Collection[str], folder: Path | None = None) -> dict[str, str]:
    """What `.env` in `folder` (the working directory by default) says about these `*_API_KEY` names, and nothing else.

    Nothing is interpolated: a key may hold a dollar sign.
    """
    path = (folder or Path()) / ".env"
    if not path.is_file():
        return {}
    written = dotenv_values(path, interpolate=False)
    return {
        name: value
        for name, value in written.items()
        if value is not None and name in names and name.endswith("_API_KEY")
    }


def find_key(key_env: str, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> Secret | None:
    """The key of a gateway: from the variable, from the file that `<NAME>_FILE` names, or from `.env`, in this order.

    Empty counts as not set. *Raises* SecretMissing when what was found cannot be a key; no message holds any of it.
    """
    value, place = environ.get(key_env, ""), key_env
    if not value.strip() and (file := environ.get(f"{key_env}_FILE", "").strip()):
        value, place = _read_file(key_env, file), f"the file that {key_env}_FILE names"
    # `.env` may set nothing but API keys, whatever it is asked for.
    if not value.strip() and key_env.endswith("_API_KEY"):
        value, place = dotenv.get(key_env, ""), f"{key_env} in .env"
    value = value.strip()
    if not value:
        return None
    if not (value.isascii() and value.isprintable() and " " not in value):
        raise SecretMissing(f"what {place} holds is no key: a key is one line of printable ASCII without spaces")
    return Secret(value)


def need_key(key_env: str, gateway: str, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> Secret:
    """As `find_key`. *Raises* SecretMissing when there is none, naming the variable and the remedies."""
    key = find_key(key_env, environ, dotenv)
    if key is None:
        raise SecretMissing(
            f"no key for {gateway}: {key_env} is not set; export it, name a file that holds it in {key_env}_FILE, "
            "or put it into .env in the working directory"
        )
    return key


def _read_file(key_env: str, file: str) -> str:
    try:
        path = Path(file)
        if not path.is_file():
            raise SecretMissing(f"{key_env}_FILE names no file")
        with path.open("rb") as handle:
            data = handle.read(_FILE_MAX + 1)
    except OSError as error:
        raise SecretMissing(f"the file that {key_env}_FILE names cannot be read: {error.strerror}") from None
    if len(data) > _FILE_MAX:
        raise SecretMissing(f"the file that {key_env}_FILE names is too long to be a key")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SecretMissing(f"the file that {key_env}_FILE names holds no text") from None


class RedactingFilter(logging.Filter):
    """Takes keys, tokens and the queries of links out of log records. A second line: nothing should log them."""

    _TOKENS: Final = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}")
    _HEADERS: Final = re.compile(r"(?i)((?:authorization|api-key|x-api-key)['\"]?\s*[:=,]\s*['\"]?)[^'\"\s,)}]+")
    _QUERIES: Final = re.compile(r"(?i)(https?://[^\s?'\"<>]*\?)[^\s'\"<>]+")

    def __init__(self, keys: Iterable[Secret] = ()) -> None:
        super().__init__()
        forms = {form for key in keys for form in _forms(key.reveal())}
        self._forms = sorted(forms, key=len, reverse=True)

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record's message and traceback; it is always let through."""
        record.msg, record.args = self.redact(record.getMessage()), ()
        if record.exc_info and record.exc_info[1] is not None:
            text = "".join(traceback.format_exception(record.exc_info[1]))
            record.exc_text, record.exc_info = self.redact(text.rstrip("\n")), None
        elif record.exc_text:
            record.exc_text = self.redact(record.exc_text)
        if record.stack_info:
            record.stack_info = self.redact(record.stack_info)
        return True

    def redact(self, text: str) -> str:
        """The text without keys in any usual form, without tokens, and with the queries of links cut."""
        for form in self._forms:
            text = text.replace(form, _HIDDEN)
        text = self._QUERIES.sub(rf"\1{_HIDDEN}", text)
        text = self._TOKENS.sub(rf"\1 {_HIDDEN}", text)
        return self._HEADERS.sub(rf"\1{_HIDDEN}", text)


def hide(key: Secret, data: bytes) -> bytes:
    """An answer without the key, in whatever form the gateway echoed it; what is no longer there cannot be stored."""
    if len(key.reveal()) < _HIDEABLE:
        return data
    for form in sorted(_forms(key.reveal()), key=len, reverse=True):
        data = data.replace(form.encode(), _HIDDEN.encode())
    return data


def _forms(key: str) -> set[str]:
    """A key as it stands, quoted, and in the forms of Base64."""
    data = key.encode()
    forms = {key, quote(key, safe=""), base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()}
    return {form for form in forms | {form.rstrip("=") for form in forms} if form}
