# SPDX-License-Identifier: GPL-3.0-or-later
"""One component of a model: known from its files' headers, loaded at first use."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from diffusers.hooks import apply_group_offloading
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from ...core.errors import WrongModel
from ...core.schema import show
from .files.assemble import ALIASES, assemble, can_hold, check, is_matrix
from .files.lora import set_loras
from .files.tensor_files import fingerprint
from .files.weights import Weights
from .held import Held, Kept, Key, stamp
from .layout import complete, locate
from .memory import name_device
from .switches import restore

_DIFFUSERS = {
    cls.__name__: cls
    for cls in (AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel)
}

_PLAIN = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}

OnTensor = Callable[[str, int, int], None]  # a part's name, its tensors that are read, of how many


class Component:
    """``place`` is a folder with config.json, a single file, or several files (the shards of
    one, or a T2V transformer and what VACE adds to it)."""

    def __init__(
        self,
        name: str,
        place: Path | list[Path],
        device: torch.device,
        dtype: torch.dtype,
        watch: OnTensor,
        keep_packed: bool = True,
        held: Held | None = None,
    ) -> None:
        self.name = name
        self._held = held or Held(keeps=False)
        self.device, self.dtype, self.keep_packed = device, dtype, keep_packed
        self.files, known = locate(place)
        self.source = str(self.files[0] if len(self.files) == 1 else self.files[0].parent)
        # see memory.MemoryPlan
        self.quantise, self.resident_blocks, self.on_cpu = False, -1, False
        self._watch = watch
        self._model: nn.Module | None = None
        self._seconds = 0.0  # that loading it took
        self._stamp = stamp(self.files)
        self.weights = Weights(self.files, name)
        self.config = complete(name, known, self.weights.infos)
        checked = ("matrices", name, *map(str, self.files), self._stamp, self._configuration)
        self._matrices = self._held.share(checked, self._check)

    def _check(self) -> frozenset[str]:
        """The names of its matrices. Raises WrongModel where its files do not hold what its
        configuration says. Takes a tenth of a second and more: a model of this size is made."""
        empty = self.empty()
        expected = {key: tuple(t.shape) for key, t in empty.state_dict().items()}
        ignored = getattr(empty, "_keys_to_ignore_on_load_unexpected", None)
        check(expected, self.weights.infos, ignored, self.source)
        return frozenset(key for key in expected if is_matrix(empty, key))

    @property
    def loaded(self) -> bool:
        return self._model is not None

    @property
    def model(self) -> Any:
        """The component on its device, in evaluation mode, without gradients."""
        if self._model is None:
            kept = self._held.lend(self, self.key)
            if kept:
                self._model, self._seconds = kept.model, kept.seconds
            else:
                self._load()
        return self._model

    @property
    def key(self) -> Key:
        """What a loaded model is known by: its files, and how it lies in memory."""
        files = tuple(map(str, self.files))
        place = (self.name.removesuffix("_2"), files, name_device(self.device), self.dtype)
        how = (self.keep_packed, self.quantise, self.resident_blocks, self.on_cpu)
        return Key(place, (self._stamp, self._content, *how))

    @cached_property
    def _content(self) -> str:
        return f"{fingerprint(self.files)} {self._configuration}"

    @cached_property
    def _configuration(self) -> str:
        return json.dumps(self.config, sort_keys=True, default=str)

    @property
    def _streamed(self) -> bool:
        return self.resident_blocks >= 0 and self.device.type != "cpu"

    def _load(self) -> None:
        began = time.monotonic()
        empty = self.empty()
        total = len(empty.state_dict())
        exact = ()
        if self.name not in ("text_encoder", "image_encoder"):
            exact = empty._keep_in_fp32_modules or ()
        model = assemble(
            empty,
            self.weights,
            torch.device("cpu") if self._streamed or self.on_cpu else self.device,
            self.dtype,
            self.source,
            exact,
            self.keep_packed,
            self.quantise,
            lambda done, total: self._watch(self.name, done, total),
        )
        if self._streamed:
            stream_blocks(model, self.device, self.resident_blocks)
        self._model, self._seconds = model, time.monotonic() - began
        self._watch(self.name, total, total)

    def _lies_in_file(self, name: str, dtype: torch.dtype) -> bool:
        """Whether the processor reads the tensor from its file's pages: it is of the file's type.
        Small tensors are left alone."""
        infos = self.weights.infos
        info = infos.get(name) or infos.get(ALIASES.get(name, ""))
        if info is None:
            return True
        plain = info.dtype in _PLAIN.values()
        if dtype == torch.int8:
            return not plain
        return plain and _PLAIN.get(dtype) == info.dtype and info.file.suffix.lower() != ".gguf"

    def fit(self, quantise: bool = False, resident_blocks: int = -1, on_cpu: bool = False) -> None:
        """How to load it from now on; a loaded model that is held otherwise is dropped."""
        if (quantise, resident_blocks, on_cpu) != (
            self.quantise,
            self.resident_blocks,
            self.on_cpu,
        ):
            self.drop()
            self.quantise, self.resident_blocks, self.on_cpu = quantise, resident_blocks, on_cpu

    def unload(self) -> None:
        """It is not at work any more: without its LoRAs it may be held for another job."""
        model = self._model
        if model is not None and self._is_as_in_its_files():
            if getattr(model, "_lora_handles", None):
                set_loras(model, [])
            restore(model)
            self._held.give_back(self.key, Kept(model, self._weigh(model), self._seconds))
        del model
        self.drop()

    def drop(self) -> None:
        """Let go of the model, whatever its state."""
        self._model = None
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _is_as_in_its_files(self) -> bool:
        try:
            return stamp(self.files) == self._stamp
        except OSError:
            return False

    def _weigh(self, model: nn.Module) -> dict[str, float]:
        """Device -> GB that letting go of ``model`` gives back: of pages of its files, nothing."""
        found: dict[str, float] = {}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            device = name_device(tensor.device)
            if device == "cpu" and not self._streamed and self._lies_in_file(name, tensor.dtype):
                continue
            found[device] = found.get(device, 0.0) + tensor.nbytes / 1e9
        return found

    def stays_packed(self, name: str) -> bool:
        """Whether the tensor is held as its file has it, fp8 or GGUF, once it is loaded."""
        float8 = self.weights.infos[name].dtype.startswith("F8")
        return self.keep_packed and name in self._matrices and can_hold(self.device, float8)

    def empty(self) -> nn.Module:
        """The model without memory. Raises WrongModel when its configuration is nonsense."""
        try:
            with init_empty_weights():
                if self.name == "text_encoder":
                    return UMT5EncoderModel(UMT5Config.from_dict(self.config))
                if self.name == "image_encoder":
                    config = self.config.get("vision_config", self.config)
                    return CLIPVisionModel(CLIPVisionConfig.from_dict(config))
                model = _DIFFUSERS[self.config["_class_name"]].from_config(self.config)
            if self.name == "vae":
                _check_statistics(model.config)
            return model
        except KeyError as error:
            raise WrongModel(
                f"{self.source} is a {self.config.get('_class_name')}; a Wan model's {self.name} "
                f"is one of: {', '.join(_DIFFUSERS)}.",
                "Choose a Wan model.",
            ) from error
        except Exception as error:  # a constructor raises what it likes for what it is given
            raise WrongModel(
                f"The configuration of {self.source} is not usable: {error}.",
                "Download its config.json again, or choose another model.",
            ) from error


def _check_statistics(config: Mapping[str, Any]) -> None:
    """Raise ValueError unless a VAE's latents have one mean and one deviation a channel."""
    for name in ("latents_mean", "latents_std"):
        values = config[name]
        right = isinstance(values, list | tuple) and len(values) == config["z_dim"]
        if not (right and all(isinstance(v, int | float) and math.isfinite(v) for v in values)):
            raise ValueError(f"{name} is {show(values)}, expected {config['z_dim']} numbers")
    if 0 in config["latents_std"]:
        raise ValueError("latents_std has a zero")


def stream_blocks(model: nn.Module, device: torch.device, resident: int) -> None:
    """Keep the first ``resident`` blocks on ``device`` and the rest in RAM, each brought over while
    the one before it works."""
    streamed = model.blocks[resident:]
    for block in streamed:
        apply_group_offloading(
            block,
            onload_device=device,
            offload_device=torch.device("cpu"),
            offload_type="block_level",
            num_blocks_per_group=1,
            use_stream=device.type == "cuda",
        )
    inside = {id(p) for p in streamed.parameters()}
    for tensor in [*model.parameters(), *model.buffers()]:
        if id(tensor) not in inside:
            tensor.data = tensor.data.to(device)
