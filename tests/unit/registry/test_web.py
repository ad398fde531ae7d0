"""Models by address: only from hosts that are allowed, over TLS, and not into a private network."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from modelmora.errors import ConfigurationError, ModelMoraError, NotFound, Unreachable
from modelmora.registry import Looker, install
from modelmora.registry.sources.web import check_address, is_public
from modelmora.settings import Settings, SourceSettings

CONTENT = b"GGUF" + bytes(300_000)


@dataclass
class Site:
    """What lies on it by path: content, or where to go on to; and the ranges that were asked."""

    address: str = ""
    pages: dict[str, bytes | str] = field(default_factory=dict)
    ranges: list[str] = field(default_factory=list)
    cut: int | None = None


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of `localhost`, signed by itself, with its key in one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(1))
        .not_valid_after(now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def site(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    found = Site()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            return

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            page = found.pages.get(self.path)
            if not isinstance(page, bytes):
                self.send_response(404 if page is None else 302)
                self.send_header("Location", page or "")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            span = self.headers.get("Range", "")
            start = int(span.removeprefix("bytes=").partition("-")[0]) if span else 0
            self.send_response(206 if span else 200)
            self.send_header("ETag", f'"{hashlib.md5(page).hexdigest()}"')
            self.send_header("Content-Length", str(len(page) - start))
            self.end_headers()
            if self.command == "GET":
                found.ranges.append(span)
                self.wfile.write(page[start : found.cut])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    found.address = f"localhost:{server.server_address[1]}"
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    allowed = SourceSettings(allowed_hosts=("localhost",), private_addresses=True)
    return Settings(
        data_dir=tmp_path / "d", cache_dir=tmp_path / "c", sources=allowed, testing=True
    )


def test_a_file_comes_with_its_sum_after_allowed_redirects(site: Site, settings: Settings) -> None:
    site.pages |= {"/m.gguf": "/files/m.gguf", "/files/m.gguf": CONTENT}
    sum_ = hashlib.sha256(CONTENT).hexdigest()
    source = f"https://{site.address}/m.gguf#sha256={sum_}"
    definition = install(settings, source, task="echo")
    assert (definition.name, definition.source) == ("m", source)
    assert [(each.path, each.sha256) for each in definition.details.files] == [("m.gguf", sum_)]
    (looked,) = Looker(settings).look((definition,))
    assert looked.fault is None
    assert Path(looked.path).read_bytes() == CONTENT
    wrong = source.replace(sum_, "0" * 64)
    with pytest.raises(ModelMoraError, match="sha256"):
        install(settings, wrong, task="echo")


def test_what_broke_off_is_gone_on_with(site: Site, settings: Settings, tmp_path: Path) -> None:
    site.pages["/m.gguf"] = CONTENT
    site.cut = 100_000
    with pytest.raises(Unreachable, match="try again"):
        install(settings, f"https://{site.address}/m.gguf", task="echo")
    assert not settings.data_dir.exists()
    site.cut = None
    install(settings, f"https://{site.address}/m.gguf", task="echo")
    assert site.ranges[0] == ""
    assert site.ranges[1] == "bytes=100000-"


@pytest.mark.parametrize(
    ("page", "error", "words"),
    [
        ("https://elsewhere.example/m.gguf", ConfigurationError, "elsewhere.example is no host"),
        ("http://localhost/m.gguf", ConfigurationError, "is not https"),
        ("file:///etc/passwd", ConfigurationError, "is not https"),
        ("/m.gguf", Unreachable, "without an end"),
        (None, NotFound, "there is no"),
        (b"<html>", ConfigurationError, "no GGUF file"),
    ],
)
def test_what_is_refused_on_the_way(
    site: Site, settings: Settings, page: bytes | str | None, error: type[Exception], words: str
) -> None:
    if page is not None:
        site.pages["/m.gguf"] = page
    with pytest.raises(error, match=words):
        install(settings, f"https://{site.address}/m.gguf", task="echo")
    assert not settings.data_dir.exists()


def test_hosts_must_be_named_and_public(site: Site, settings: Settings) -> None:
    site.pages["/m.gguf"] = CONTENT
    source = f"https://{site.address}/m.gguf"
    named = settings.model_copy(update={"sources": SourceSettings(allowed_hosts=("localhost",))})
    with pytest.raises(ConfigurationError, match="which is private"):
        install(named, source, task="echo")
    none = settings.model_copy(update={"sources": SourceSettings()})
    with pytest.raises(ConfigurationError, match="allowed_hosts"):
        install(none, source, task="echo")
    for wrong in (f"https://{site.address}/m.zip", f"https://u@{site.address}/m.gguf", "https://x"):
        with pytest.raises(ConfigurationError):
            install(settings, wrong, task="echo")
    assert not site.ranges


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1", "::ffff:10.0.0.1", "0.0.0.0",
     "224.0.0.1", "fc00::1", "100.64.0.1"],
)  # fmt: skip
def test_addresses_that_are_not_of_the_open_network(address: str) -> None:
    assert not is_public(address)


def test_addresses_that_are() -> None:
    assert is_public("93.184.215.14")
    assert is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")
    check_address("https://Example.org/x", ["EXAMPLE.org"])
