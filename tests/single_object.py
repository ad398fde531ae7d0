"""Avro's single-object header, computed from the specification for programs that are not ours.

Avro 1.12 specification, "Schema Fingerprints" (CRC-64-AVRO) and "Single-object encoding".
"""

from __future__ import annotations

from typing import Any

from fastavro.schema import to_parsing_canonical_form

EMPTY = 0xC15D213AA4D7A795


def crc_64_avro(data: bytes) -> int:
    """The Rabin fingerprint of bytes."""
    found = EMPTY
    for byte in data:
        found ^= byte
        for _ in range(8):
            found = found >> 1 ^ (EMPTY if found & 1 else 0)
    return found


def header(schema: Any) -> bytes:
    """C3 01 and the little-endian fingerprint of a schema's canonical form."""
    canonical = to_parsing_canonical_form(schema).encode()
    return b"\xc3\x01" + crc_64_avro(canonical).to_bytes(8, "little")
