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
#: Gateways echo keys with stars in the middle; of a key at least this long its ends are hidden too.
_MASKABLE: Final = 20
_END: Final = 8


class Secret:
    """A key. Printing, formatting, copying, pickling and JSON show or give nothing of it; only `reveal` does."""

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """The key itself: for the header of a request and for nothing else."""
        return self.__value

    def __bool__(self) -> bool:
        return bool(self.__value)

    @property
    def is_key(self) -> bool:
        """Whether it can be one: printable ASCII without spaces."""
        return self.__value.isascii() and self.__value.isprintable() and " " not in self.__value

    def __repr__(self) -> str:
        return "Secret([hidden])"

    __str__ = __repr__

    def __format__(self, _how: str) -> str:
        return repr(self)

    def __reduce_ex__(self, _protocol: object) -> NoReturn:
        raise TypeError("a secret is neither copied nor pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a secret is neither copied nor pickled")


class Header(str):
    """A header's text with a key in it: sent as it is, and hidden wherever a library or a traceback shows it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_HIDDEN)


class Environment(dict[str, str]):
    """Variables or `.env`, whose values no traceback shows."""

    def __repr__(self) -> str:
        return f"Environment({len(self)} variables)"

    __str__ = __repr__


def read_dotenv(names: Collection[str], folder: Path | None = None) -> Environment:
    """What `.env` in `folder` (the working directory by default) says about these `*_API_KEY` names, and nothing else.

    Nothing is interpolated: a key may hold a dollar sign.
    """
    path = (folder or Path()) / ".env"
    if not path.is_file():
        return Environment()
    # No local name holds what was read: a traceback with locals may pass here.
    return Environment(
        (name, value)
        for name, value in dotenv_values(path, interpolate=False).items()
        if value is not None and name in names and name.endswith("_API_KEY")
    )


def find_key(key_env: str, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> Secret | None:
    """The key of a gateway: from the variable, from the file that `<NAME>_FILE` names, or from `.env`, in this order.

    Empty counts as not set. *Raises* SecretMissing when what was found cannot be a key; no message holds any of it.
    """
    found = located_key(key_env, environ, dotenv)
    return None if found is None else found[0]


def located_key(key_env: str, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> tuple[Secret, str] | None:
    """As `find_key`, with the place where it stood, in words."""
    found, place = Secret(environ.get(key_env, "").strip()), key_env
    if not found and (file := environ.get(f"{key_env}_FILE", "").strip()):
        found, place = _read_file(key_env, file), f"the file that {key_env}_FILE names"
    # `.env` may set nothing but API keys, whatever it is asked for.
    if not found and key_env.endswith("_API_KEY"):
        found, place = Secret(dotenv.get(key_env, "").strip()), f"{key_env} in .env"
    if not found:
        return None
    if not found.is_key:
        raise SecretMissing(f"what {place} holds is no key: a key is one line of printable ASCII without spaces")
    return found, place


def need_key(key_env: str, gateway: str, environ: Mapping[str, str], dotenv: Mapping[str, str]) -> Secret:
    """As `find_key`. *Raises* SecretMissing when there is none, naming the variable and the remedies."""
    key = find_key(key_env, environ, dotenv)
    if key is None:
        raise SecretMissing(
            f"no key for {gateway}: {key_env} is not set; export it, name a file that holds it in {key_env}_FILE, "
            "or put it into .env in the working directory"
        )
    return key


def _read_file(key_env: str, file: str) -> Secret:
    try:
        path = Path(file)
        if not path.is_file():
            raise SecretMissing(f"{key_env}_FILE names no file")
        with path.open("rb") as handle:
            found = Secret(handle.read(_FILE_MAX + 1).decode("utf-8-sig").strip())
    except OSError as error:
        raise SecretMissing(f"the file that {key_env}_FILE names cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SecretMissing(f"the file that {key_env}_FILE names holds no text") from None
    if len(found.reveal()) > _FILE_MAX:
        raise SecretMissing(f"the file that {key_env}_FILE names is too long to be a key")
    return found


class RedactingFilter(logging.Filter):
    """Takes keys, tokens and the queries of links out of log records. A second line: nothing should log them.

    A door puts it on the loggers of what it is made of, for as long as it is open.
    """

    _TOKENS: Final = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}")
    _HEADERS: Final = re.compile(r"(?i)((?:authorization|api-key|x-api-key)['\"]?\s*[:=,]\s*['\"]?)[^'\"\s,)}]+")
    _QUERIES: Final = re.compile(r"(?i)(https?://[^\s?'\"<>]*\?)[^\s'\"<>]+")

    def __init__(self, keys: Iterable[Secret] = ()) -> None:
        super().__init__()
        forms = {form for key in keys if len(key.reveal()) >= _HIDEABLE for form in _forms(key.reveal())}
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
    return Hider(key).hide(data)


class Hider:
    """Takes one key out of answers: its forms are worked out once."""

    __slots__ = ("_forms",)

    def __init__(self, key: Secret) -> None:
        forms = _forms(key.reveal()) if len(key.reveal()) >= _HIDEABLE else set()
        self._forms = [form.encode() for form in sorted(forms, key=len, reverse=True)]

    def __repr__(self) -> str:
        return "Hider(***)"

    def found(self, data: bytes) -> bool:
        """Whether the key stands there, in whatever form."""
        return any(form in data for form in self._forms)

    def hide(self, data: bytes) -> bytes:
        """The data without the key."""
        if self.found(data):
            for form in self._forms:
                data = data.replace(form, _HIDDEN.encode())
        return data


def _forms(key: str) -> set[str]:
    """A key as it stands, quoted, in hexadecimal, in Base64 (wherever it begins in what was encoded), and its ends."""
    data = key.encode()
    forms = {key, quote(key, safe=""), data.hex(), data.hex().upper()}
    for before in range(3):
        # What stands before and after the key changes the outermost letters only; those between are always the same.
        first, last = -(-before * 8 // 6), (before + len(data)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            forms.add(encode(b"\0" * before + data).decode()[first:last])
    whole = base64.b64encode(data).decode()
    forms |= {whole, whole.rstrip("=")}
    if len(key) >= _MASKABLE:
        # An end that could be a word of an honest answer stays: a hidden word could be the link to a paid picture.
        forms |= {end for end in (key[:_END], key[-_END:]) if not _is_word(end)}
    return {form for form in forms if form}


def _is_word(text: str) -> bool:
    return text.replace("-", "").replace("_", "").isalpha() and text.islower()
