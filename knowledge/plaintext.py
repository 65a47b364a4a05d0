"""Bytes to text that any store can hold."""

import codecs
import re

from tenancy.errors import Invalid

# The longer mark first: UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ENDINGS = re.compile(r"\r\n?|[\f\v\x85\u2028\u2029]")
# Besides controls: what no reader sees and a model does, such as tag characters and overrides of
# direction. Joiners and direction marks stay: scripts are written with them.
_DIRT = re.compile(
    "[\\x00-\\x08\\x0e-\\x1f\\x7f\\xad\\u180e\\u200b\\u202a-\\u202e\\u2060-\\u206f\\ud800-\\udfff\\ufeff"
    "\\ufff9-\\ufffb\\U000e0000-\\U000e007f]"
)
_BLOCK = 1 << 18  # a regular expression holds the interpreter: one block takes about a millisecond


def decode(data: bytes) -> str:
    """The text of `data`, UTF-8 or as its byte order mark says; raises `Invalid`."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decode(data[len(mark) :], encoding)
    return _decode(data, "utf-8")


def clean(text: str) -> str:
    """`text` with one kind of line ending, without controls, surrogates and what no reader sees."""
    blocks = (text[i : i + _BLOCK] for i in range(0, len(text), _BLOCK))
    return "".join(_DIRT.sub("", _ENDINGS.sub("\n", block)) for block in blocks)


def _decode(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as broken:
        raise Invalid(
            "file", f"is not valid {encoding.upper()} text at byte {broken.start}"
        ) from None
