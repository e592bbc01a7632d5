"""OpenAI's operations without generated text: embeddings, models and files."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from demo.reply import count
from demo.wire import RequestRefused, pretty

DIMENSIONS = 64


def embeddings(body: Mapping[str, Any], means: Mapping[str, str]) -> bytes:
    """Unit vectors that depend only on the text, or on the text that it `means`, so that texts of one meaning
    have equal embeddings."""
    given = body.get("input")
    if not given:
        raise RequestRefused(
            400, "Missing required parameter: 'input'.", param="input", code="missing_required_parameter"
        )
    texts = [given] if isinstance(given, str) else [str(text) for text in given]
    read = sum(count(text) for text in texts)
    return pretty(
        {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": place,
                    "embedding": vector(means.get(text, text), body.get("dimensions")),
                }
                for place, text in enumerate(texts)
            ],
            "model": body.get("model"),
            "usage": {"prompt_tokens": read, "total_tokens": read},
        }
    )


def vector(text: str, dimensions: int | None) -> list[float]:
    """The embedding of a text."""
    draws = Random(text)  # noqa: S311 - the same text must give the same vector
    raw = [draws.gauss(0.0, 1.0) for _ in range(dimensions or DIMENSIONS)]
    length = math.sqrt(sum(value * value for value in raw))
    return [value / length for value in raw]


def models(names: Sequence[str]) -> bytes:
    """The models list."""
    return pretty({"object": "list", "data": [_model(name) for name in names]})


def model(name: str) -> bytes:
    """One model's description."""
    return pretty(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1715367049, "owned_by": "demo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """An uploaded file."""

    id: str
    name: str
    purpose: str
    content: bytes
    created: int

    def document(self) -> bytes:
        """OpenAI's file object."""
        return pretty(
            {
                "id": self.id,
                "object": "file",
                "bytes": len(self.content),
                "created_at": self.created,
                "filename": self.name,
                "purpose": self.purpose,
                "status": "processed",
            }
        )


def upload(content_type: str, body: bytes, file_id: str, created: int) -> File:
    """Parse a multipart upload (RFC 7578) with the parts `file` and `purpose`, byte for byte."""
    parts = dict(_parts(content_type, body))
    if "file" not in parts or "purpose" not in parts:
        raise RequestRefused(400, "An upload needs the parts 'file' and 'purpose'.", param="file")
    return File(
        id=file_id,
        name=parts["file"].name or "upload",
        purpose=parts["purpose"].content.decode(),
        content=parts["file"].content,
        created=created,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    name: str | None
    content: bytes


def _parts(content_type: str, body: bytes) -> Iterator[tuple[str, _Part]]:
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if boundary is None:
        raise RequestRefused(400, "The upload's content-type names no boundary.")
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        field = re.search(rb'[; ]name="([^"]*)"', head)
        file_name = re.search(rb'filename="([^"]*)"', head)
        if field:
            yield field[1].decode(), _Part(name=file_name[1].decode() if file_name else None, content=content)
