"""What MiraVeja's callers want of an image: which model answers, and what it is asked."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from modelmora.settings.section import Section


class Rating(StrEnum):
    """Who may see an image, the strictest last."""

    PG = "PG"
    PG_13 = "PG_13"
    R = "R"
    X = "X"
    XXX = "XXX"


class Purposes(Section):
    """What MiraVeja's callers want of an image: which model answers, and what it is asked."""

    caption_model: str | None = Field(
        None, description="describes images, `name` or `name@version`; none = by task"
    )
    caption_prompt: str = Field(
        "Describe this image in one or two sentences.",
        min_length=1,
        description="what a model of task `txt2txt` is asked for a description",
    )
    title_model: str | None = Field(None, description="finds titles for images; none = by task")
    title_prompt: str = Field(
        "Give this image a title of a few words. Answer with the title alone.",
        min_length=1,
        description="what such a model is asked for a title",
    )
    tags_model: str | None = Field(None, description="tags images; none = by task")
    tags_prompt: str = Field(
        "List the tags of this image, with commas between. Answer with the tags alone.",
        min_length=1,
        description="what such a model is asked for tags",
    )
    safety_model: str | None = Field(
        None, description="rates images; none = the default of `classify`"
    )
    safety_labels: dict[str, Rating] = Field(
        {},
        description="further labels of it, and the rating of each: `PG`, `PG_13`, `R`, `X`, `XXX`; "
        "go before those that are [common](../howto/miraveja.md#ratings)",
    )
    post_text_model: str | None = Field(
        None, description="writes about several images; none = by task"
    )
    post_text_prompt: str = Field(
        "Write a short post for social media about these images.",
        min_length=1,
        description="what it is asked for a post",
    )
