"""Settings of where large content lies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints

from modelmora.settings.kinds import FilePath, Span
from modelmora.settings.section import Section, secret_of

MIB = 1 << 20
_WEEK_S = 604_800
WebUrl = Annotated[
    str,
    StringConstraints(pattern=r"^https?://[^@\s/]+/?$"),
    Field(json_schema_extra={"form": "http://host:port or https://host:port"}),
]
Bucket = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"),
    Field(json_schema_extra={"form": "the name of a bucket"}),
]


class ObjectSettings(Section):
    """Where content lies that is too large for a record."""

    store: Literal["folder", "s3"] = Field(
        "folder",
        description="where content lies that is too large for a record: `folder`, or a bucket of "
        "`s3`; see [Large content](../howto/large-content.md)",
    )
    folder: FilePath | None = Field(
        None,
        description="that folder, which nodes and gateways must share; none = `objects` in the "
        "data folder, with `--role all` only",
    )
    bucket: Bucket = Field("modelmora", description="that bucket, which must be there")
    prefix: str = Field("objects/", description="what the names of its objects begin with")
    endpoint: WebUrl | None = Field(
        None, description="the S3-compatible store; none = `AWS_ENDPOINT_URL`, or AWS"
    )
    region: str | None = Field(
        None, description="its region; none = `AWS_REGION`, `AWS_DEFAULT_REGION` or `us-east-1`"
    )
    access_key: str | None = Field(
        None,
        description="who we are to it; none = `AWS_*` or `MINIO_*` variables, or "
        "`~/.aws/credentials`",
    )
    secret_key: SecretStr | None = Field(None, description="its secret key")
    secret_key_file: FilePath | None = Field(
        None, description="a file that holds the secret key; goes before `secret_key`"
    )
    public_url: WebUrl | None = Field(
        None,
        description="where callers reach the objects, for the URLs they are told: the gateway for "
        "`folder`, else the store; none = the gateway's own address, or `endpoint`",
    )
    inline_bytes: int = Field(
        2 * MIB - 64 * 1024,
        ge=1024,
        le=2 * MIB - 64 * 1024,
        description="outputs up to this size stand in the result itself; of larger ones the "
        "largest lie in the object store",
    )
    object_bytes: int = Field(
        256 * MIB,
        ge=1024,
        le=256 * MIB,
        description="largest object, and the most that the references of one request may hold",
    )
    ttl_s: Span = Field(
        3600, ge=60, le=_WEEK_S, description="how long an object and its URLs may be used"
    )
    quota_bytes: int = Field(
        10 << 30,
        ge=0,
        description="how much the folder may hold; with `s3`: how much may wait in the data folder "
        "for a store that does not answer",
    )
    retry_s: Span = Field(
        60,
        ge=0,
        description="how long a store that does not answer is asked again before a request fails",
    )
    input_buckets: tuple[Bucket, ...] = Field(
        (),
        description="more buckets of the same `s3` store that references in requests may name; "
        "nothing else is ever fetched",
    )

    def secret(self) -> str | None:
        """The secret key, from its file where one is named. Raises ConfigurationError."""
        return secret_of("objects.secret_key_file", self.secret_key_file, self.secret_key)
