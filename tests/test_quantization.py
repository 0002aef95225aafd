"""Codes: equality with the release's coder, and the properties that the rest of the house leans on."""

import pytest
import torch

from models.clips import FULL_SCALE, Clips, to_int16
from models.layers.quantization import LEVELS, ZERO, Quantizer, ordered, quantize, to_unit
from tests import reference


def agree(codes: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal, but for float32 rounding at a cell's edge."""
    difference = (codes - expected).abs()
    assert difference.max() <= 1
    assert (difference > 0).float().mean() < 1e-3


@pytest.mark.parametrize(("law", "name"), [("mu-law", "mu_law"), ("linear", "linear")])
def test_codes_equal_the_releases(law: str, name: str) -> None:
    arrays = {key: torch.from_numpy(value) for key, value in reference.load("quantisation").arrays.items()}
    quantizer = Quantizer(law, per_clip=True)
    agree(quantizer.encode(arrays["in_audio"][..., 0]), arrays[f"out_{name}"][..., 0])
    agree(quantizer.encode(arrays["in_edges"][..., 0]), arrays[f"out_{name}_edges"][..., 0])
    torch.testing.assert_close(
        quantizer.decode(arrays["in_levels"]), arrays[f"out_{name}_decoded_levels"], atol=1e-6, rtol=0
    )


def test_steps_equal_the_releases() -> None:
    arrays = {key: torch.from_numpy(value) for key, value in reference.load("quantisation").arrays.items()}
    assert torch.equal(quantize(arrays["in_unit"]), arrays["out_quantize_unit"])
    unit = to_unit(arrays["in_audio"][..., 0])
    torch.testing.assert_close(unit, arrays["out_minmax"][..., 0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("law", ["mu-law", "linear"])
def test_every_code_survives_decoding_and_encoding(law: str) -> None:
    codes = torch.arange(LEVELS)[None]
    quantizer = Quantizer(law)
    decoded = quantizer.decode(codes)
    assert torch.equal(quantizer.encode(decoded), codes)
    through_a_file = torch.from_numpy(to_int16(decoded.numpy())).float() / FULL_SCALE
    assert torch.equal(quantizer.encode(through_a_file), codes)
    assert quantizer.decode(torch.tensor([ZERO])).item() == 0.0
    assert quantizer.encode(torch.zeros(1, 1)).item() == ZERO


@pytest.mark.parametrize("law", ["mu-law", "linear"])
def test_codes_are_the_nearest_levels(law: str) -> None:
    quantizer = Quantizer(law)
    waveforms = torch.linspace(-1, 0.99, 997)[None]
    levels = quantizer.decode(torch.arange(LEVELS))
    error = (quantizer.decode(quantizer.encode(waveforms)) - waveforms).abs()[0]
    gaps = (levels[None] - waveforms[0, :, None]).abs().amin(1)
    assert (error <= gaps * 1.05 + 1e-6).all(), "mu-law rounds on the companded scale, which is all but the same"


def test_loudness_survives_without_scaling_and_is_lost_with_it() -> None:
    sine = torch.sin(torch.arange(400) / 7)[None]
    for law in ("mu-law", "linear"):
        plain, scaled = Quantizer(law), Quantizer(law, per_clip=True)
        assert plain.decode(plain.encode(0.1 * sine)).abs().max() < 0.11
        assert scaled.decode(scaled.encode(0.1 * sine)).abs().max() > 0.9


def test_padding_does_not_scale_a_clip_and_becomes_silence() -> None:
    waveforms = torch.rand(2, 50) * 0.2 + 0.3
    padded = torch.nn.functional.pad(waveforms, (0, 30))
    quantizer = Quantizer(per_clip=True)
    codes = quantizer.encode_clips(Clips(padded, torch.tensor([50, 50])))
    assert torch.equal(codes[:, :50], quantizer.encode(waveforms))
    assert (codes[:, 50:] == ZERO).all()


@pytest.mark.parametrize("channels", [7, 256])
def test_ordered_embeddings_are_alike_where_codes_are(channels: int) -> None:
    embedding = ordered(channels)
    assert embedding.shape == (LEVELS, channels)
    assert embedding.square().mean() == pytest.approx(1.0)
    distances = torch.cdist(embedding, embedding)
    assert (distances.diagonal(1) < distances.diagonal(8).min()).all()
    assert distances[0].argmax() > 240


def test_names_of_likelihood_spaces_differ() -> None:
    quantizers = [Quantizer(law, scaled) for law in ("mu-law", "linear") for scaled in (False, True)]
    assert len({quantizer.space for quantizer in quantizers}) == 4
    assert Quantizer().space == "8-bit mu-law, unscaled"


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Available: mu-law, linear"):
        Quantizer("a-law")
    for value in (1.01, float("nan")):
        with pytest.raises(ValueError, match=r"must lie in \[-1, 1\]"):
            Quantizer().encode(torch.tensor([[0.0, value]]))
