"""Who is asked who they are, and what a gateway needs to listen beyond this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelmora.access.binding import asks_who, check_binding
from modelmora.errors import ConfigurationError
from modelmora.settings import Settings

PAIR = {"certfile": Path("c.pem"), "keyfile": Path("c.key")}
OIDC = {"issuer": "https://issuer.example", "audience": "a"}
CA = {**PAIR, "client_cafile": Path("ca.pem")}


def settings(host: str, **given: Any) -> Settings:
    return Settings.model_validate({"host": host, **given})


@pytest.mark.parametrize(
    ("host", "given", "asks"),
    [
        ("127.0.0.1", {}, False),
        ("::1", {}, False),
        ("127.0.0.1", {"access": {"callers": "keys"}}, True),
        ("127.0.0.1", {"oidc": OIDC}, True),
        ("127.0.0.1", {"tls": CA}, True),
        ("127.0.0.1", {"tls": PAIR}, False),
        ("0.0.0.0", {"tls": PAIR}, True),
        ("0.0.0.0", {"insecure_bind": True}, True),
        ("0.0.0.0", {"insecure_bind": True, "access": {"callers": "anyone"}}, False),
        ("0.0.0.0", {"tls": CA, "oidc": OIDC}, True),
        ("gateway.example", {"tls": PAIR}, True),
    ],
)
def test_what_may_listen(host: str, given: dict[str, Any], asks: bool) -> None:
    check_binding(settings(host, **given))
    assert asks_who(settings(host, **given)) is asks


@pytest.mark.parametrize(
    ("host", "given", "told"),
    [
        ("0.0.0.0", {}, "--insecure-bind"),
        ("::", {}, "tls.certfile"),
        ("10.0.0.1", {"oidc": OIDC}, "tls.certfile"),
        ("my-machine", {"access": {"callers": "keys"}}, "tls.certfile"),
        ("0.0.0.0", {"tls": PAIR, "access": {"callers": "anyone"}}, "--insecure-bind"),
        ("0.0.0.0", {"access": {"callers": "anyone"}}, "--insecure-bind"),
        ("127.0.0.1", {"tls": {"certfile": Path("x")}}, "tls.certfile needs tls.keyfile"),
        ("127.0.0.1", {"tls": {"keyfile": Path("x")}}, "tls.keyfile needs tls.certfile"),
        ("127.0.0.1", {"tls": {"client_cafile": Path("x")}}, "tls.client_cafile needs"),
        ("127.0.0.1", {"oidc": {"issuer": "https://i"}}, "oidc.issuer needs oidc.audience"),
        ("127.0.0.1", {"oidc": {"audience": "a"}}, "oidc.audience needs oidc.issuer"),
        ("127.0.0.1", {"oidc": OIDC, "access": {"callers": "anyone"}}, "lets everybody in"),
        ("127.0.0.1", {"tls": CA, "access": {"callers": "anyone"}}, "lets everybody in"),
        (
            "0.0.0.0",
            {"tls": CA, "insecure_bind": True, "access": {"callers": "anyone"}},
            "lets everybody in",
        ),
    ],
)
def test_what_may_not(host: str, given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        check_binding(settings(host, **given))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "url",
    [
        "https://i.example",
        "https://i.example:8443/a/b/",
        "http://127.0.0.1:80",
        "http://localhost/x",
    ],
)
def test_issuers(url: str) -> None:
    assert settings("::1", oidc={"issuer": url}).oidc.issuer == url


@pytest.mark.parametrize(
    "url",
    [
        "http://i.example",
        "i.example",
        "https://",
        "https://u:p@i.example",
        "https://i.example?x=1",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_issuer(url: str) -> None:
    with pytest.raises(ValueError, match="issuer"):
        settings("::1", oidc={"issuer": url})
