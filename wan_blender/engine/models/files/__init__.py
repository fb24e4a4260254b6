# SPDX-License-Identifier: GPL-3.0-or-later
"""Weights as they lie on disk: safetensors, GGUF, LoRAs, in every dialect."""
