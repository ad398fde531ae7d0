"""Images are those of diffusers' own pipeline; what a request may ask is checked before.

What is slow to import is imported where it is used: this module is read by every worker.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from modelmora.engines import CATALOG, Outputs, Row, Withdrawn, settings_for
from modelmora.engines.entries import first_request
from modelmora.engines.images.pipeline import SCHEDULERS, read_files
from modelmora.errors import Code, RequestError
from modelmora.messages import InferenceRequest, Parameter
from modelmora.wire import encode_request
from modelmora.workers.child.trial import fault_of
from tests.integration.worker_rig import Spec, answers, group, load, supervised
from tests.tiny_pipelines import SIZE, make_pipeline

if TYPE_CHECKING:
    from modelmora.engines.images.diffusion import Diffusion

# What diffusers and peft say of themselves.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning"),
]
STEPS = 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pipeline(tmp_path_factory.mktemp("pipelines") / "tiny")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Diffusion:
    from modelmora.engines.images.diffusion import Diffusion

    made = Diffusion()
    facts = made.load(folder, {"device": "cpu", "steps": STEPS})
    assert (facts["size"], facts["scheduler"], facts["loras"]) == ("64x64", "DDIM", ["ink", "oil"])
    made.use_threads(1)
    return made


@pytest.fixture(autouse=True)
def unwatched(engine: Diffusion) -> Iterator[None]:
    """Nobody of a test before hears of the steps of the next."""
    yield
    engine.on_step = None


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    from diffusers import StableDiffusionPipeline

    made = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    made.set_progress_bar_config(disable=True)
    return made


def draw(engine: Diffusion, *prompts: str, **parameters: Parameter) -> Outputs | RequestError:
    settings = settings_for(CATALOG["txt2img"], parameters)
    request = InferenceRequest("r", "m", prompts)
    plan = engine.plan([(0, request)], settings)
    if plan.refused:
        return plan.refused[0][1]
    parts = [part for batch in plan.batches for part in engine.run(batch, settings)]
    return engine.finish(request, parts)


def drawn(engine: Diffusion, *prompts: str, **parameters: Parameter) -> Outputs:
    outputs = draw(engine, *prompts, **parameters)
    assert isinstance(outputs, Outputs), outputs
    return outputs


def pixels(png: Any) -> np.ndarray[Any, Any]:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize(
    ("scheduler", "kind"),
    [
        ("DDIM", "DDIMScheduler"),
        ("Euler", "EulerDiscreteScheduler"),
        ("EulerAncestral", "EulerAncestralDiscreteScheduler"),
        ("DPMSolver++", "DPMSolverMultistepScheduler"),
        ("LCM", "LCMScheduler"),
    ],
)
def test_images_are_those_of_the_library(
    engine: Diffusion, reference: Any, scheduler: str, kind: str
) -> None:
    import diffusers
    import torch

    outputs = drawn(
        engine,
        "a cat",
        seed=7,
        scheduler=scheduler,
        guidance=5,
        negative_prompt="dog",
        size="64x72",
    )
    reference.scheduler = getattr(diffusers, kind).from_config(reference.scheduler.config)
    (image,) = reference(
        "a cat",
        negative_prompt="dog",
        width=64,
        height=72,
        num_inference_steps=STEPS,
        guidance_scale=5.0,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images
    assert np.array_equal(pixels(outputs.contents[0]), np.asarray(image))
    assert outputs.settings == {
        "seed": 7,
        "size": "64x72",
        "steps": STEPS,
        "guidance": 5.0,
        "scheduler": scheduler,
        "filtered": False,
    }


def test_a_seed_gives_the_same_bytes_alone_and_again(engine: Diffusion) -> None:
    several = drawn(engine, "a", "b", "c", seed=5).contents
    assert drawn(engine, "b", seed=6).contents == several[1:2]
    assert drawn(engine, "a", "b", "c", seed=5).contents == several
    assert len({*map(bytes, several)}) == 3  # type: ignore[arg-type]


def test_without_a_seed_the_result_tells_the_one_that_was_drawn(engine: Diffusion) -> None:
    first, second = drawn(engine, "a"), drawn(engine, "a")
    assert first.settings["seed"] != second.settings["seed"]
    assert drawn(engine, "a", seed=first.settings["seed"]) == first


def test_loras_change_the_image_and_leave_no_trace(engine: Diffusion, reference: Any) -> None:
    import torch

    plain = drawn(engine, "a", seed=1)
    ink = drawn(engine, "a", seed=1, loras=("ink=0.8",))
    both = drawn(engine, "a", seed=1, loras=("ink=0.8", "oil"))
    assert drawn(engine, "a", seed=1, loras=("ink=0.8",)) == ink
    assert drawn(engine, "a", seed=1) == plain
    assert len({plain.contents[0], ink.contents[0], both.contents[0]}) == 3
    reference.scheduler = type(engine._pipe.scheduler).from_config(engine._scheduler)
    folder = engine._files.folder / "loras"
    for name in ("ink", "oil"):
        reference.load_lora_weights(folder, weight_name=f"{name}.safetensors", adapter_name=name)
    reference.set_adapters(["ink", "oil"], [0.8, 1.0])
    generator = torch.Generator("cpu").manual_seed(1)
    (image,) = reference("a", num_inference_steps=STEPS, generator=generator).images
    reference.unload_lora_weights()
    assert np.array_equal(pixels(both.contents[0]), np.asarray(image))


def test_a_lora_of_another_model_is_refused_and_the_engine_goes_on(
    engine: Diffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    import torch
    from safetensors.torch import save_file

    plain = drawn(engine, "a", seed=1)
    folder = engine._files.folder / "loras"
    key = "unet.down_blocks.0.nowhere.to_k.lora_A.weight"
    save_file({key: torch.zeros(4, 9)}, folder / "alien.safetensors")
    known = replace(engine._files, loras=("alien", "ink", "oil"))
    monkeypatch.setattr(engine, "_files", known)
    with pytest.raises(RequestError, match="the LoRA `alien` does not fit this model"):
        drawn(engine, "a", seed=1, loras=("ink", "alien"))
    assert drawn(engine, "a", seed=1) == plain
    (folder / "alien.safetensors").unlink()


def test_steps_are_told_and_what_is_withdrawn_stops(engine: Diffusion) -> None:
    seen: list[tuple[int, int, int]] = []

    def on_step(rows: Sequence[Row], done: int, total: int) -> None:
        seen.append((len(rows), done, total))
        if total == 9 and done == 4:
            raise Withdrawn

    plain = drawn(engine, "a", seed=1, steps=3)
    engine.on_step = on_step
    try:
        drawn(engine, "a", seed=1, steps=3)
        assert seen == [(1, 1, 3), (1, 2, 3), (1, 3, 3)]
        with pytest.raises(Withdrawn):
            drawn(engine, "a", steps=9)
        assert len(seen) == 7
        assert drawn(engine, "a", seed=1, steps=3) == plain
    finally:
        engine.on_step = None


def test_a_filter_that_changed_the_image_is_told(
    engine: Diffusion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blackened(image: Any, device: Any, dtype: Any) -> tuple[Any, list[bool]]:
        return image * 0, [True] * len(image)

    monkeypatch.setattr(engine._pipe, "run_safety_checker", blackened)
    outputs = drawn(engine, "a", "b", seed=1)
    assert outputs.settings["filtered"] is True


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"size": "64"}, "multiples of 8 pixels"),
        ({"size": "100x100"}, "multiples of 8 pixels"),
        ({"size": "0x64"}, "multiples of 8 pixels"),
        ({"size": "-64x64"}, "multiples of 8 pixels"),
        ({"size": "1024x1032"}, "has more pixels"),
        ({"size": "99992x99992"}, "has more pixels"),
        ({"scheduler": "euler"}, "`scheduler` is one of DDIM"),
        ({"scheduler": "LCM", "steps": 51}, "at most 50"),
        ({"loras": ("nobody",)}, "no LoRA 'nobody'; it has: ink, oil"),
        ({"loras": ("../ink",)}, r"no LoRA '\.\./ink'"),
        ({"loras": ("ink=heavy",)}, "is a number from -10 to 10"),
        ({"loras": ("ink=nan",)}, "is a number from -10 to 10"),
        ({"loras": ("ink=1e9",)}, "is a number from -10 to 10"),
        ({"loras": ("ink", "ink=2")}, "is there twice"),
        ({"negative_prompt": "x" * 100}, "`negative_prompt` has 102 tokens and the model takes 77"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    engine: Diffusion, parameters: dict[str, Parameter], fault: str
) -> None:
    refused = draw(engine, "a", **parameters)
    assert isinstance(refused, RequestError)
    assert refused.code is Code.INVALID_INPUT
    with pytest.raises(RequestError, match=fault):
        raise refused


def test_a_prompt_that_is_too_long_is_refused_alone(engine: Diffusion) -> None:
    requests = [InferenceRequest("r", "m", (text,)) for text in ("a", "b" * 76)]
    plan = engine.plan(list(enumerate(requests)), {})
    assert [[row.index for row in batch] for batch in plan.batches] == [[0]]
    ((index, error),) = plan.refused
    assert (index, error.message) == (1, "input 0 has 78 tokens and the model takes 77; shorten it")


def test_the_size_of_the_model_is_that_of_its_files(engine: Diffusion) -> None:
    assert pixels(drawn(engine, "a").contents[0]).shape == (SIZE, SIZE, 3)


def test_the_first_request_is_the_cheapest_there_is(engine: Diffusion, folder: Path) -> None:
    entry = CATALOG["txt2img"]
    files = read_files(folder)
    first = first_request(entry, "m", warm_up=True, files=files)
    assert first is not None
    assert first.parameters == {"size": "16x16", "steps": 1, "guidance": 1.0}
    for scheduler in SCHEDULERS:
        parameters = {**first.parameters, "scheduler": scheduler}
        if scheduler == "PNDM":
            fault = fault_of(engine, encode_request(replace(first, parameters=parameters)))
            assert fault is not None
            assert "at least 4" in fault.message
            parameters["steps"] = 4
        assert fault_of(engine, encode_request(replace(first, parameters=parameters))) is None
    own = first_request(entry, "m", warm_up="a cat", files=files)
    assert own == replace(first, inputs=("a cat",))


@pytest.mark.faults
async def test_images_through_a_forked_child(folder: Path) -> None:
    entry = CATALOG["txt2img"]
    trial = first_request(entry, "tiny", warm_up=True, files=read_files(folder))
    spec = Spec(
        "tiny", "1", "txt2img", entry.engine, str(folder), options={"device": "cpu"},
        warm_up=encode_request(trial) if trial else None,
    )  # fmt: skip
    async with supervised(entry.modules) as (supervisor, recorder):
        await load(supervisor, recorder, 1, spec)
        took = recorder.info[1]["warm_up_ms"]
        assert isinstance(took, float)
        assert took > 0
        first = await answers(supervisor, recorder, group(1, 1, [["a"], ["b"]], seed=1, steps=1))
        again = await answers(supervisor, recorder, group(2, 1, [["a"]], seed=1, steps=1))
    assert first[:1] == again
    assert b"\x89PNG" in (first[0] or b"")
    assert first[0] != first[1]
    assert recorder.results[2][0].settings == {
        "seed": 1,
        "size": "64x64",
        "steps": 1,
        "guidance": 7.5,
        "scheduler": "DDIM",
        "filtered": False,
    }
