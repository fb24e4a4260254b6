# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of a matrix as products of small ones other than LoRA's: LoHa and LoKr.

Only the small matrices are held. Their product, as large as the layer's own matrix, is made when
the layer is called and let go of after it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch

Tensor = torch.Tensor
Factor = tuple[Tensor, ...]  # a matrix, or two whose matrix product it is


class Product(Protocol):
    @property
    def shape(self) -> tuple[int, ...]:
        """Of the matrix. Raises ValueError where its factors do not fit each other."""

    def matrix(self) -> Tensor: ...

    def on(self, device: torch.device, dtype: torch.dtype, weight: float) -> Product:
        """The same times ``weight``, elsewhere."""


@dataclass(frozen=True)
class Hadamard:
    """LoHa: ``scale * (a @ b) * (c @ d)``, the two products element by element (FedPara,
    arXiv 2108.06098)."""

    first: Factor
    second: Factor
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        first, second = _shape(self.first), _shape(self.second)
        if first != second:
            raise ValueError(f"its products are {first} and {second}")
        return first

    def matrix(self) -> Tensor:
        return _product(self.first) * _product(self.second) * self.scale

    def on(self, device: torch.device, dtype: torch.dtype, weight: float) -> Hadamard:
        first, second = _moved(self.first, device, dtype), _moved(self.second, device, dtype)
        return replace(self, first=first, second=second, scale=self.scale * weight)


@dataclass(frozen=True)
class Kronecker:
    """LoKr: ``scale * kron(w1, w2)`` (KronA, arXiv 2212.10650). ``w2`` of a convolution may have
    its kernel behind its two dimensions."""

    w1: Factor
    w2: Factor
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        (rows, columns), (more_rows, more_columns, *kernel) = _shape(self.w1), _shape(self.w2)
        return rows * more_rows, columns * more_columns, *kernel

    def matrix(self) -> Tensor:
        w1, w2 = _product(self.w1), _product(self.w2)
        w1 = w1.reshape(*w1.shape, *[1] * (w2.ndim - 2))
        return torch.kron(w1, w2) * self.scale

    def on(self, device: torch.device, dtype: torch.dtype, weight: float) -> Kronecker:
        w1, w2 = _moved(self.w1, device, dtype), _moved(self.w2, device, dtype)
        return replace(self, w1=w1, w2=w2, scale=self.scale * weight)


def _product(factor: Factor) -> Tensor:
    return factor[0] if len(factor) == 1 else factor[0] @ factor[1]


def _moved(factor: Factor, device: torch.device, dtype: torch.dtype) -> Factor:
    return tuple(tensor.to(device, dtype) for tensor in factor)


def _shape(factor: Factor) -> tuple[int, ...]:
    shapes = [tuple(tensor.shape) for tensor in factor]
    if len(shapes) == 1 and len(shapes[0]) >= 2:
        return shapes[0]
    if len(shapes) == 2 and all(len(shape) == 2 for shape in shapes):
        (rows, rank), (same, columns) = shapes
        if rank == same and rank:
            return rows, columns
    raise ValueError(f"its matrices are {' and '.join(map(str, shapes))}")
