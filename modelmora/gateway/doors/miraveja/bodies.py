"""What `/modelmora/v1` reads and answers; an object with a field that is not here is refused."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictFloat, StrictInt, StrictStr, field_validator

from modelmora.gateway.doors.miraveja.images import media_type_of
from modelmora.messages import ChatMessage, Parameter
from modelmora.wire.forms import Base64, Part

Number = StrictInt | StrictFloat
Side = Annotated[StrictInt, Field(ge=64, le=4096)]
ROLES = {"caller": "user", "model": "assistant"}


class AskedModel(Part):
    """A model; without `version` the one that answers for its name."""

    name: Annotated[StrictStr, Field(min_length=1)]
    version: Annotated[StrictStr, Field(min_length=1)] | None = None

    @property
    def address(self) -> str:
        """As it is asked for."""
        return f"{self.name}@{self.version}" if self.version else self.name


class SpokenTurn(Part):
    """What was said before."""

    speaker: Literal["caller", "model"]
    text: StrictStr


class ShownImage(Part):
    """An image to look at."""

    media_type: Literal["image/png", "image/jpeg", "image/webp"] = Field(alias="mediaType")
    data: Base64 = Field(alias="base64")

    @field_validator("data")
    @classmethod
    def _is_one(cls, data: bytes) -> bytes:
        if media_type_of(data) is None:
            raise ValueError("is no image")
        return data


class TextSettings(Part):
    """How a text is written; what is null is left to the model."""

    seed: StrictInt | None = None
    max_length: Annotated[StrictInt, Field(ge=1, le=32_000)] | None = Field(
        None, alias="maxLength", description="In tokens."
    )
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None

    def parameters(self) -> dict[str, Parameter]:
        """As engines take it."""
        named = {"seed": self.seed, "max_tokens": self.max_length, "temperature": self.temperature}
        return {name: value for name, value in named.items() if value is not None}


class ImageSettings(Part):
    """How an image is drawn; what is null is left to the model."""

    seed: StrictInt | None = None
    steps: Annotated[StrictInt, Field(ge=1, le=200)] | None = None
    guidance: Annotated[Number, Field(ge=0, le=30)] | None = None

    def parameters(self) -> dict[str, Parameter]:
        """As engines take it."""
        named = {"seed": self.seed, "steps": self.steps, "guidance": self.guidance}
        return {name: value for name, value in named.items() if value is not None}


class PixelSize(Part):
    """Pixels."""

    width: Side
    height: Side


class TextRequest(Part):
    """A text that is to be written.

    Where the caller spoke last in the `conversation`, `instructions` stand above it; else they are
    what the caller says now.
    """

    kind: Literal["text"]
    instructions: Annotated[StrictStr, Field(min_length=1, max_length=200_000)]
    model: AskedModel | None = None
    conversation: Annotated[list[SpokenTurn], Field(max_length=200)] | None = None
    images: Annotated[list[ShownImage], Field(max_length=8)] | None = None
    settings: TextSettings | None = None

    def turns(self) -> tuple[ChatMessage, ...]:
        """The conversation with the instructions."""
        said = [ChatMessage(ROLES[each.speaker], each.text) for each in self.conversation or ()]
        if said and said[-1].role == ROLES["caller"]:
            return (ChatMessage("system", self.instructions), *said)
        return (*said, ChatMessage(ROLES["caller"], self.instructions))


class ImageRequest(Part):
    """An image that is to be drawn."""

    kind: Literal["image"]
    description: Annotated[StrictStr, Field(min_length=1, max_length=20_000)]
    size: PixelSize
    model: AskedModel | None = None
    avoid: StrictStr | None = Field(None, description="What is not to be seen.")
    settings: ImageSettings | None = None


class ServedVersion(Part):
    """A model in one version."""

    name: str
    version: str


class RefusalAnswer(Part):
    """Why there is no result."""

    reason: Literal[
        "busy",
        "starting",
        "stopping",
        "unknown_model",
        "model_unavailable",
        "invalid_request",
        "cannot_be_served_on_this_studio",
        "failed_during_generation",
    ]
    detail: str | None
    retry_after: int | None = Field(alias="retryAfterSeconds")


class AcceptedRequest(Part):
    """A request that is on its way; `position` 0 is running, null: nobody has told yet."""

    request_id: str = Field(alias="requestId")
    position: int | None
    wait: int | None = Field(alias="estimatedWaitSeconds")
    model: ServedVersion


class UsedSettings(Part):
    """What was used in fact; null where it says nothing for this kind."""

    seed: int | None
    max_length: int | None = Field(alias="maxLength")
    temperature: float | None
    steps: int | None
    guidance: float | None


class GenerationResult(Part):
    """What came of it; text and image are there until `heldUntil`."""

    model: ServedVersion
    used: UsedSettings = Field(alias="settingsUsed")
    text: str | None
    image: bool = Field(alias="imageAvailable")
    note: str | None = Field(alias="filterNote")
    held_until: str | None = Field(alias="heldUntil")


class GenerationStatus(Part):
    """How a request stands."""

    request_id: str = Field(alias="requestId")
    state: Literal["waiting", "running", "done", "failed", "withdrawn", "stopped_before_completion"]
    position: int | None
    wait: int | None = Field(alias="estimatedWaitSeconds")
    result: GenerationResult | None
    failure: RefusalAnswer | None


class ServedModel(ServedVersion):
    """A model that may be named."""

    kind: Literal["text", "image"]
    reads_images: bool = Field(alias="readsImages")
    license: str | None


class DefaultModels(Part):
    """Which model answers where none is named; null where none can."""

    text: ServedVersion | None
    text_with_images: ServedVersion | None = Field(alias="textWithImages")
    image: ServedVersion | None


class ServedModels(Part):
    """The models, and the defaults."""

    models: list[ServedModel]
    defaults: DefaultModels


class ServableCounts(Part):
    """How many models of each kind can be served now."""

    text: int
    image: int


class Availability(Part):
    """Whether requests are taken, and how many wait."""

    state: Literal["starting", "running", "stopping"]
    queue: int = Field(alias="queueLength")
    servable: ServableCounts
