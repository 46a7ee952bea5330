"""The image tower: unit rows of pictures, from files or from memory, with tiny random models of three families."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

from fairtag.base.errors import ConfigError, DataError
from fairtag.encoder.images import ImageEncoder, TorchImageEncoder, open_picture

TOWER = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {**TOWER, "image_size": 16, "patch_size": 8}
TEXT = {**TOWER, "vocab_size": 20, "max_position_embeddings": 8}
SIZE = {"height": 16, "width": 16}


def clip():
    config = CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=12)
    return CLIPModel(config), CLIPImageProcessorPil(size=SIZE, crop_size=SIZE), 12


def siglip():
    config = SiglipConfig(text_config={**TEXT, "projection_size": 16}, vision_config=VISION)
    return SiglipModel(config), SiglipImageProcessorPil(size=SIZE), 16


def vit():
    return ViTModel(ViTConfig(**VISION), add_pooling_layer=False), ViTImageProcessorPil(size=SIZE), 16


@pytest.fixture(scope="module", params=[clip, siglip, vit], ids=lambda make: make.__name__)
def tower(request, tmp_path_factory):
    torch.manual_seed(0)
    model, processor, dimension = request.param()
    folder = tmp_path_factory.mktemp("vision")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return TorchImageEncoder.load(str(folder)), dimension


def pictures(count=5):
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (20 + 7 * row, 30, 3), dtype=np.uint8)) for row in range(count)]


def test_pictures_become_unit_rows_in_their_order_whatever_the_batch(tower):
    encoder, dimension = tower
    assert isinstance(encoder, ImageEncoder)
    rows = encoder.encode_images(pictures())
    assert rows.shape == (5, dimension) == (5, encoder.dimension)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(pictures(), batch_size=2), rows, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(pictures()[::-1])[::-1], rows, atol=1e-5)
    assert np.abs(rows[0] - rows[1]).max() > 1e-4
    assert encoder.encode_images([]).shape == (0, dimension)


def test_a_file_is_embedded_as_the_picture_it_holds(tower, tmp_path):
    encoder, _ = tower
    first, second = pictures(2)
    first.save(tmp_path / "a.png")
    second.save(tmp_path / "b.png")
    mixed = encoder.encode_images([tmp_path / "a.png", str(tmp_path / "b.png")])
    np.testing.assert_allclose(mixed, encoder.encode_images([first, second]), atol=1e-6)


def test_image_rows_of_two_towers_are_those_that_the_model_compares_with_texts():
    torch.manual_seed(0)
    model, processor, _ = clip()
    picture = pictures(1)
    pixels = processor(images=picture, return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        ids = torch.ones(1, 4, dtype=torch.int64)
        wanted = model.eval()(input_ids=ids, pixel_values=pixels).image_embeds.numpy()
    np.testing.assert_allclose(TorchImageEncoder(model, processor).encode_images(picture), wanted, atol=1e-5)


def test_a_transparent_picture_lies_on_white_and_a_turned_one_stands_upright(tmp_path):
    clear = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    assert open_picture(clear).getpixel((0, 0)) == (255, 255, 255)
    assert open_picture(Image.new("L", (4, 4), 7)).getpixel((0, 0)) == (7, 7, 7)
    turned = Image.new("RGB", (6, 2))
    exif = turned.getexif()
    exif[0x0112] = 6  # the camera was held on its side
    turned.save(tmp_path / "turned.jpg", exif=exif)
    assert open_picture(tmp_path / "turned.jpg").size == (2, 6)


def test_a_file_that_is_missing_cut_off_or_no_picture_is_named(tmp_path):
    pictures(1)[0].save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    (tmp_path / "text.png").write_text("no picture")
    for name in ("cut.png", "text.png", "absent.png"):
        with pytest.raises(DataError, match=f"{name}: this picture cannot be read"):
            open_picture(tmp_path / name)


def test_a_picture_too_large_to_unpack_is_refused(tmp_path, monkeypatch):
    Image.new("RGB", (40, 40)).save(tmp_path / "large.png")
    for limit in (1000, 100):  # the library warns past the limit, and refuses past twice the limit
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(DataError, match=r"large\.png"):
            open_picture(tmp_path / "large.png")


def test_a_model_that_is_nowhere_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="hf download nobody/nothing"):
        TorchImageEncoder.load("nobody/nothing")
    with pytest.raises(ConfigError, match="no name"):
        TorchImageEncoder.load(" ")


def test_training_and_serving_load_no_image_library_unless_asked():
    program = "import sys; import fairtag.encoder.encoder, fairtag.encoder.config; print('PIL' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
