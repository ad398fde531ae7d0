"""What bodies of OpenAI's are made of."""

from __future__ import annotations

import base64
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, StrictStr, model_validator

from modelmora.errors import Code
from modelmora.gateway.outcomes import Refusal

_IMAGE = "data:image/"


class Form(BaseModel):
    """An object of a body; a member that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _told(cls, found: Any) -> Any:
        """Members that are null are not told: answers of ours, sent back, are full of them."""
        if isinstance(found, dict):
            return {name: value for name, value in found.items() if value is not None}
        return found


class ImageUrl(Form):
    """An image that the URL itself holds: `data:image/png;base64,...`."""

    url: StrictStr
    detail: StrictStr | None = None


class Part(Form):
    """A part of a message."""

    type: Literal["text", "image_url"]
    text: StrictStr = ""
    image_url: ImageUrl | None = None


def image(place: str, part: Part) -> bytes:
    """The image that a part holds; `place` is where it stands. Raises Refusal."""
    url = part.image_url.url if part.image_url else ""
    head, _, data = url.partition(",")
    if not (head.startswith(_IMAGE) and head.endswith(";base64")):
        raise invalid(f"{place}: an image is a URL `{_IMAGE}png;base64,...`")
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:  # binascii.Error, and characters beyond ASCII
        raise invalid(f"{place}: the image is no base64") from None


def invalid(message: str) -> Refusal:
    """That a body says what it must not."""
    return Refusal(Code.INVALID_INPUT, message)
