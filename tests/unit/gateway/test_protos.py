"""The committed stubs are what protoc makes of the protos."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from google.rpc import status_pb2
from grpc_tools import protoc

ROOT = Path(__file__).parents[3]
PROTOS = (
    "miraveja/model",
    "oip/inference",
    "v1/inference",
    "v1/management",
    "v1/registry",
    "v1/rights",
)
STUBS = [f"{name}_pb2{kind}" for name in PROTOS for kind in (".py", ".pyi", "_grpc.py")]


def test_stubs_are_up_to_date(tmp_path: Path) -> None:
    outputs = [f"--{kind}_out={tmp_path}" for kind in ("python", "pyi", "grpc_python")]
    well_known = str(resources.files("grpc_tools") / "_proto")
    common = str(Path(status_pb2.__file__).parents[2])
    code = protoc.main(
        [
            "protoc",
            f"-I{ROOT / 'protos'}",
            f"-I{well_known}",
            f"-I{common}",
            *outputs,
            *(f"modelmora/rpc/{name}.proto" for name in PROTOS),
        ]
    )
    assert code == 0
    for name in STUBS:
        made = (tmp_path / "modelmora/rpc" / name).read_text()
        assert (ROOT / "modelmora/rpc" / name).read_text() == made, name


def test_the_package_is_the_public_name() -> None:
    proto = (ROOT / "protos/modelmora/rpc/v1/inference.proto").read_text()
    assert "\npackage modelmora.v1;\n" in proto
