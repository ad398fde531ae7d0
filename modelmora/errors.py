"""Every error of ModelMora.

    ModelMoraError                    exit code 1
    ├── ConfigurationError            exit code 2   what was asked for cannot be started
    │   └── MissingExtra                            an optional part is not installed
    ├── NotFound                      exit code 3   no such model, request, topic
    ├── Conflict                      exit code 1   as things stand it cannot be done
    │   └── Stale                                   it is another by now than it was taken for
    ├── Invalid                       exit code 2   a field of what was given cannot be used
    ├── Unreachable                   exit code 4   broker or gateway does not answer
    │   └── WrongCredentials                        it answers, and refuses us
    │       └── NotAllowed                          it knows us, and we lack a right
    ├── LockMismatch                  exit code 5   models are not those of the lock file
    └── RequestError                                one request ends without a result
        └── Undecodable                             its bytes are not an InferenceRequest

An error's text is one line that says what to do next. `RequestError` carries the stable code
that callers see; doors (REST, gRPC, CLI) translate codes, nothing here knows of HTTP.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """The stable reasons why a request ends without a result (`error.code`)."""

    UNDECODABLE = "undecodable"
    UNKNOWN_SCHEMA = "unknown_schema"
    TRAILING_BYTES = "trailing_bytes"
    EMPTY_VALUE = "empty_value"
    NULL_VALUE = "null_value"
    TOO_LARGE = "too_large"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_PARAMETER = "unknown_parameter"
    INVALID_INPUT = "invalid_input"
    BUSY = "busy"
    STARTING = "starting"
    STOPPING = "stopping"
    MODEL_UNAVAILABLE = "model_unavailable"
    CANNOT_BE_SERVED = "cannot_be_served"
    FORBIDDEN = "forbidden"
    RATE_LIMITED = "rate_limited"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    ID_REUSED = "id_reused"
    STOPPED = "stopped"
    WORKER_CRASH = "worker_crash"
    WORKER_TIMEOUT = "worker_timeout"
    OUT_OF_MEMORY = "out_of_memory"
    RETRIES_SPENT = "retries_spent"
    INFERENCE_FAILED = "inference_failed"
    STORE_UNAVAILABLE = "store_unavailable"


class ModelMoraError(Exception):
    """Something went wrong in ModelMora."""

    exit_code = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").partition("\n")[0])


class ConfigurationError(ModelMoraError):
    """The settings cannot be used; see `modelmora config show`."""

    exit_code = 2


class MissingExtra(ConfigurationError):
    """An optional part of ModelMora is not installed."""

    def __init__(self, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the `{extra}` extra: pip install 'modelmora[{extra}]'")


class NotFound(ModelMoraError):
    """There is nothing of that name."""

    exit_code = 3


class Conflict(ModelMoraError):
    """As things stand it cannot be done; look at it again."""


class Stale(Conflict):
    """It has been changed meanwhile; look at it again."""


class Invalid(ModelMoraError):
    """What was given cannot be used."""

    exit_code = 2


class Unreachable(ModelMoraError):
    """The broker or the gateway does not answer; is `modelmora serve` running?"""

    exit_code = 4


class WrongCredentials(Unreachable):
    """The broker refuses these credentials; check MODELMORA_KAFKA__SASL_USERNAME and _PASSWORD."""


class NotAllowed(WrongCredentials):
    """The broker denies us what this needs; `modelmora topics acls` prints what to grant."""


class LockMismatch(ModelMoraError):
    """Models are not those of the lock file; `modelmora lock` writes a new one."""

    exit_code = 5


class RequestError(ModelMoraError):
    """One request ends without a result, for the reason in `code`."""

    def __init__(
        self, code: Code, message: str, *, retry_after_ms: int | None = None, request_id: str = ""
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_ms = retry_after_ms
        self.request_id = request_id


class Undecodable(RequestError):
    """The bytes of a record are no InferenceRequest; `request_id` is set where it is readable."""
