# SPDX-License-Identifier: GPL-3.0-or-later
"""python -m benchmarks.gpu: what one CUDA card does with Wan's sizes, in one table."""
