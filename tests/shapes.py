"""How `modelmora/cli/demo/shapes` was made: `python -m tests.shapes FOLDER` trains it anew.

It knows four colours and three shapes in pictures of 32 x 32 pixels, which are drawn here: the data
is ours, and so are the weights. A minute on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

SIDE = 32
COLOURS = {
    "red": (205, 45, 45),
    "green": (50, 160, 70),
    "blue": (50, 80, 200),
    "yellow": (230, 195, 40),
}
SHAPES = ("circle", "square", "triangle")
LABELS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)


def pictures(numbers: Any, labels: Any) -> Any:
    """A picture [rows, 3, 32, 32] from -1 to 1 for each label, each a little different."""
    import numpy as np

    rows = len(labels)
    down, right = np.mgrid[0:SIDE, 0:SIDE][:, None] + 0.5
    x = right - (16 + numbers.uniform(-2, 2, (rows, 1, 1)))
    y = down - (16 + numbers.uniform(-2, 2, (rows, 1, 1)))
    half = numbers.uniform(8, 11, (rows, 1, 1))
    inside = np.stack(
        [
            half - np.hypot(x, y),
            0.9 * half - np.maximum(abs(x), abs(y)),
            np.minimum(half - y, (0.55 * (y + half) - abs(x)) / 1.14),
        ],
        1,
    )
    shape, colour = labels % len(SHAPES), labels // len(SHAPES)
    cover = np.clip(inside[np.arange(rows), shape] + 0.5, 0, 1)[:, None]
    paint = np.array([*COLOURS.values()], float)[colour][:, :, None, None]
    paint = paint + numbers.uniform(-12, 12, (rows, 3, 1, 1))
    ground = np.full((rows, 3, 1, 1), 235.0) + numbers.uniform(-10, 10, (rows, 1, 1, 1))
    return ((paint * cover + ground * (1 - cover)) / 127.5 - 1).astype("f4")


def some(numbers: Any, rows: int) -> tuple[Any, Any]:
    """Pictures and their labels, as tensors."""
    import torch

    labels = numbers.integers(0, len(LABELS), rows)
    return torch.from_numpy(pictures(numbers, labels)), torch.from_numpy(labels)


def train(folder: Path, steps: int = 500) -> None:
    """A classifier of 12 labels."""
    import numpy as np
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    torch.manual_seed(0)
    numbers = np.random.default_rng(0)
    named = dict(enumerate(LABELS))
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        image_size=SIDE, patch_size=8, id2label=named, label2id={v: k for k, v in named.items()},
        hidden_dropout_prob=0.0,
    )  # fmt: skip
    model = ViTForImageClassification(config)
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.01)
    for step in range(steps):
        images, labels = some(numbers, 64)
        images = images + 0.3 * torch.rand(64, 1, 1, 1) * torch.randn_like(images)
        loss = model(pixel_values=images, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 100 == 99:
            print(step + 1, float(loss), flush=True)
    model.save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


if __name__ == "__main__":
    train(Path(sys.argv[1]))
