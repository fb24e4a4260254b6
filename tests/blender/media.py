# SPDX-License-Identifier: GPL-3.0-or-later
"""Small test media: frames with every value in them, PNG files, sequences and encoded clips.

PNG is read and written here with zlib alone, so that what Blender wrote is judged by other code.
"""

from __future__ import annotations

import struct
import wave
import zlib
from pathlib import Path

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # PNG colour type to samples per pixel


def frame(index: int, width: int = 64, height: int = 48, bits: int = 8) -> np.ndarray:
    """(H, W, 3) uint8 or uint16 that uses the whole range and differs from frame to frame."""
    rng = np.random.default_rng(index)
    picture = rng.integers(0, 1 << bits, (height, width, 3))
    ramp = np.linspace(0, (1 << bits) - 1, width).astype(int)
    picture[: height // 2, :, index % 3] = ramp
    return picture.astype(np.uint16 if bits > 8 else np.uint8)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """(H, W) or (H, W, 3 or 4), uint8 or uint16."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    height, width, samples = pixels.shape
    kind = {count: kind for kind, count in CHANNELS.items()}[samples]
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).reshape(height, -1).view(np.uint8)
    scanlines = np.insert(rows, 0, 0, axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(scanlines)), (b"IEND", b""))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(SIGNATURE)
        for name, data in chunks:
            file.write(struct.pack(">I", len(data)) + name + data)
            file.write(struct.pack(">I", zlib.crc32(name + data)))
    return path


def read_png(path: Path) -> np.ndarray:
    """(H, W, C) uint8 or uint16, the samples as they are in the file."""
    data = path.read_bytes()
    assert data[:8] == SIGNATURE, path
    chunks, position = [], 8
    while position < len(data):
        (size,) = struct.unpack_from(">I", data, position)
        chunks.append((data[position + 4 : position + 8], data[position + 8 : position + 8 + size]))
        position += size + 12
    width, height, bits, kind, *_, interlaced = struct.unpack(">IIBBBBB", chunks[0][1])
    assert kind in CHANNELS, kind
    assert (bits in (8, 16), interlaced) == (True, 0), (bits, interlaced)
    step = CHANNELS[kind] * bits // 8
    packed = b"".join(content for name, content in chunks if name == b"IDAT")
    rows = _unfilter(zlib.decompress(packed), height, width * step, step)
    samples = rows.reshape(-1).view(">u2" if bits == 16 else np.uint8)
    return samples.reshape(height, width, CHANNELS[kind]).astype(f"u{bits // 8}")


def _unfilter(data: bytes, height: int, length: int, step: int) -> np.ndarray:
    """Undo the PNG row filters (PNG specification, section 9)."""
    scanlines = np.frombuffer(data, np.uint8).reshape(height, length + 1)
    above, rows = [0] * length, np.empty((height, length), np.uint8)
    for y, (kind, *row) in enumerate(scanlines.tolist()):
        for x in range(length):
            left = row[x - step] if x >= step else 0
            corner = above[x - step] if x >= step else 0
            guess = (
                0,
                left,
                above[x],
                (left + above[x]) // 2,
                _paeth(left, above[x], corner),
            )[kind]
            row[x] = (row[x] + guess) & 255
        rows[y] = above = row
    return rows


def _paeth(left: int, above: int, corner: int) -> int:
    distances = (abs(above - corner), abs(left - corner), abs(left + above - 2 * corner))
    return (left, above, corner)[distances.index(min(distances))]


def write_sequence(folder: Path, count: int, width: int = 64, height: int = 48, bits: int = 8):
    """``count`` PNG frames in ``folder``; their paths."""
    return [
        write_png(folder / f"shot_{i:04d}.png", frame(i, width, height, bits)) for i in range(count)
    ]


def write_tone(path: Path) -> Path:
    """A tenth of a second of silence."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 800, "NONE", ""))
        file.writeframes(bytes(1600))
    return path


def encode(bpy, frames: list[Path], path: Path, codec: str = "FFV1", depth: str = "8") -> Path:
    """Encode PNG frames to a clip with Blender's own encoder, 24 fps. FFV1 is lossless."""
    from wan_blender.timeline import compat

    scene = bpy.data.scenes.new("encode")
    try:
        scene.render.resolution_y, scene.render.resolution_x = read_png(frames[0]).shape[:2]
        scene.view_settings.view_transform = "Standard"
        scene.render.dither_intensity = 0
        strips = scene.sequence_editor_create().strips
        strip = strips.new_image("frames", str(frames[0]), 1, 1)
        for other in frames[1:]:
            strip.elements.append(other.name)
        compat.set_length(strip, len(frames))
        settings = scene.render.image_settings
        if "media_type" in settings.bl_rna.properties:
            settings.media_type = "VIDEO"
        settings.file_format, settings.color_depth = "FFMPEG", "8"
        scene.render.ffmpeg.format, scene.render.ffmpeg.codec = "MKV", codec
        settings.color_depth = depth
        scene.render.use_file_extension = False
        scene.render.filepath = str(path)
        scene.frame_start, scene.frame_end = 1, len(frames)
        path.parent.mkdir(parents=True, exist_ok=True)
        bpy.ops.render.render(animation=True, scene=scene.name)
    finally:
        bpy.data.scenes.remove(scene)
    return path
