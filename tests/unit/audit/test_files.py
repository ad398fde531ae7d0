"""The key of the audit, and what waits to be told, as files."""

from __future__ import annotations

import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from modelmora.audit.auditor import Auditor
from modelmora.audit.chain import Told
from modelmora.audit.pending import Forwarding, Pending
from modelmora.audit.signing import Signer, is_signed, signer_of
from modelmora.errors import ConfigurationError
from modelmora.kafka.writing.publisher import Record, Written
from modelmora.settings import AuditSettings, Settings
from modelmora.wire import decode_audit

TOLD = Told("keys create", "root", 1_700_000_000_000, reason="key 1 of alice")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


def test_the_key_is_made_once_by_all_who_begin_at_once(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = {each.public_key for each in threads.map(signer_of, [settings] * 32)}
    assert len(made) == 1
    path = settings.data_dir / "audit.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in settings.data_dir.iterdir()] == ["audit.key"]
    signer = signer_of(settings)
    assert is_signed(signer.public_key, signer.sign(b"x"), b"x")
    assert not is_signed(signer.public_key, signer.sign(b"x"), b"y")
    assert not is_signed(b"", signer.sign(b"x"), b"x")


def _foreign() -> bytes:
    key = X25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("made", [lambda: b"", lambda: b"no key", _foreign])
def test_a_file_that_is_no_key_is_named(settings: Settings, made: Callable[[], bytes]) -> None:
    settings.data_dir.mkdir()
    path = settings.data_dir / "audit.key"
    path.write_bytes(made())
    with pytest.raises(ConfigurationError, match=r"audit\.key holds no Ed25519 key .*openssl"):
        signer_of(settings)


def test_a_named_key_must_be_there_and_one_of_our_own_need_not(tmp_path: Path) -> None:
    named = Settings(data_dir=tmp_path, audit=AuditSettings(key_file=tmp_path / "gone"))
    with pytest.raises(ConfigurationError, match=r"audit\.key_file .*gone cannot be read"):
        signer_of(named)
    (tmp_path / "file").touch()
    nowhere = Settings(data_dir=tmp_path / "file")
    assert signer_of(nowhere).public_key != signer_of(nowhere).public_key


@pytest.mark.parametrize("key", ["", "x" * 64, "A" * 64, "0" * 63])
def test_a_trusted_key_is_64_digits(key: str) -> None:
    with pytest.raises(ValueError, match="trusted"):
        Settings.model_validate({"audit": {"trusted": [key]}})


class Broker:
    """Keeps what it is sent, until it takes that."""

    def __init__(self) -> None:
        self.open: list[Record] = []
        self.told: list[str] = []

    def take(self) -> None:
        while self.open:
            record = self.open.pop(0)
            if record.topic.endswith(".audit"):
                self.told.append(decode_audit(record.value).verb)
            record.done(Written(0, 0, 0))


async def test_what_waits_is_forgotten_once_the_broker_has_it(settings: Settings) -> None:
    pending, broker = Pending(settings), Broker()
    auditor = Auditor("ns", "gateway@a", "gateways", Signer())
    forwarding = Forwarding(settings, auditor)
    forwarding.look()
    pending.add(TOLD)
    assert stat.S_IMODE(pending.path.stat().st_mode) == 0o600
    auditor.use(broker.open.append)
    forwarding.look()
    pending.add(TOLD)  # while the first is under way
    forwarding.look()
    assert pending.read()[0] == [TOLD, TOLD]
    broker.take()
    forwarding.look()
    assert pending.read()[0] == [TOLD]
    forwarding.look()
    broker.take()
    forwarding.look()
    assert pending.read() == ([], 0)
    assert broker.told == ["start", "keys create", "keys create"]


async def test_lines_of_strangers_are_skipped(settings: Settings) -> None:
    pending = Pending(settings)
    pending.add(TOLD)
    with pending.path.open("ab") as file:
        file.write(b'nonsense\n{"verb": 1}\n\xff\n[]\n')
        file.write(b'{"verb": "v", "principal": "p", "time": 9999999999999999999}\n')
    pending.add(TOLD)
    assert pending.read()[0] == [TOLD, TOLD]


async def test_a_file_that_cannot_be_read_harms_nobody(settings: Settings) -> None:
    Pending(settings).path.mkdir(parents=True)
    Forwarding(settings, Auditor("ns", "gateway@a", "gateways", Signer())).look()
