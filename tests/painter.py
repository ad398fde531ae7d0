"""How `modelmora/cli/demo/painter` was made: `python -m tests.painter FOLDER` trains it anew.

A Stable Diffusion pipeline in small: it draws what the classifier of tests/shapes.py knows, so the
data is ours, and so are the weights. A quarter of an hour on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from tests.shapes import LABELS, SIDE, pictures, some

START, END = "<|startoftext|>", "<|endoftext|>"
OPENINGS = ("", "a ", "draw a ")
LENGTH = 16
"""Tokens of a prompt."""
LATENTS = 4096
STEPS, GUIDANCE = 8, 2.0
"""Of the samples that are judged while it learns."""


def tokenizer() -> Any:
    """Each word of the prompts is one token; other words are spelt."""
    import json

    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import CLIPTokenizer

    words = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=1000, initial_alphabet=letters, end_of_word_suffix="</w>", show_progress=False
    )
    words.train_from_iterator([OPENINGS[-1] + each for each in LABELS], trainer)
    merges = [tuple(pair) for pair in json.loads(words.to_str())["model"]["merges"]]
    known = [START, END, *letters, *(f"{each}</w>" for each in letters), *map("".join, merges)]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(known))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def pipeline() -> Any:
    """The parts, untrained: 32 x 32 pixels are 8 x 8 latents of 4 numbers."""
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        StableDiffusionPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    words = tokenizer()
    vae = AutoencoderKL(
        block_out_channels=(16, 16, 32),
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        sample_size=SIDE,
    )
    unet = UNet2DConditionModel(
        sample_size=SIDE // 4,
        layers_per_block=1,
        block_out_channels=(32, 32),
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32,
        attention_head_dim=2,  # it is their number
    )
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=LENGTH, bos_token_id=0, eos_token_id=1,
        pad_token_id=1,
    )  # fmt: skip
    # From pure noise, which the colour of the ground depends on: zero terminal SNR and v-prediction
    # (Lin et al. 2023, arXiv:2305.08891).
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=True,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        clip_sample=False,
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae, CLIPTextModel(text), words, unet, scheduler, None, None, requires_safety_checker=False
    )


def fit(weights: list[Any], steps: int, rate: float, loss_of: Any, look: Any = None) -> None:
    """Adam with a rate that warms up and then falls in a line; `look` sees each 250th step."""
    import torch

    optimiser = torch.optim.AdamW(weights, rate, weight_decay=0.0)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(step / 100, 1 - step / steps)
        loss = loss_of()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        if step % 250 == 249:
            print(step + 1, float(loss), flush=True)
            if look:
                look()


def learn_pixels(pipe: Any, numbers: Any, _judge: Any, steps: int = 1500) -> None:
    """Pictures to latents and back; latents are near a normal distribution, and scaled to 1."""
    import torch

    vae = pipe.vae

    def loss_of() -> Any:
        images, _ = some(numbers, 16)
        found = vae.encode(images).latent_dist
        return (vae.decode(found.sample()).sample - images).abs().mean() + 1e-4 * found.kl().mean()

    fit(list(vae.parameters()), steps, 3e-3, loss_of)
    with torch.no_grad():
        spread = vae.encode(some(numbers, 256)[0]).latent_dist.sample()
    print("latents", spread.mean((0, 2, 3)), spread.std((0, 2, 3)), flush=True)
    vae.register_to_config(scaling_factor=1 / float(spread.std()))


def learn_drawing(pipe: Any, numbers: Any, judge: Any, steps: int = 4000) -> None:
    """Noise to latents, as the prompt says; each tenth prompt is empty, which guidance needs."""
    import torch
    from torch.nn.functional import mse_loss

    labels = numbers.integers(0, len(LABELS), LATENTS)
    with torch.no_grad():
        images = pictures(numbers, labels).reshape(-1, 256, 3, SIDE, SIDE)
        latents = torch.cat(
            [pipe.vae.encode(torch.from_numpy(each)).latent_dist.mean for each in images]
        )
    latents = latents * pipe.vae.config.scaling_factor
    prompts = ["", *(opening + label for label in LABELS for opening in OPENINGS)]
    ids = pipe.tokenizer(
        prompts, padding="max_length", max_length=LENGTH, return_tensors="pt"
    ).input_ids

    def loss_of() -> Any:
        rows = torch.from_numpy(numbers.integers(0, LATENTS, 64))
        said = 1 + torch.from_numpy(labels)[rows] * len(OPENINGS)
        said = (said + torch.randint(0, len(OPENINGS), (64,))) * (torch.rand(64) >= 0.1)
        times = torch.randint(0, pipe.scheduler.config.num_train_timesteps, (64,))
        noise = torch.randn_like(latents[rows])
        seen = pipe.scheduler.add_noise(latents[rows], noise, times)
        words = pipe.text_encoder(ids)[0][said]
        wanted = pipe.scheduler.get_velocity(latents[rows], noise, times)
        return mse_loss(pipe.unet(seen, times, words).sample, wanted)

    def look() -> None:
        print(f"{score(pipe, judge, range(2)):.0%} of 24 samples show their prompt", flush=True)

    fit([*pipe.unet.parameters(), *pipe.text_encoder.parameters()], steps, 2e-3, loss_of, look)


def score(pipe: Any, judge: Any, seeds: Any) -> float:
    """The share of samples, one for each label and seed, that the classifier says it of."""
    import torch

    right = []
    for seed in seeds:
        drawn = pipe(
            list(LABELS),
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(seed),
            output_type="pt",
        ).images
        with torch.no_grad():
            best = judge(pixel_values=drawn * 2 - 1).logits.argmax(-1)
        right += (best == torch.arange(len(LABELS))).tolist()
    return sum(right) / len(right)


def train(folder: Path) -> None:
    """The autoencoder first, then what draws with it; kept in 16 bits."""
    import numpy as np
    import torch
    from transformers import ViTForImageClassification

    torch.set_num_threads(1)
    torch.manual_seed(0)
    judge = ViTForImageClassification.from_pretrained(
        Path(__file__).parent.parent / "modelmora" / "cli" / "demo" / "shapes"
    )
    pipe = pipeline()
    pipe.set_progress_bar_config(disable=True)
    for learn in (learn_pixels, learn_drawing):
        torch.manual_seed(1)
        learn(pipe, np.random.default_rng(1), judge)
    print(f"{score(pipe, judge, range(100, 110)):.0%} of 120 other samples", flush=True)
    pipe.to(dtype=torch.float16).save_pretrained(folder)


if __name__ == "__main__":
    train(Path(sys.argv[1]))
