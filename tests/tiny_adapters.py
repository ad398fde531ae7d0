"""LoRAs of tiny models with random weights, and what PEFT itself makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def make_adapter(folder: Path, auto: Any, base: Path, *targets: str, **config: Any) -> Path:
    """An adapter that changes much of a model of the class `auto`."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(2)
    lora = LoraConfig(
        r=4, lora_alpha=8, target_modules=[*targets], init_lora_weights=False, **config
    )
    tuned = get_peft_model(auto.from_pretrained(str(base)), lora)
    with torch.no_grad():
        for name, each in tuned.named_parameters():
            if "lora_" in name:
                each.mul_(4)
    tuned.save_pretrained(str(folder))
    return folder


def merged(auto: Any, base: Path, adapter: Path) -> Any:
    """The model as PEFT merges it."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(auto.from_pretrained(str(base)), str(adapter))
    return model.merge_and_unload().eval()
