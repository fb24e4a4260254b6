# SPDX-License-Identifier: GPL-3.0-or-later
"""What every training stage shares: a budget, the learning rate, EMA weights, checkpoints, helpers.

A stage is given minutes, not steps, because the machine decides how many steps fit. Minutes are of
processor time of the main process, so that a busy machine makes a stage longer, not worse. What is
spent is part of the checkpoint: a stage that was killed goes on where it was, and one that is
finished goes on only if it is given more minutes.

A second processor core is used by a helper process on the same shared weights, without locks
(Hogwild, Niu et al. 2011). For models this small it beats two threads per operation, several times
over when the machine is busy with other things.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

import torch
import torch.multiprocessing

from .device import DEVICE
from .muon import Muon

LossFactory = Callable[..., Callable[[torch.nn.Module, float], torch.Tensor]]


class Stage:
    """Trains `model` for `minutes` of work, and stops after `wall_minutes` in any case, to go on in
    another run. `ema` is the model to keep."""

    def __init__(
        self,
        name: str,
        model: torch.nn.Module,
        folder: Path,
        minutes: float,
        rate: float,
        ema_decay: float = 0.998,
        wall_minutes: float = math.inf,
    ) -> None:
        self.name, self.model, self.minutes, self.rate = name, model.to(DEVICE), minutes, rate
        self.ema = deepcopy(model).eval().requires_grad_(False)
        self.ema_decay = ema_decay
        self.optimizer = Muon(model.named_parameters(), rate)
        self.path = folder / f"{name}.pt"
        self.deadline = time.monotonic() + 60.0 * wall_minutes
        self.count, self.elapsed = 0, 0.0
        self._losses: list[float] = []
        if self.path.exists():
            self._load()
        if DEVICE.type == "cpu":
            model.share_memory()
        self.clock = torch.zeros(2).share_memory_()  # progress and learning rate, for the helpers

    def train(self, factory: LossFactory, *args: object, seed: int, helpers: int = 0) -> None:
        """Minimise `factory(*args, seed)(model, progress)` until the budget is spent.

        `factory` must be importable by name; each helper process calls it with a seed of its own.
        """
        if self.progress >= 1.0:
            return
        if DEVICE.type != "cpu":
            helpers = 0  # a card is kept busy by one process
        spawn = torch.multiprocessing.get_context("spawn")
        self.clock[:] = torch.tensor((self.progress, self._learning_rate()))
        team = [
            spawn.Process(
                target=_assist,
                daemon=True,
                args=(self.model, self.clock, factory, args, seed + 100 * (i + 1) + self.count),
            )
            for i in range(helpers)
        ]
        for helper in team:
            helper.start()
        loss_of = factory(*args, seed + self.count)
        for _ in self:
            self.step(loss_of(self.model, self.progress))
        for helper in team:
            helper.join()

    @property
    def progress(self) -> float:
        """Share of the budget that is spent, 0..1."""
        return min(1.0, self.elapsed / (60.0 * self.minutes))

    def __iter__(self) -> Iterator[int]:
        started, before = time.process_time(), self.elapsed
        saved = told = time.monotonic()
        while self.progress < 1.0 and time.monotonic() < self.deadline:
            yield self.count
            self.elapsed = before + time.process_time() - started
            now = time.monotonic()
            if now - told > 30:
                self._tell()
                told = now
            if now - saved > 120:
                self.save()
                saved = now
        self.clock[0] = 1.0
        self.save()

    def step(self, loss: torch.Tensor) -> None:
        """Back-propagate, clip, update, and move the EMA weights along."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.clock[:] = torch.tensor((self.progress, self._learning_rate()))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.count += 1
        self._losses.append(float(loss.detach()))
        decay = min(self.ema_decay, (1 + self.count) / (10 + self.count))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.ema.parameters()), list(self.model.parameters()), 1.0 - decay
            )

    def _learning_rate(self) -> float:
        """Linear warm-up over 50 steps, then flat; in the last quarter a line down to 2 %."""
        return self.rate * min(1.0, (self.count + 1) / 50, 0.02 + 4.0 * (1.0 - self.progress))

    def _tell(self) -> None:
        recent = self._losses[-100:]
        print(
            f"{self.name} step {self.count} {100 * self.progress:.0f}% "
            f"loss {sum(recent) / max(len(recent), 1):.4f}",
            flush=True,
        )

    def save(self) -> None:
        """Write the checkpoint under a temporary name, then rename it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        torch.save(
            {
                "model": self.model.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "count": self.count,
                "elapsed": self.elapsed,
            },
            partial,
        )
        partial.replace(self.path)

    def _load(self) -> None:
        state = torch.load(self.path, map_location=DEVICE, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.count, self.elapsed = state["count"], state["elapsed"]


def _assist(
    model: torch.nn.Module, clock: torch.Tensor, factory: LossFactory, args: tuple, seed: int
) -> None:
    """Take steps on the shared weights of `model` until the clock's progress is 1."""
    os.nice(5)  # a helper takes what is idle; the main process must not wait for it
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    loss_of = factory(*args, seed)
    optimizer = Muon(model.named_parameters(), float(clock[1]))
    parent = os.getppid()
    while clock[0] < 1.0 and os.getppid() == parent:
        for group in optimizer.param_groups:
            group["lr"] = float(clock[1])
        loss_of(model, float(clock[0])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
