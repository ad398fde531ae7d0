"""The tree of errors: one line each, the right exit code."""

from __future__ import annotations

import pytest

from modelmora import errors
from modelmora.errors import (
    Code,
    ConfigurationError,
    LockMismatch,
    MissingExtra,
    ModelMoraError,
    NotAllowed,
    NotFound,
    RequestError,
    Undecodable,
    Unreachable,
    WrongCredentials,
)
from modelmora.messages import Status, outcome_status


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (ModelMoraError, 1),
        (ConfigurationError, 2),
        (NotFound, 3),
        (Unreachable, 4),
        (WrongCredentials, 4),
        (NotAllowed, 4),
        (LockMismatch, 5),
    ],
)
def test_without_words_of_its_own_an_error_says_its_docstring(
    error: type[ModelMoraError], exit_code: int
) -> None:
    assert error.exit_code == exit_code
    assert str(error()) == (error.__doc__ or "").splitlines()[0]
    assert str(error("this happened")) == "this happened"


def test_a_missing_extra_says_how_to_get_it() -> None:
    error = MissingExtra("broker", "the embedded broker")
    assert error.exit_code == 2
    assert (
        str(error)
        == "the embedded broker needs the `broker` extra: pip install 'modelmora[broker]'"
    )


def test_the_errors_of_a_request_carry_their_code() -> None:
    error = Undecodable(Code.EMPTY_VALUE, "the value is empty", request_id="id-1")
    assert isinstance(error, RequestError)
    assert (error.code, error.request_id, error.retry_after_ms) == (Code.EMPTY_VALUE, "id-1", None)
    assert str(error) == error.message == "the value is empty"


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    names = [name for name, value in vars(errors).items()
             if isinstance(value, type) and issubclass(value, ModelMoraError)]  # fmt: skip
    assert len(names) == 13
    drawn = errors.__doc__ or ""
    assert [name for name in names if f" {name} " not in drawn.replace("\n", " ")] == []


REFUSED = {
    Code.UNKNOWN_MODEL, Code.UNKNOWN_PARAMETER, Code.INVALID_INPUT, Code.BUSY, Code.STARTING,
    Code.STOPPING, Code.MODEL_UNAVAILABLE, Code.CANNOT_BE_SERVED,
    Code.FORBIDDEN, Code.RATE_LIMITED, Code.ID_REUSED,
}  # fmt: skip
OWN = {
    Code.EXPIRED: Status.EXPIRED,
    Code.CANCELLED: Status.CANCELLED,
    Code.STOPPED: Status.STOPPED,
}


@pytest.mark.parametrize("code", Code)
def test_every_code_ends_a_request_under_one_status(code: Code) -> None:
    expected = Status.REFUSED if code in REFUSED else OWN.get(code, Status.FAILED)
    assert outcome_status(code) is expected
