import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, PILToTensor, Resize

from neglora.data.picture import Damaged, fitted, pixels, read_picture, shorter_side
from tests.trees import large_digit

COLOURS = np.random.default_rng(0).integers(0, 256, (37, 61, 3), dtype=np.uint8)


def saved(image, file, **options):
    image.save(file, **options)
    return file


def as_seen_by_torchvision(picture: Image.Image, size: int) -> np.ndarray:
    shorter = round(size * 256 / 224) if size >= 128 else size
    return Compose([Resize(shorter, InterpolationMode.BICUBIC), CenterCrop(size), PILToTensor()])(picture).numpy()


@pytest.mark.parametrize("size", [16, 32, 64, 128, 224])
@pytest.mark.parametrize("shape", [(61, 37), (37, 61), (40, 40), (300, 451), (8, 8)])
def test_fitting_against_torchvision(shape, size):
    picture = Image.fromarray(COLOURS).resize(shape)
    ours = pixels(fitted(picture, size))
    assert ours.shape == (3, size, size)
    np.testing.assert_array_equal(ours, as_seen_by_torchvision(picture, size))


def test_a_line_of_pixels_stays_small():
    assert fitted(Image.new("RGB", (30_000, 1)), 224).size == (224, 224)
    assert fitted(Image.new("RGB", (1, 30_000)), 32).size == (32, 32)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tif", ".webp"])
def test_lossless_formats_hold_their_pixels(tmp_path, suffix):
    options = {"lossless": True, "exact": True} if suffix == ".webp" else {}
    picture = read_picture(saved(Image.fromarray(COLOURS), tmp_path / f"x{suffix}", **options))
    np.testing.assert_array_equal(np.asarray(picture), COLOURS)


def test_jpeg_against_plain_pil(tmp_path):
    file = saved(large_digit(5, 0, 80, 60).convert("RGB"), tmp_path / "x.jpg")
    np.testing.assert_array_equal(np.asarray(read_picture(file)), np.asarray(Image.open(file).convert("RGB")))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_other_modes_become_three_channels(tmp_path, mode):
    original = Image.fromarray(COLOURS).convert(mode)
    file = saved(original, tmp_path / ("x.tif" if mode == "CMYK" else "x.png"))
    picture = read_picture(file)
    assert picture.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(picture), np.asarray(original.convert("RGB")))


def test_transparency_is_dropped_and_colours_kept(tmp_path):
    alpha = np.full((37, 61, 1), 0, np.uint8)
    file = saved(Image.fromarray(np.concatenate([COLOURS, alpha], 2)), tmp_path / "x.png")
    np.testing.assert_array_equal(np.asarray(read_picture(file)), COLOURS)
    palette = Image.fromarray(COLOURS).quantize(8)
    file = saved(palette, tmp_path / "p.png", transparency=bytes(range(8)))
    np.testing.assert_array_equal(np.asarray(read_picture(file)), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_of_grey_are_scaled(tmp_path, suffix):
    levels = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    picture = read_picture(saved(Image.fromarray(levels), tmp_path / f"x{suffix}"))
    grey = np.asarray(picture)
    assert (grey == grey[..., :1]).all()
    np.testing.assert_array_equal(grey[..., 0], levels // 256)


@pytest.mark.parametrize("levels", [np.full((4, 4), 70_000, np.int32), np.full((4, 4), 0.5, np.float32)])
def test_other_depths_are_damaged(tmp_path, levels):
    with pytest.raises(Damaged, match="save it with 8 or 16"):
        read_picture(saved(Image.fromarray(levels), tmp_path / "x.tif"))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright(tmp_path, orientation):
    """What the EXIF standard says of each value: where row 0 and column 0 of the stored image are seen."""
    upright = COLOURS
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(Image.fromarray(np.ascontiguousarray(stored)), tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(read_picture(file)), upright)


def test_an_animation_is_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = saved(frames[0], tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert read_picture(file).getpixel((3, 3)) == (255, 0, 0)


def test_damage_is_told_from_what_cannot_be_read(tmp_path):
    whole = saved(Image.fromarray(COLOURS), tmp_path / "whole.png").read_bytes()
    photograph = saved(Image.fromarray(COLOURS), tmp_path / "whole.jpg").read_bytes()
    for name, content in {
        "empty.png": b"",
        "text.jpg": b"this is no image",
        "cut.png": whole[: len(whole) // 2],
        "cut.jpg": photograph[: len(photograph) // 2],
        "changed.png": whole[:200] + b"\0" * 40 + whole[240:],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(Damaged):
            read_picture(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "missing.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_images_that_unpack_to_too_much_are_refused(tmp_path, monkeypatch):
    file = saved(Image.new("RGB", (100, 100)), tmp_path / "x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9_000)
    with pytest.raises(Damaged, match="100x100 pixels, more than 9,000 are not read"):
        read_picture(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4_000)
    with pytest.raises(Damaged, match="exceeds limit"):
        read_picture(file)


def test_the_shorter_side_is_in_the_header(tmp_path):
    file = saved(Image.fromarray(COLOURS), tmp_path / "x.png")
    file.write_bytes(file.read_bytes()[:200])
    assert shorter_side(file) == 37
    file.write_bytes(b"no image")
    assert shorter_side(file) is None
