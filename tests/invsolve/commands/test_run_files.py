"""What `invsolve run` keeps of a picture's file: a table of kinds of files and of properties, by the real command."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tifffile
from cli_pictures import pixels
from PIL import Image, ImageCms

from invsolve.cli import main
from invsolve.images.colour_profile import srgb_profile
from invsolve.images.encoding import write_picture
from invsolve.images.files import read_picture

imagecodecs = pytest.importorskip("imagecodecs")

SIZE = (24, 32)
MAKE, ORIENTATION, EXIF_IFD, TAKEN, GPS_IFD = 0x010F, 0x0112, 0x8769, 0x9003, 0x8825
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'
ADOBE_RGB = imagecodecs.cms_profile("adobergb")


def colours(channels: int = 3, kind: type = np.uint8, height: int = SIZE[0], width: int = SIZE[1]) -> np.ndarray:
    """A smooth picture with a texture, of all depths alike."""
    white = np.iinfo(kind).max
    y, x = np.mgrid[:height, :width]
    planes = [0.5 + 0.3 * np.sin(x / (3 + c)) * np.cos(y / (4 - c)) for c in range(channels)]
    return (np.stack(planes, axis=2) * white).round().astype(kind)


def exif(orientation: int = 1) -> Image.Exif:
    found = Image.Exif()
    found[MAKE], found[ORIENTATION] = "Camera", orientation
    found.get_ifd(EXIF_IFD)[TAKEN] = "2020:02:29 12:00:00"
    found.get_ifd(GPS_IFD)[1] = "N"
    return found


@pytest.fixture
def keep(tiny_prior, tmp_path):
    """Inpaint a picture with few missing pixels, so that the others come back as they were; the written file."""

    def run(path: Path, *options: object) -> Path:
        with Image.open(path) as opened:
            size = opened.size[::-1]
        with_turn = read_picture(path).image.shape[1:]
        mask = np.full(with_turn, 255, np.uint8)
        mask[2:4, 2:4] = 0
        assert sorted(size) == sorted(with_turn)
        Image.fromarray(mask).save(tmp_path / "mask.png")
        command = ["inpaint_random", "--input", path, "--mask", tmp_path / "mask.png", "--steps", 1]
        command += ["--output", tmp_path / "out", "--prior", tiny_prior, "--device", "cpu", *options]
        assert main(["run", *map(str, command)]) == 0
        (written,) = (tmp_path / "out").iterdir()
        return written

    return run


def away(values: np.ndarray) -> np.ndarray:
    """Pixels that were not missing."""
    return values[4:]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tiff"])
def test_metadata_stay(keep, tmp_path, suffix):
    """EXIF but its orientation, XMP, resolution and size, in the input's format and in PNG."""
    path = tmp_path / f"a.{suffix}"
    how = {"exif": exif(), "dpi": (300, 300), "xmp": XMP}
    if suffix == "tiff":
        how["exif"][700] = XMP
        how["exif"] = how["exif"].tobytes()
    Image.fromarray(colours()).save(path, **how)
    for format in ("input", "png"):
        written = keep(path, "--format", format)
        assert written.suffix == (path.suffix if format == "input" else ".png")
        with Image.open(written) as found:
            tags = found.getexif()
            assert tags[MAKE] == "Camera"
            assert tags.get(ORIENTATION, 1) == 1
            assert tags.get_ifd(EXIF_IFD)[TAKEN] == "2020:02:29 12:00:00"
            assert tags.get_ifd(GPS_IFD)[1] == "N"
            assert found.size == SIZE[::-1]
            if suffix != "webp":
                assert found.info["dpi"] == pytest.approx((300, 300), abs=0.1)
            if suffix in ("jpg", "webp"):  # Pillow writes none in PNG, and in TIFF as a tag
                packet = found.info.get("xmp") or found.info["XML:com.adobe.xmp"].encode()
                assert packet == XMP.replace(b'"6"', b'"1"')
        written.unlink()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff"])
def test_pictures_come_the_right_way_up(keep, tmp_path, suffix):
    Image.fromarray(colours()).save(tmp_path / f"a.{suffix}", exif=exif(6), quality=95)
    stored = pixels(tmp_path / f"a.{suffix}") if suffix != "tiff" else colours().astype(int)
    with Image.open(keep(tmp_path / f"a.{suffix}")) as found:
        assert found.size == SIZE  # turned by a quarter
        assert found.getexif().get(ORIENTATION, 1) == 1
        upright = stored if stored.shape[:2] == SIZE[::-1] else np.rot90(stored, -1)
        assert np.array_equal(away(np.asarray(found)), away(upright))


def test_the_thumbnail_is_dropped(keep, tmp_path):
    """IFD1 of a camera's EXIF shows the damaged picture."""
    small = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(small, "JPEG")
    directory = b"\0\1" + b"\x01\x12\0\3\0\0\0\1\0\1\0\0"
    second, offset = 8 + len(directory) + 4, 8 + len(directory) + 4 + 2 + 24 + 4
    entries = (
        b"\2\1\0\4\0\0\0\1" + offset.to_bytes(4, "big") + b"\2\2\0\4\0\0\0\1" + len(small.getvalue()).to_bytes(4, "big")
    )
    header = b"Exif\0\0MM\0*\0\0\0\x08" + directory + second.to_bytes(4, "big")
    data = header + b"\0\2" + entries + bytes(4) + small.getvalue()
    Image.fromarray(colours()).save(tmp_path / "a.jpg", exif=data)
    assert small.getvalue() in (tmp_path / "a.jpg").read_bytes()
    assert small.getvalue() not in keep(tmp_path / "a.jpg", "--format", "jpg").read_bytes()


def deep(path: Path, values: np.ndarray) -> Path:
    """Write 16 bits a channel by libraries that are not the product's writer."""
    if path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(values.squeeze()))
    else:
        tifffile.imwrite(path, values.squeeze(), photometric="rgb" if values.shape[2] > 2 else "minisblack")
    return path


def deep_pixels(path: Path) -> np.ndarray:
    content = path.read_bytes()
    found = imagecodecs.png_decode(content) if path.suffix == ".png" else tifffile.imread(path)
    return found if found.ndim == 3 else found[..., None]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
@pytest.mark.parametrize("channels", [1, 3], ids=["gray", "rgb"])
def test_16_bits_stay_16(keep, tmp_path, channels, suffix):
    values = colours(channels, np.uint16)
    found = deep_pixels(keep(deep(tmp_path / f"a.{suffix}", values), "--format", "input"))
    assert found.dtype == np.uint16
    assert np.array_equal(away(found), away(values))
    assert len(np.unique(found[2:4, 2:4] % 257)) > 1  # what was filled in has 16 bits too


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_metadata_and_opacity_stay_with_16_bits(keep, tmp_path, suffix):
    path, values = tmp_path / f"a.{suffix}", colours(4, np.uint16)
    kept = read_picture(deep(path, values)).kept
    assert kept.alpha is not None
    tags = exif()
    tags[0x010E] = "a view"
    path.unlink()
    write_picture(read_from(values), path, type(kept)(depth=16, alpha=kept.alpha, exif=tags.tobytes(), dpi=(240, 240)))
    written = keep(path, "--format", "input")
    assert np.array_equal(away(deep_pixels(written)), away(values))
    with Image.open(written) as found:
        assert found.getexif()[MAKE] == "Camera"
        assert found.getexif().get_ifd(EXIF_IFD)[TAKEN] == "2020:02:29 12:00:00"
        assert found.info["dpi"] == pytest.approx((240, 240), abs=0.1)


def read_from(values: np.ndarray):
    import torch

    return torch.from_numpy(values[..., :3].astype(np.float64) / 65535 * 2 - 1).permute(2, 0, 1)


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_gray_stays_gray(keep, tmp_path, mode):
    Image.fromarray(colours(1)[..., 0]).convert(mode).save(tmp_path / "a.png")
    with Image.open(keep(tmp_path / "a.png")) as found:
        assert found.mode == "L"


def test_gray_in_three_channels_is_not_tinted(keep, tmp_path):
    Image.fromarray(colours(1).repeat(3, axis=2)).save(tmp_path / "a.png")
    found = pixels(keep(tmp_path / "a.png"))
    assert (np.ptp(found, axis=2) == 0).all()


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_opacity_stays(keep, tmp_path, suffix):
    values = np.concatenate([colours(), 255 - colours(1)], axis=2)
    values[10:12, :, 3] = 0  # what is transparent has colours all the same
    Image.fromarray(values).save(
        tmp_path / f"a.{suffix}", **({"lossless": True, "exact": True} if suffix == "webp" else {})
    )
    found = pixels(keep(tmp_path / f"a.{suffix}"))
    assert np.array_equal(away(found), away(values))


def test_opacity_grows_with_the_picture(tiny_prior, tmp_path):
    values = np.concatenate([colours(), np.full((*SIZE, 1), 255, np.uint8)], axis=2)
    values[:, 16:, 3] = 0
    Image.fromarray(values).save(tmp_path / "a.png")
    command = ["run", "sr4x", "--input", tmp_path / "a.png", "--output", tmp_path / "out", "--prior", tiny_prior]
    assert main([*map(str, command), "--factor", "3", "--steps", "1"]) == 0
    found = pixels(tmp_path / "out" / "a_restored.png")
    assert found.shape == (72, 96, 4)
    assert (found[:, :40, 3] == 255).all()
    assert (found[:, -40:, 3] == 0).all()


def test_what_is_transparent_is_filled_where_there_is_no_mask(tiny_prior, tmp_path):
    values = np.concatenate([colours(), np.full((*SIZE, 1), 255, np.uint8)], axis=2)
    values[8:12, 8:12, 3] = 0
    Image.fromarray(values).save(tmp_path / "a.png")
    command = ["run", "inpaint_box", "--input", tmp_path / "a.png", "--output", tmp_path / "b.png", "--steps", 1]
    assert main([str(argument) for argument in [*command, "--prior", tiny_prior]]) == 0
    found = pixels(tmp_path / "b.png")
    assert found.shape == (*SIZE, 3)
    changed = (found != values[..., :3]).any(axis=2)
    assert changed[8:12, 8:12].any()
    assert changed.sum() == changed[8:12, 8:12].sum()


def in_srgb(values: np.ndarray, profile: bytes) -> np.ndarray:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return np.asarray(
        ImageCms.profileToProfile(Image.fromarray(values), source, ImageCms.createProfile("sRGB"))
    ).astype(int)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16], ids=["8 bits", "16 bits"])
def test_colours_of_a_profile_become_srgb(keep, tmp_path, kind):
    path, values = tmp_path / "a.png", colours(3, kind)
    if kind is np.uint8:
        Image.fromarray(values).save(path, icc_profile=ADOBE_RGB)
    else:
        path = tmp_path / "a.tiff"
        tifffile.imwrite(path, values, photometric="rgb", iccprofile=ADOBE_RGB)
    written = keep(path)
    with Image.open(written) as found:
        assert found.info["icc_profile"] == srgb_profile()
        wanted = in_srgb(colours(), ADOBE_RGB)
        error = np.abs(away(np.asarray(found).astype(int)) - away(wanted))
        assert error.max() <= (1 if kind is np.uint8 else 4)  # which are many of 16 bits where it is dark
        assert error.mean() < 0.6
    assert np.abs(wanted - colours()).max() > 10


def test_a_profile_may_be_kept(keep, tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=ADOBE_RGB)
    with Image.open(keep(tmp_path / "a.png", "--keep-profile")) as found:
        assert found.info["icc_profile"] == ADOBE_RGB
        assert np.array_equal(away(np.asarray(found)), away(colours()))


def test_srgb_stays_as_it_is(keep, tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=srgb_profile())
    with Image.open(keep(tmp_path / "a.png")) as found:
        assert np.array_equal(away(np.asarray(found)), away(colours()))
        assert found.info["icc_profile"] == srgb_profile()


def test_a_gray_profile_becomes_srgbs_gray(keep, tmp_path):
    """Of gamma 1: 0.5 of the light is 188 of 255."""
    linear = imagecodecs.cms_profile("gray", gamma=1.0)
    Image.new("L", SIZE[::-1], 128).save(tmp_path / "a.png", icc_profile=linear)
    with Image.open(keep(tmp_path / "a.png")) as found:
        assert found.mode == "L"
        assert "icc_profile" not in found.info
        assert np.abs(away(np.asarray(found).astype(int)) - 188).max() <= 1


def test_a_damaged_profile_counts_as_none(keep, tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png", icc_profile=b"no profile" * 20)
    with Image.open(keep(tmp_path / "a.png")) as found:
        assert "icc_profile" not in found.info
        assert np.array_equal(away(np.asarray(found)), away(colours()))


def test_the_first_frame_of_an_animation_is_taken_with_a_note(keep, tmp_path, capsys):
    frames = [Image.new("RGB", SIZE[::-1], colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    found = pixels(keep(tmp_path / "a.gif"))
    assert (away(found) == (255, 0, 0)).all()
    assert "a.gif: has 2 frames, of which the first alone is taken" in capsys.readouterr().err


def test_heic_is_read_where_it_can_be(keep, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    values = colours(1, height=64, width=64).repeat(3, axis=2)
    Image.fromarray(values).save(tmp_path / "a.heic", quality=100)
    found = pixels(keep(tmp_path / "a.heic", "--format", "input"))  # PNG: no HEIC is written
    assert np.abs(away(found) - away(values.astype(int))).mean() < 2


def test_quality_is_that_of_the_file(keep, tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png")
    sizes = {}
    for format in ("jpg", "webp"):
        for quality in (30, 100):
            written = keep(tmp_path / "a.png", "--format", format, "--quality", quality)
            sizes[format, quality], found = written.stat().st_size, pixels(written)
            written.unlink()
        assert sizes[format, 30] < 0.7 * sizes[format, 100]
    assert np.array_equal(away(found), away(colours()))  # WebP of 100 loses nothing


def test_names_of_all_kinds(tiny_prior, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ["two words", "ünï·コード", ".hidden", "a.b.c"]
    for name in names:
        Image.fromarray(colours()).save(f"{name}.png")
    command = ["run", "denoise", "--input", *(f"{name}.png" for name in names), "--prior", str(tiny_prior)]
    assert main([*command, "--steps", "1", "--sigma", "0.05", "--device", "cpu"]) == 0
    assert all(Path(f"{name}_restored.png").exists() for name in names)
