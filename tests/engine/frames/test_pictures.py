# SPDX-License-Identifier: GPL-3.0-or-later
"""A picture means what a viewer shows, whoever reads it."""

from __future__ import annotations

import contextlib
import io
import shutil
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from tests.engine.folders import make_job, moving_square, noise_plate
from wan_blender.core import job as jobs
from wan_blender.core.errors import UnsupportedClip
from wan_blender.core.job_pictures import REFERENCES, START, pictures
from wan_blender.core.mask_settings import ModelMask
from wan_blender.engine.conditioning import Scene
from wan_blender.engine.frames.colour_spaces import colorants, of_profile
from wan_blender.engine.frames.files import ShotFrames
from wan_blender.engine.frames.pictures import read_colour, read_picture
from wan_blender.engine.frames.region import Region
from wan_blender.engine.hygiene import pictures as hygiene
from wan_blender.engine.hygiene.measure.takes import Take
from wan_blender.masks.crop import plan_crop
from wan_blender.model_info.traits import ModelSizes

P3 = (0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
ADOBE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
D65 = (0.3127, 0.329)
SRGB_PARA = (3, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))


def fixed(*numbers: float) -> bytes:
    return struct.pack(f">{len(numbers)}i", *(round(n * 65536) for n in numbers))


def para(kind: int, numbers) -> bytes:
    return b"para\0\0\0\0" + struct.pack(">HH", kind, 0) + fixed(*numbers)


def curv(points) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(f">I{len(points)}H", len(points), *points)


def profile(primaries=None, curve: bytes = b"", white=D65, space: bytes = b"RGB ") -> bytes:
    """A display profile (ICC.1:2022) of primaries and one curve, or of gray."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1, 0.8249)}
    text = b"mluc\0\0\0\0" + struct.pack(">II2s2sII", 1, 12, b"en", b"US", 2, 28) + b"\0x"
    tags |= {b"desc": text, b"cprt": text}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        columns = colorants(primaries, white).T
        names = (b"r", b"g", b"b")
        tags |= {n + b"XYZ": b"XYZ \0\0\0\0" + fixed(*c) for n, c in zip(names, columns)}
        tags |= {n + b"TRC": curve for n in names}
    at, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"test", 0x04300000, b"mntr", space, b"XYZ ")
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28)
    head += fixed(0.9642, 1, 0.8249) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


PROFILES = {
    "Display P3": profile(P3, para(*SRGB_PARA)),
    "Adobe RGB": profile(ADOBE, curv([round(2.19921875 * 256)])),
    "of a table": profile(P3, curv([round(65535 * (i / 255) ** 1.8) for i in range(256)])),
    "linear": profile(ADOBE, curv([])),
    "of kind 1": profile(ADOBE, para(1, (2.0, 1.1, -0.1))),
    "of kind 4": profile(P3, para(4, (2.4, 0.94, 0.055, 0.077, 0.04, 0.01, 0.0))),
    "of another white": profile(P3, para(0, (2.6,)), (0.314, 0.351)),
}


def noise(*shape: int, dtype=np.uint8, seed: int = 0) -> np.ndarray:
    peak = np.iinfo(dtype).max
    return np.random.default_rng(seed).integers(0, peak, shape, dtype, endpoint=True)


def smooth(height: int = 48, width: int = 64) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    planes = (4 * x % 256, 5 * y % 256, (2 * x + 3 * y) % 256)
    return np.stack(planes, -1).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_equals_the_upright_file(tmp_path, suffix, orientation):
    """Bit for bit. Lossy formats are compared with what their own pixels are, turned by Pillow."""
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if suffix == "webp" else {}
    options |= {"tiffinfo": {274: orientation}} if suffix == "tiff" else {"exif": exif}
    path, plain = tmp_path / f"a.{suffix}", tmp_path / "plain.png"
    Image.fromarray(smooth()).save(path, **options)
    raw = np.asarray(Image.open(path).convert("RGB"))
    if suffix == "jpg":
        raw = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    turned = Image.fromarray(np.ascontiguousarray(raw))
    turn = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)
    done = turn is None or suffix == "tiff"  # Pillow turns these itself
    (turned if done else turned.transpose(turn)).save(plain)
    assert np.array_equal(read_colour(path), read_colour(plain))
    assert np.array_equal(hygiene.read_picture(path), hygiene.read_picture(plain))


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_a_profile_is_applied_as_littlecms_does(tmp_path, name, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(smooth()).save(path, icc_profile=PROFILES[name], quality=100, subsampling=0)
    source = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)[..., ::-1]
    source = Image.fromarray(np.ascontiguousarray(source))
    given = ImageCms.ImageCmsProfile(io.BytesIO(PROFILES[name]))
    expected = ImageCms.profileToProfile(source, given, ImageCms.createProfile("sRGB"))
    difference = np.abs(read_colour(path).astype(int) - np.asarray(expected))
    assert difference.max() <= 2
    assert np.abs(np.asarray(source).astype(int) - np.asarray(expected)).max() > 10


def test_a_picture_of_sixteen_bit_keeps_them(tmp_path):
    """Within two of 255 of LittleCMS, and as fine as it was."""
    wide = np.linspace(0, 65535, 64 * 48 * 3).astype(np.uint16).reshape(48, 64, 3)
    data = cv2.imencode(".png", wide[..., ::-1])[1].tobytes()
    packed = b"x\0\0" + zlib.compress(PROFILES["Display P3"])
    path = tmp_path / "a.png"
    path.write_bytes(with_chunk(data, b"iCCP", packed))
    found = read_colour(path)
    assert found.dtype == np.uint16
    given = ImageCms.ImageCmsProfile(io.BytesIO(PROFILES["Display P3"]))
    eight = Image.fromarray(np.rint(wide / 257).astype(np.uint8))
    expected = ImageCms.profileToProfile(eight, given, ImageCms.createProfile("sRGB"))
    assert np.abs(found / 257 - np.asarray(expected)).max() <= 2
    assert len(np.unique(found)) > 3000


def with_chunk(png: bytes, kind: bytes, data: bytes) -> bytes:
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk + png[33:]


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_the_words_of_png_for_a_colour_space_are_heard(tmp_path):
    path, plain = tmp_path / "a.png", png(smooth())
    path.write_bytes(plain)
    own = read_colour(path)
    assert np.array_equal(own, smooth())
    Image.fromarray(smooth()).save(tmp_path / "p3.png", icc_profile=PROFILES["Display P3"])
    Image.fromarray(smooth()).save(tmp_path / "adobe.png", icc_profile=PROFILES["Adobe RGB"])
    p3, adobe = read_colour(tmp_path / "p3.png"), read_colour(tmp_path / "adobe.png")
    chrm = struct.pack(">8I", *(round(v * 100_000) for v in (*D65, *ADOBE)))
    told = with_chunk(plain, b"gAMA", struct.pack(">I", 45470))
    for data, expected in (
        (with_chunk(plain, b"cICP", bytes((12, 13, 0, 1))), p3),
        (with_chunk(plain, b"cICP", bytes((1, 13, 0, 1))), own),
        (with_chunk(plain, b"cICP", bytes((9, 16, 0, 1))), own),  # PQ
        (with_chunk(told, b"cHRM", chrm), adobe),
        (with_chunk(with_chunk(told, b"cHRM", chrm), b"sRGB", b"\0"), own),
        (told, own),
    ):
        path.write_bytes(data)
        assert np.abs(read_colour(path).astype(int) - expected).max() <= 1


def test_a_profile_of_srgb_changes_no_bit(tmp_path):
    for number, data in enumerate((
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        profile((0.64, 0.33, 0.3, 0.6, 0.15, 0.06), para(*SRGB_PARA)),
    )):  # fmt: skip
        Image.fromarray(smooth()).save(tmp_path / f"{number}.png", icc_profile=data)
        assert np.array_equal(read_colour(tmp_path / f"{number}.png"), smooth())


@pytest.mark.parametrize("damage", [b"", b"x" * 200, PROFILES["Adobe RGB"][:300], b"\0" * 5000])
def test_a_damaged_profile_changes_no_bit(tmp_path, damage):
    Image.fromarray(smooth()).save(tmp_path / "a.png", icc_profile=damage)
    assert np.array_equal(read_colour(tmp_path / "a.png"), smooth())


def test_gray_profiles_are_applied(tmp_path):
    gray = smooth()[..., 0]
    data = profile(curve=curv([round(1.8 * 256)]), space=b"GRAY")
    Image.fromarray(gray).save(tmp_path / "a.png", icc_profile=data)
    given = ImageCms.ImageCmsProfile(io.BytesIO(data))
    expected = ImageCms.profileToProfile(
        Image.fromarray(gray), given, ImageCms.createProfile("sRGB"), outputMode="RGB"
    )
    found = read_colour(tmp_path / "a.png").astype(int)
    assert np.abs(found - np.asarray(expected)).max() <= 2
    assert np.abs(found[..., 0] - gray).max() > 10


def test_profiles_of_tables_go_through_littlecms(tmp_path):
    """A profile of LittleCMS' own with a table from device to Lab."""
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert of_profile(lab) is None
    assert of_profile(PROFILES["Display P3"].replace(b"rTRC", b"A2B0", 1)) is None
    Image.fromarray(smooth()).save(tmp_path / "a.png", icc_profile=lab)  # of no RGB picture
    assert np.array_equal(read_colour(tmp_path / "a.png"), smooth())


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk_is_read_as_pillow_shows_it(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(smooth()).convert("CMYK").save(path, quality=98)
    assert np.array_equal(read_colour(path), np.asarray(Image.open(path).convert("RGB")))
    assert np.abs(read_colour(path).astype(int) - smooth()).mean() < 4


ALPHAS = {
    "rgba": lambda a: Image.fromarray(np.dstack([smooth(), a])),
    "gray": lambda a: Image.fromarray(np.dstack([smooth()[..., 0], a]), "LA"),
    "turned": lambda a: Image.fromarray(np.dstack([smooth(), a])),
}


@pytest.mark.parametrize("kind", ALPHAS)
@pytest.mark.filterwarnings("ignore:.*mode.*:DeprecationWarning")
def test_alpha_is_laid_over_white(tmp_path, kind):
    exif = Image.Exif()
    exif[274] = 6
    alpha = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1))
    image = ALPHAS[kind](alpha)
    image.save(tmp_path / "a.png", **({"exif": exif} if kind == "turned" else {}))
    below = Image.new("RGBA", image.size, "white")
    expected = np.asarray(Image.alpha_composite(below, image.convert("RGBA")))[..., :3]
    expected = np.rot90(expected, -1) if kind == "turned" else expected
    assert np.abs(read_colour(tmp_path / "a.png").astype(int) - expected).max() <= 1


def test_a_colour_that_stands_for_clear_is_clear(tmp_path):
    gray = smooth()[..., 0].copy()
    Image.fromarray(gray).save(tmp_path / "gray.png", transparency=int(gray[5, 5]))
    Image.fromarray(smooth()).save(
        tmp_path / "rgb.png", transparency=tuple(smooth()[5, 5].tolist())
    )
    for name in ("gray", "rgb"):
        picture = read_picture(tmp_path / f"{name}.png")
        assert picture[5, 5, 3] == 0
        assert picture[..., 3].max() == 255
        assert (read_colour(tmp_path / f"{name}.png")[5, 5] == 255).all()


def test_premultiplied_tiff_is_straightened(tmp_path):
    colour = np.full((8, 8, 3), 200, np.uint8)
    alpha = np.full((8, 8, 1), 128, np.uint8)
    multiplied = np.dstack([np.rint(colour * (alpha / 255)).astype(np.uint8), alpha])
    image = Image.fromarray(multiplied)
    image.save(tmp_path / "b.tiff")
    straight, associated = (struct.pack("<HHIH", 338, 3, 1, kind) for kind in (2, 1))
    data = (tmp_path / "b.tiff").read_bytes()
    assert data.count(straight) == 1
    (tmp_path / "a.tiff").write_bytes(data.replace(straight, associated))
    assert np.abs(read_picture(tmp_path / "a.tiff")[..., :3].astype(int) - 200).max() <= 1
    assert np.array_equal(read_picture(tmp_path / "b.tiff"), multiplied)


def test_float_tiff_is_a_picture_too(tmp_path):
    values = np.full((8, 8, 3), 0.5, np.float32)
    (tmp_path / "a.tiff").write_bytes(cv2.imencode(".tiff", values)[1].tobytes())
    assert (read_colour(tmp_path / "a.tiff") == 32768).all()


def test_model_and_commands_are_shown_the_same(tmp_path):
    """A phone's JPEG, turned and in Display P3, as start picture, reference, and of hygiene."""
    exif = Image.Exif()
    exif[274] = 6
    path, upright = tmp_path / "phone.jpg", tmp_path / "upright.png"
    Image.fromarray(smooth(64, 48)).save(path, exif=exif, icc_profile=PROFILES["Display P3"])
    assert read_colour(path).shape == (48, 64, 3)
    Image.fromarray(read_colour(path)).save(upright)
    seen = []
    for picture in (path, upright):
        folder = make_job(
            tmp_path / picture.stem, noise_plate(5, 48, 64), moving_square(5, 48, 64),
            model_mask__start_image=picture.name, model_mask__references=picture.name,
        )  # fmt: skip
        shutil.copy(picture, folder)
        job = jobs.read(folder)
        shot = ShotFrames(folder, job)
        crop = plan_crop(5, (64, 48), (0, 0, 64, 48), job.region, ModelSizes())
        scene = Scene(shot, Region(**vars(crop)), job.model_mask)
        seen.append((scene.given(START), scene.references()[0]))
        result = folder / "result"
        assert np.array_equal(Take(folder, result, job).start(), hygiene.read_picture(upright))
    for one, other in zip(*seen):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.filterwarnings("ignore")
def test_mangled_pictures_end_in_a_sentence(tmp_path, seed):
    chance = np.random.default_rng(seed)
    exif = Image.Exif()
    exif[274] = 6
    for suffix in ("jpg", "png", "tiff", "webp"):
        file = io.BytesIO()
        options = {} if suffix == "tiff" else {"exif": exif}
        image = Image.fromarray(smooth(16, 16))
        kind = {"jpg": "JPEG"}.get(suffix, suffix.upper())
        image.save(file, kind, icc_profile=PROFILES["Adobe RGB"], **options)
        for _ in range(40):
            data = bytearray(file.getvalue())
            for _ in range(chance.integers(1, 6)):
                data[chance.integers(len(data))] = chance.integers(256)
            path = tmp_path / f"a.{suffix}"
            cut = chance.integers(1, len(data)) if chance.random() < 0.2 else len(data)
            path.write_bytes(data[:cut])
            with contextlib.suppress(UnsupportedClip):
                assert read_colour(path).shape[2] == 3


def test_a_hidden_file_is_no_reference(tmp_path):
    place = tmp_path / "references"
    place.mkdir()
    (place / "._a.png").write_bytes(b"\0\5\x16\7")
    (place / "a.png").write_bytes(png(smooth()))
    assert [p.name for p in pictures(tmp_path, ModelMask(), REFERENCES)] == ["a.png"]
    assert not hygiene.is_picture(Path("._a.png"))
