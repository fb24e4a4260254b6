# SPDX-License-Identifier: GPL-3.0-or-later
"""Muon (Jordan et al. 2024): momentum whose update is made orthogonal, for matrices and kernels.

Small models learn in about half the steps that Adam takes. Biases, gains, embeddings and whatever
else is not a matrix get AdamW.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from .device import product_dtype


class Muon(torch.optim.Optimizer):
    """Muon and AdamW in one; the update's size is matched to AdamW's (Liu et al. 2025), so one
    learning rate serves both."""

    def __init__(
        self,
        named: Iterable[tuple[str, torch.nn.Parameter]],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        matrices, others = [], []
        for name, weight in named:
            if weight.requires_grad:
                is_matrix = weight.ndim > 1 and min(weight.shape[0], weight[0].numel()) > 8
                table = "embed_tokens" in name or "shared" in name or "scale_shift" in name
                (matrices if is_matrix and not table else others).append(weight)
        super().__init__(
            [{"params": matrices, "orthogonal": True}, {"params": others, "orthogonal": False}],
            {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "betas": (0.9, 0.98)},
        )

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            update = _muon_update if group["orthogonal"] else _adam_update
            for weight in group["params"]:
                if weight.grad is not None:
                    weight.mul_(1 - group["lr"] * group["weight_decay"] * group["orthogonal"])
                    weight.add_(update(weight, self.state[weight], group), alpha=-group["lr"])


def _muon_update(weight: torch.Tensor, state: dict, group: dict) -> torch.Tensor:
    if not state:
        state["momentum"] = torch.zeros_like(weight)
    momentum = state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
    ahead = weight.grad.lerp(momentum, group["momentum"]).flatten(1)
    scale = 0.2 * max(ahead.shape) ** 0.5
    return orthogonalised(ahead).mul_(scale).view_as(weight)


def orthogonalised(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """`matrix` with its singular values brought near 1 by a quintic Newton-Schulz iteration."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = (x / (x.norm() + 1e-7)).to(product_dtype(matrix.device))
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return (x.T if matrix.shape[0] > matrix.shape[1] else x).to(matrix.dtype)


def _adam_update(weight: torch.Tensor, state: dict, group: dict) -> torch.Tensor:
    if not state:
        state.update(
            count=torch.zeros(()), mean=torch.zeros_like(weight), square=torch.zeros_like(weight)
        )
    first, second = group["betas"]
    state["count"] += 1
    state["mean"].lerp_(weight.grad, 1 - first)
    state["square"].mul_(second).addcmul_(weight.grad, weight.grad, value=1 - second)
    mean = state["mean"] / (1 - first ** state["count"])
    spread = (state["square"] / (1 - second ** state["count"])).sqrt_()
    return mean / spread.add_(1e-8)
