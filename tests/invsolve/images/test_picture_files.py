"""Picture files: what is read is what is in the file, and files are written whole or not at all."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin, features

from invsolve.images.files import central_crop, list_pictures, picture_name, read_image, write_atomically, write_image


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def expected(values: np.ndarray, white: int = 255) -> torch.Tensor:
    """[H, W, C] integers as [C, H, W] in [-1, 1], by the definition."""
    return torch.from_numpy(values.astype(np.float64) / white * 2 - 1).permute(2, 0, 1)


def largest_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    assert found.shape == wanted.shape
    return (found.double() - wanted).abs().max().item()


def write_tiff(path: Path, bits: int, size: tuple[int, int], data: bytes) -> None:
    """Gray pixels packed into ``data`` as an uncompressed TIFF of one strip, of any depth."""
    short, long = 3, 4
    start = 8 + 2 + 12 * 9 + 4
    entries = [(256, long, size[1]), (257, long, size[0]), (258, short, bits), (259, short, 1), (262, short, 1)]
    entries += [(273, long, start), (277, short, 1), (278, long, size[0]), (279, long, len(data))]
    directory = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4) + data)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_lossless_formats_give_their_pixels(tmp_path, pixels, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, **({"lossless": True} if suffix == "webp" else {}))
    assert largest_error(read_image(path), expected(pixels)) < 1e-6


def test_gray_16_bit_keeps_its_precision(tmp_path):
    values = np.random.default_rng(1).integers(0, 65536, (5, 7), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    wanted = expected(values[..., None], 65535)
    assert largest_error(read_image(tmp_path / "a.png", channels=1), wanted) < 1e-6
    assert largest_error(read_image(tmp_path / "a.png"), wanted.repeat(3, 1, 1)) < 1e-6


def test_gray_of_12_bits_is_white_at_4095(tmp_path):
    values = np.array([[0, 4095, 2048, 1]])
    packed = bytes.fromhex("".join(f"{value:03x}" for value in values.ravel()))
    write_tiff(tmp_path / "a.tiff", 12, (1, 4), packed)
    assert largest_error(read_image(tmp_path / "a.tiff", channels=1), expected(values[..., None], 4095)) < 1e-6


@pytest.mark.parametrize("white", [4095, 65535])
def test_a_gray_map_of_16_bits_says_what_is_white(tmp_path, white):
    values = np.array([[0, white, 2048, 1]])
    (tmp_path / "a.pgm").write_bytes(b"P5 4 1 %d\n" % white + values.astype(">u2").tobytes())
    found = read_image(tmp_path / "a.pgm", channels=1)
    assert largest_error(found, expected(values[..., None], white)) < 2 / 65535


def test_gray_of_16_bits_may_be_opened_as_32_bit_integers(tmp_path, monkeypatch):
    monkeypatch.setitem(PngImagePlugin._MODES, (16, 0), ("I", "I;16B"))  # as some Pillow releases do
    values = np.array([[0, 255, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "I"
    assert largest_error(read_image(tmp_path / "a.png", channels=1), expected(values[..., None], 65535)) < 1e-6


def test_gray_is_repeated_and_colour_becomes_luma(tmp_path, pixels):
    Image.fromarray(pixels[..., 0]).save(tmp_path / "gray.png")
    Image.fromarray(pixels).save(tmp_path / "colour.png")
    assert largest_error(read_image(tmp_path / "gray.png"), expected(pixels[..., :1].repeat(3, 2))) < 1e-6
    luma = (pixels @ np.array([0.299, 0.587, 0.114]))[..., None]
    assert largest_error(read_image(tmp_path / "colour.png", channels=1), expected(luma)) < 1 / 127.5


def test_transparency_is_laid_over_white(tmp_path, pixels):
    alpha = np.full((5, 7, 1), 255, np.uint8)
    alpha[0, 0], alpha[0, 1] = 0, 51
    Image.fromarray(np.concatenate([pixels, alpha], 2)).save(tmp_path / "a.png")
    wanted = pixels * (alpha / 255) + 255 * (1 - alpha / 255)
    assert largest_error(read_image(tmp_path / "a.png"), expected(wanted)) < 1 / 127.5


def transposed(values: np.ndarray) -> np.ndarray:
    return values.swapaxes(0, 1)


ORIENTATIONS = {  # of EXIF: what shows [H, W, C] the right way up
    1: np.array,
    2: np.fliplr,
    3: lambda values: np.rot90(values, 2),
    4: np.flipud,
    5: transposed,
    6: lambda values: np.rot90(values, -1),
    7: lambda values: np.rot90(transposed(values), 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_exif_orientation_is_applied(tmp_path, pixels, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path, exif=exif)
    assert largest_error(read_image(path), expected(ORIENTATIONS[orientation](pixels).copy())) < 1e-6


def test_exif_that_cannot_be_written_again_is_read(tmp_path):
    """Of a resolution that is said to be an integer but is a fraction, nothing but the orientation matters."""
    exif = Image.Exif()
    exif[0x0112], exif[0x011A] = 6, 72.0
    path = tmp_path / "a.jpg"
    Image.new("RGB", (40, 30)).save(path, exif=exif)
    fraction, integer = b"\x01\x1a\x00\x05", b"\x01\x18\x00\x05"
    assert fraction in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(fraction, integer))
    assert read_image(path).shape == (3, 40, 30)


def test_a_picture_whose_exif_is_damaged_is_not_turned(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=b"Exif\x00\x00not an IFD")
    assert largest_error(read_image(tmp_path / "a.png"), expected(pixels)) < 1e-6


def test_a_written_picture_is_the_rounded_clipped_image(tmp_path, pixels):
    image = expected(pixels).float()
    write_image(image + 0.4 / 127.5, tmp_path / "a.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), pixels)
    write_image(torch.tensor([[[-3.0, 3.0]]]), tmp_path / "b.png")
    assert np.asarray(Image.open(tmp_path / "b.png")).tolist() == [[0, 255]]


def test_an_interrupted_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"before")

    def half(file):
        file.write(b"half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, half)
    assert path.read_bytes() == b"before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append(os.fstat(handle).st_size), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *names: (calls.append("named"), replace(*names)))
    write_atomically(tmp_path / "a.bin", lambda file: file.write(b"whole"))
    write_image(torch.zeros(1, 2, 2), tmp_path / "a.png")
    assert calls == [5, "named", "named"]  # pictures are many, and do not wait


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    path = tmp_path / ("a" * os.pathconf(tmp_path, "PC_NAME_MAX"))
    write_atomically(path, lambda file: file.write(b"whole"))
    assert path.read_bytes() == b"whole"


@pytest.mark.parametrize("content", [b"", b"not a picture at all", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_unreadable_files_are_refused_by_name(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.png: cannot be read as a picture"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff"])
def test_truncated_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="cannot be read as a picture"):
        read_image(path)


@pytest.mark.parametrize(
    ("suffix", "before", "after"),
    [
        pytest.param("dds", b"\x20\0\0\0\x40", b"\x20\0\0\0\0", id="no pixel format"),
        pytest.param("tiff", b"\x11\x01\x04\0", b"\x11\x01\x07\0", id="offset that is no number"),
        pytest.param("avif", b"pitm\0\0\0\0\0\x01", b"pitm\0\0\0\0\0\x07", id="no first item"),
    ],
)
def test_damaged_files_are_refused(tmp_path, suffix, before, after):
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("needs a Pillow that reads AVIF")
    path = tmp_path / f"a.{suffix}"
    Image.linear_gradient("L").resize((40, 30)).convert("RGB").save(path)
    assert path.read_bytes().count(before) == 1
    path.write_bytes(path.read_bytes().replace(before, after))
    with pytest.raises(ValueError, match=rf"a\.{suffix}: cannot be read as a picture \("):
        read_image(path)


@pytest.mark.parametrize(("kind", "message"), [(np.float32, "floating-point"), (np.int32, "32-bit or signed")])
def test_pixels_without_a_known_range_are_refused(tmp_path, kind, message):
    Image.fromarray(np.array([[0, 255, 200]], kind)).save(tmp_path / "a.tiff")
    with pytest.raises(ValueError, match=rf"a\.tiff: {message} pixels have no known range"):
        read_image(tmp_path / "a.tiff")


def test_packaged_pictures_are_read_without_a_download():
    from skimage import data

    assert largest_error(read_image("skimage:astronaut"), expected(data.astronaut())) < 1e-6
    assert largest_error(read_image("skimage:cat"), expected(data.cat())) < 1e-6
    with pytest.raises(ValueError, match=r"skimage:eagle: .*it has astronaut, "):
        read_image("skimage:eagle")


def test_directories_give_their_pictures_in_order(tmp_path):
    for name in ("b.png", "a.JPG", "c.webp"):
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "deeper").mkdir()
    found = list_pictures([tmp_path, "skimage:coffee", tmp_path / "b.png"])
    assert [picture_name(source) for source in found] == ["a", "b", "c", "coffee", "b"]
    with pytest.raises(ValueError, match=r"deeper: no pictures"):
        list_pictures([tmp_path / "deeper"])
    with pytest.raises(ValueError, match=r"gone: no such file"):
        list_pictures([tmp_path / "gone"])


@pytest.mark.parametrize(
    ("shape", "size", "rows", "columns"), [((5, 8), 3, (1, 4), (2, 5)), ((6, 4), 4, (1, 5), (0, 4))]
)
def test_a_central_crop_keeps_the_middle(shape, size, rows, columns):
    images = torch.arange(2 * 3 * shape[0] * shape[1]).reshape(2, 3, *shape)
    assert torch.equal(central_crop(images, size), images[..., slice(*rows), slice(*columns)])
    for wrong in (0, min(shape) + 1):
        with pytest.raises(ValueError, match=f"a crop of {wrong} pixels does not fit into pictures of"):
            central_crop(images, wrong)
