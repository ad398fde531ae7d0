"""What is read of GPUs, from a driver that a test has made."""

from __future__ import annotations

import pynvml
import pytest

from modelmora.resources import gpus
from tests.nvml import GIB, FakeGpu, two_gpus


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    assert gpus.list_gpus() == ()
    assert gpus.held_by(1, "GPU-aaaa") == 0


def test_gpus_are_listed_with_what_they_have(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = two_gpus().install(monkeypatch)
    driver.gpus[0].held = {7: 3 * GIB}
    assert gpus.list_gpus() == (
        gpus.Gpu("GPU-aaaa", 0, "Fake GPU-aaaa", 8 * GIB, 5 * GIB),
        gpus.Gpu("GPU-bbbb", 1, "Fake GPU-bbbb", 16 * GIB, 16 * GIB),
    )
    assert driver.open == 0


def test_a_process_is_seen_on_the_gpu_that_it_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = two_gpus().install(monkeypatch)
    driver.gpus[1].held = {7: 3 * GIB, 8: GIB, 9: None}
    assert gpus.held_by(7, "GPU-bbbb") == 3 * GIB
    assert gpus.held_by(7, "GPU-aaaa") == 0
    assert gpus.held_by(9, "GPU-bbbb") == 0


def test_a_gpu_that_falls_off_the_bus_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = two_gpus().install(monkeypatch)
    assert gpus.held_by(7, "GPU-gone") == 0
    assert driver.open == 0


def test_a_gpu_that_does_not_tell_its_memory_hides_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = two_gpus().install(monkeypatch)
    driver.gpus[0].mute = True
    assert [gpu.uuid for gpu in gpus.list_gpus()] == ["GPU-bbbb"]
    assert driver.open == 0


def test_the_instances_of_a_divided_gpu_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = two_gpus().install(monkeypatch)
    driver.gpus[1].instances = {
        0: FakeGpu("MIG-1111", 5 * GIB),
        3: FakeGpu("MIG-3333", 9 * GIB, {7: GIB}),
    }
    whole, first, second = gpus.list_gpus()
    assert (whole.uuid, whole.number) == ("GPU-aaaa", "0")
    assert (first.uuid, first.number, first.free) == ("MIG-1111", "1:0", 5 * GIB)
    assert (second.uuid, second.number, second.free) == ("MIG-3333", "1:3", 8 * GIB)
    assert gpus.held_by(7, "MIG-3333") == GIB
    everything = (whole, first, second)
    assert gpus.chosen(everything, ("1",)) == ((first, second), ())
    assert gpus.chosen(everything, ("1:3", "MIG-1")) == ((second, first), ())
    driver.gpus[1].instances = {}
    assert [gpu.number for gpu in gpus.list_gpus()] == ["0"]


def test_gpus_are_named_by_index_or_by_the_beginning_of_their_uuid(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    two_gpus().install(monkeypatch)
    first, second = gpus.list_gpus()
    assert gpus.chosen((first, second), ("1", "GPU-a")) == ((second, first), ())
    assert gpus.chosen((first, second), ("0", "GPU-aaaa", "7")) == ((first,), ("7",))
    assert gpus.chosen((first, second), ()) == ((), ())
