# SPDX-License-Identifier: GPL-3.0-or-later
"""Stage 3: the diffusion transformers, by flow matching on cached latents.

x = (1 - sigma) clean + sigma noise, the model is fed 1000 sigma and answers noise - clean
(rectified flow, Liu et al. 2022), sigma shifted as Wan shifts its schedule.
"""

from __future__ import annotations

import itertools
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from diffusers import WanTransformer3DModel, WanVACETransformer3DModel

from .device import DEVICE, fast_products
from .examples import FULL, IMAGE, LARGE, LARGE_IMAGE, MIDDLE, SHORT, ExamplePool
from .latents import Codec
from .stage import Stage
from .text import WIDTH

SHIFT = 3.0
BOUNDARY = 0.875  # sigma at which the high-noise expert hands over
DROP_CAPTION = 0.1
CARD_BATCH = 8 if DEVICE.type == "cuda" else 1
# about 2100 tokens each
BATCH = {IMAGE: 64, LARGE_IMAGE: 34, SHORT: 44, MIDDLE: 20, LARGE: 11, FULL: 6}
KEPT_WEIGHT = 0.2  # of the loss where the source stays: it is pinned or pasted over anyway
# of the loss where things are: their outlines are few cells, walls are many and hard to guess
THING_WEIGHT = 6.0
STRUCTURE_WEIGHT = 3.0  # where a wall with a structure is to be continued under the mask
MIDDLE_LOGIT = -0.4  # of the noise levels that are gathered in the middle

SHOWN_SPREAD = 0.2  # of latents over a frame; those of plain gray hardly vary
STILLS_UNTIL = 0.35  # of the budget: stills show what things look like at a third of the cost

_STILLS = (IMAGE, LARGE_IMAGE, MIDDLE)
_CLIPS = (LARGE_IMAGE, LARGE, MIDDLE, LARGE, IMAGE, MIDDLE, FULL, LARGE, SHORT)

_SIZES = {
    "num_attention_heads": 5,
    "attention_head_dim": 32,
    "out_channels": 16,
    "text_dim": WIDTH,
    "freq_dim": 128,
    "ffn_dim": 512,
    "num_layers": 6,
    "rope_max_seq_len": 256,
}


def new_vace() -> WanVACETransformer3DModel:
    return WanVACETransformer3DModel(in_channels=16, vace_layers=[0, 2], **_SIZES)


def new_image() -> WanTransformer3DModel:
    return WanTransformer3DModel(in_channels=36, **_SIZES)


def shifted(uniform: torch.Tensor, shift: float = SHIFT) -> torch.Tensor:
    """sigma = k u / (1 + (k - 1) u), Wan's timestep shift."""
    return shift * uniform / (1 + (shift - 1) * uniform)


def flow_loss(
    model: torch.nn.Module,
    batch: tuple[torch.Tensor, ...],
    no_text: torch.Tensor,
    sigma_range: tuple[float, float] = (0.0, 1.0),
) -> torch.Tensor:
    """Squared error of the velocity over one batch, mean; a tenth of the captions is dropped.

    With a VACE context the cells that its mask keeps count `KEPT_WEIGHT`, and those of a wall that
    is to be continued `STRUCTURE_WEIGHT`; cells full of things count `THING_WEIGHT` times as much
    as those that show the wall.
    """
    count = len(batch[0])
    dropped = torch.rand(count, 1, 1) < DROP_CAPTION
    clean, condition, text, things, structured, dropped, no_text = (
        part.to(model.device) for part in (*batch, dropped, no_text)
    )
    text = torch.where(dropped, no_text, text)
    sigma = noise_levels(count, sigma_range).to(model.device).view(-1, 1, 1, 1, 1)
    noise = torch.randn_like(clean)
    start, timestep = clean, 1000 * sigma.flatten()
    # without hints it must be a plain text-to-video model; a fifth of the steps train that
    hinted = float(torch.rand(()) > 0.2)
    if isinstance(model, WanVACETransformer3DModel) and hinted:
        start = still_source(clean, condition, sigma)
    noisy = (1 - sigma) * start + sigma * noise
    if isinstance(model, WanVACETransformer3DModel):
        strength = noisy.new_full((len(model.config.vace_layers),), hinted)
        found = model(
            noisy,
            timestep,
            text,
            control_hidden_states=condition,
            control_hidden_states_scale=strength,
            return_dict=False,
        )[0]
        masked = condition[:, 32:].amax(dim=1, keepdim=True)
        told = masked * structured.view(-1, 1, 1, 1, 1)
        weight = 1 + hinted * ((KEPT_WEIGHT - 1) * (1 - masked) + (STRUCTURE_WEIGHT - 1) * told)
        weight = weight * (1 - things) + things * weight.clamp(max=1.0)
    else:
        found = model(torch.cat([noisy, condition], dim=1), timestep, text, return_dict=False)[0]
        weight = torch.ones_like(clean[:, :1])
    weight = weight * (1 + (THING_WEIGHT - 1) * things)
    # (noisy - clean) / sigma: the way from what is there to the target
    wanted = noise - clean + (1 / sigma.clamp(min=0.05) - 1) * (start - clean)
    error = (found.float() - wanted).square().mean(dim=1, keepdim=True)
    return (weight * error).sum() / weight.sum()


def still_source(clean: torch.Tensor, condition: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Clean latents that are partly still those of the source, in rows whose mask is the whole clip
    and whose source shows; what the sampler meets when a restyle starts from the noised source.

    Up to all of it from sigma 0.67 (a strength of 0.4) to 0.9, then less in a line to none at 0.1;
    none above 0.9, where a run starts from noise.
    """
    source, mask = condition[:, 16:32], condition[:, 32:]
    shows = source.std(dim=(3, 4)).mean(dim=(1, 2)) > SHOWN_SPREAD
    rows = shows & (mask.amin(dim=(1, 2, 3, 4)) == 1)
    most = ((sigma - 0.1) / 0.57).clamp(0, 1) * (sigma < 0.9)
    return clean.lerp(source, torch.rand_like(sigma) * most * rows.view(-1, 1, 1, 1, 1))


def inverse_shift(sigma: float, shift: float = SHIFT) -> float:
    """The u of which `shifted` makes sigma."""
    return sigma / (shift - (shift - 1) * sigma)


def noise_levels(count: int, sigma_range: tuple[float, float] = (0.0, 1.0)) -> torch.Tensor:
    """sigma for a batch, (count,): half of them even before the shift, half gathered in the middle.

    The middle is where outlines are decided. Its levels are logit-normal before the shift (Esser et
    al. 2024); two thirds of them lie between sigma 0.43 and 0.85. Stratified: every batch has the
    same spread.
    """
    even = (torch.randperm(count) + torch.rand(count)) / count
    middle = torch.sigmoid(torch.special.ndtri(even.clamp(1e-4, 1 - 1e-4)) + MIDDLE_LOGIT)
    level = torch.where(torch.rand(count) < 0.5, even, middle)
    low, high = (inverse_shift(value) for value in sigma_range)
    return shifted(low + (high - low) * level)


def example_loss(
    folder: Path, kind: str, sigma_range: tuple[float, float], stills_until: float, seed: int
) -> Callable[[torch.nn.Module, float], torch.Tensor]:
    """The flow loss on examples from disk; looks for new ones every 50 steps.

    `stills_until` is the share of the budget that learns mostly from single frames, which show what
    things look like at a third of the cost.
    """
    rng = np.random.default_rng(seed)
    no_text = Codec.load(folder).text([""])
    pool = ExamplePool(folder, kind)
    counter = itertools.count()

    def loss(model: torch.nn.Module, progress: float) -> torch.Tensor:
        count = next(counter)
        if count % 50 == 49:
            pool.refresh()
        stills = progress < stills_until
        wanted = _STILLS if stills else _CLIPS
        turns = [size for size in wanted if size in pool.chunks] or list(pool.chunks)
        size = turns[count % len(turns)]
        batch = pool.batch(size, BATCH[size] * CARD_BATCH, rng)
        with fast_products():
            return flow_loss(model, batch, no_text, sigma_range)

    return loss


def train_transformer(
    name: str,
    model: torch.nn.Module,
    folder: Path,
    minutes: float,
    rate: float,
    seed: int,
    sigma_range: tuple[float, float] = (0.0, 1.0),
    stills_until: float = 0.0,
    helpers: int = 0,
    wall_minutes: float = math.inf,
) -> Stage:
    """Train `model` (or go on) on the examples of its kind; what to keep is the stage's EMA."""
    stage = Stage(name, model, folder, minutes, rate, wall_minutes=wall_minutes)
    torch.manual_seed(seed + stage.count)  # one that goes on draws new noise
    kind = "image" if isinstance(model, WanTransformer3DModel) else "vace"
    stage.train(
        example_loss,
        folder,
        kind,
        sigma_range,
        stills_until,
        seed=seed,
        helpers=helpers,
    )
    return stage


def train_variant(
    name: str, folder: Path, minutes: float, helpers: int = 1, wall_minutes: float = math.inf
) -> bool:
    """Train "vace", or from its weights "image" or "low" (the low-noise expert).

    "vace" starts from nothing; where there are adopted models, it and "image" start from those.
    Stops after `wall_minutes`, to go on when it is called again; True when `minutes` are spent.
    """
    spent = {"helpers": helpers, "wall_minutes": wall_minutes}
    restore(folder / name)
    if name == "vace":
        adopted = (folder / name).is_dir()
        kind = WanVACETransformer3DModel
        model = kind.from_pretrained(folder / name).float() if adopted else new_vace()
        # a model that knows its trade forgets it at the rate of one that starts
        rate = 1.5e-3 if adopted else 2.5e-3
        trained = train_transformer(
            name, model, folder, minutes, rate, 4, stills_until=STILLS_UNTIL, **spent
        )
    else:
        start = WanVACETransformer3DModel.from_pretrained(folder / "vace").float()
        if name == "image":
            adopted = (folder / name).is_dir()
            kind = WanTransformer3DModel
            model = (
                kind.from_pretrained(folder / name).float() if adopted else image_from_vace(start)
            )
            rate = 1e-3 if adopted else 1.5e-3
            trained = train_transformer(name, model, folder, minutes, rate, 5, **spent)
        else:
            trained = train_transformer(
                name,
                start,
                folder,
                minutes,
                6e-4,
                6,
                sigma_range=(0.0, BOUNDARY),
                **spent,
            )
    save_whole(trained.ema, folder / name)
    return trained.progress >= 1.0


def save_whole(model: torch.nn.Module, place: Path) -> None:
    """`save_pretrained` that a kill at any moment leaves whole, old or new.

    Folders cannot be exchanged in one step: between the two renames there is only `.old`, from
    which `restore` makes good.
    """
    new, old = place.with_name(f"{place.name}.new"), place.with_name(f"{place.name}.old")
    restore(place)
    shutil.rmtree(new, ignore_errors=True)
    model.save_pretrained(new)
    if place.is_dir():
        place.replace(old)
    new.replace(place)
    shutil.rmtree(old, ignore_errors=True)


def restore(place: Path) -> None:
    """Undo what a kill left of `save_whole`."""
    old = place.with_name(f"{place.name}.old")
    if old.is_dir():
        if place.is_dir():
            shutil.rmtree(old)
        else:
            old.replace(place)


def image_from_vace(start: WanVACETransformer3DModel) -> WanTransformer3DModel:
    """The main blocks as they are; the patch embedding gets 20 more input channels, at zero."""
    model = new_image()
    weights = {
        key: value for key, value in start.state_dict().items() if not key.startswith("vace_")
    }
    wide = torch.zeros_like(model.patch_embedding.weight)
    wide[:, :16] = weights["patch_embedding.weight"]
    model.load_state_dict(weights | {"patch_embedding.weight": wide})
    return model
