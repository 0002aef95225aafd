"""WaveGAN against the numbers of its authors' code and of a port, and the rules by which a GAN is trained."""

import itertools
import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import checkpoints
from models.adversarial import Adversarial, AdversarialConfig, slopes
from models.clips import ClipArray, Clips
from models.generators.wavegan import PRESETS, Config, WaveGAN
from models.layers.wavegan import Critic, Down, Up, deemphasize, emphasize, phase_shuffle
from models.published import wavegan as published
from models.randomness import SampleRandom, generator
from models.training import fit
from tests import reference

SHAPE: dict[str, Any] = {"dim": 3, "strides": (4, 4, 4), "kernels": (9, 9, 9), "latent": 5}


def released(name: str, timesteps: int = 16384) -> tuple[WaveGAN, dict[str, Tensor]]:
    """The fixture's network with its weights, and the fixture's arrays."""
    fixture = reference.load(name)
    converted = published.convert(fixture.state, timesteps)
    net = WaveGAN(replace(PRESETS["paper"], **converted.settings), 16000, timesteps)
    net.load_state_dict(converted.state)
    return net.freeze(), {key: torch.from_numpy(array) for key, array in fixture.arrays.items()}


def close(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- parity


def test_the_authors_generator_and_critic() -> None:
    net, arrays = released("wavegan_tf")
    close(net.G(arrays["in_z"]), arrays["out_g"][..., 0])
    real = arrays["in_real"][..., 0]
    close(net.D(real), arrays["out_d_real"])
    close(net.D(arrays["out_g"][..., 0]), arrays["out_d_fake"])
    close(net.D(real, arrays["in_phases"].tolist()), arrays["out_d_real_shuffled"])
    for shift, expected in zip(arrays["in_shuffle_k"].tolist(), arrays["out_phase_shuffled"], strict=True):
        assert torch.equal(phase_shuffle(arrays["in_shuffle_x"].transpose(1, 2), shift), expected.transpose(1, 2))


def test_the_port_with_its_own_padding() -> None:
    net, arrays = released("wavegan_pytorch_port")
    close(net.G(arrays["in_z"]), arrays["out_g"][:, 0])
    real = arrays["in_real"][:, 0]
    close(net.D(real), arrays["out_d_real"][:, 0])
    close(net.D(arrays["out_g"][:, 0]), arrays["out_d_fake"][:, 0])
    shifts = arrays["in_shuffle_k"].tolist()  # of its clips, the same in all layers
    one_by_one = [net.D(x[None], [shift] * 4) for x, shift in zip(real, shifts, strict=False)]
    close(torch.cat(one_by_one), arrays["out_d_real_shuffled"][:, 0])
    features = zip(arrays["in_shuffle_x"], shifts, arrays["out_phase_shuffled"], strict=True)
    assert all(torch.equal(phase_shuffle(x[None], shift)[0], expected) for x, shift, expected in features)


def test_padding_of_the_other_kind_is_off_by_one_timestep_a_layer() -> None:
    x = torch.randn(1, 1, 64)
    tensorflow, pytorch = Down(1, 2, 25, 4, "tensorflow"), Down(1, 2, 25, 4, "pytorch")
    pytorch.load_state_dict(tensorflow.state_dict())
    torch.testing.assert_close(pytorch(x.roll(-1, 2))[..., 4:-4], tensorflow(x)[..., 4:-4])
    assert not torch.allclose(pytorch(x), tensorflow(x))


def test_published_weights_make_the_clips_first_second() -> None:
    whole, arrays = released("wavegan_tf")
    net, _ = released("wavegan_tf", 16000)
    assert (net.timesteps, net.inside) == (16000, 16384)
    samples = net.sample(2, SampleRandom(4))
    assert samples.evaluations == 1
    assert torch.equal(samples.waveforms, whole.sample(2, SampleRandom(4)).waveforms[:, :16000])
    real = arrays["in_real"][:, :16000, 0]
    close(net.score(net.real(Clips.of(real))), whole.D(F.pad(real, (0, 384))))


def as_released(net: WaveGAN, layout: str) -> dict[str, Tensor]:
    """Our weights under published names, by the rules of that layout."""
    frames, state = net.G.frames, {name: tensor.clone() for name, tensor in net.state_dict().items()}
    out, widest = {}, net.G.widths[-1]
    for name, tensor in state.items():
        network, kind, *rest = name.split(".")
        if layout == "port":
            names = {
                "G.project": "G.fc1", "D.output": "D.fc1", "G.up": "G.deconv_list.{}.transpose_ops.1",
                "D.down": "D.conv_layers.{}.conv1d",
            }  # fmt: skip
            out[".".join([names[f"{network}.{kind}"].format(rest[0]), rest[-1]])] = tensor
            continue
        names = {
            "G.project": "G/z_project/dense", "D.output": "D/output/dense", "G.up": "G/upconv_{}/conv1d",
            "D.down": "D/downconv_{}/conv1d", "G.post": "G/pp_filt/conv1d",
        }  # fmt: skip
        if kind == "project":
            tensor = tensor.unflatten(0, (widest, frames)).transpose(0, 1).flatten(0, 1)
        if name == "D.output.weight":
            tensor = tensor.view(widest, frames).t().reshape(1, -1)
        word = "bias" if rest and rest[-1] == "bias" else "kernel"
        out[f"{names[f'{network}.{kind}'].format(rest[0] if rest else '')}/{word}:0"] = (
            tensor.permute(*reversed(range(tensor.ndim))) if word == "kernel" else tensor
        )
    return out


@pytest.mark.parametrize("layout", ["tensorflow", "port"])
def test_other_published_variants_come_back(layout: str) -> None:
    """Nearest-neighbour upsampling, a post-filter, another size and length, and what an optimizer leaves behind."""
    config = Config(
        dim=2, latent=7, strides=(4,) * 6, kernels=(25,) * 6, upsampling="nearest",
        padding={"tensorflow": "tensorflow", "port": "pytorch"}[layout], post_filter=32 if layout == "tensorflow" else 0,
    )  # fmt: skip
    net = WaveGAN(config, 16000, 65536).freeze()
    theirs = as_released(net, layout)
    if layout == "tensorflow":
        theirs |= {"global_step:0": torch.tensor(3), "G/z_project/dense/kernel/Adam_1:0": torch.zeros(3)}
    converted = published.convert(theirs, 65536)
    again = WaveGAN(replace(config, **converted.settings), 16000, 65536).freeze()
    assert again.config == config
    again.load_state_dict(converted.state)
    z = 2 * torch.rand(2, 7) - 1
    assert torch.equal(again.G(z), net.G(z))
    x = torch.randn(2, 65536)
    assert torch.equal(again.D(x), net.D(x))


def test_what_is_no_published_wavegan_is_explained() -> None:
    state = reference.load("wavegan_tf").state
    broken = {key: tensor for key, tensor in state.items() if key != "D/downconv_2/conv1d/bias"}
    broken["G/upconv_1/conv2d_transpose/kernel"] = torch.zeros(1, 25, 12, 23)
    with pytest.raises(ValueError, match=r"(?s)misshapen: G/upconv_1.*missing: D/downconv_2/conv1d/bias \(12\)"):
        published.convert(broken, 16000)
    with pytest.raises(ValueError, match=r"makes 16384 timesteps.*15361 to 16384"):
        published.convert(state, 8000)
    state = reference.load("wavegan_pytorch_port").state
    with pytest.raises(ValueError, match=r"in use: the batch normalization of G\.bn1"):
        published.convert(state | {"G.bn1.num_batches_tracked": torch.tensor(9)}, 16000)


def test_parameter_counts_are_the_papers() -> None:
    def count(preset: str) -> tuple[int, int]:
        with torch.device("meta"):
            net = WaveGAN(PRESETS[preset], 16000, 16000)
        return sum(p.numel() for p in net.G.parameters()), sum(p.numel() for p in net.D.parameters())

    assert count("paper") == (19_065_345, 17_427_969)
    assert count("paper-post-filter") == (19_065_345 + 512, 17_427_969)


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize(("kernel", "stride"), [(25, 4), (8, 4), (9, 3), (64, 16), (4, 4)])
@pytest.mark.parametrize("padding", ["tensorflow", "pytorch"])
def test_layers_are_each_others_transpose(kernel: int, stride: int, padding: str) -> None:
    """<Down x, y> = <x, Up y>, also where one channel is folded; and the plain convolution says the same."""
    down, up = Down(1, 3, kernel, stride, padding).double(), Up(3, 1, kernel, stride, padding, "zeros").double()
    up.weight.data = down.weight.data
    x, y = torch.randn(2, 1, 5 * stride).double(), torch.randn(2, 3, 5).double()
    assert down(x).shape == y.shape
    assert up(y).shape == x.shape
    torch.testing.assert_close((down(x) * y).sum(), (x * up(y)).sum())
    torch.testing.assert_close(down(x), F.conv1d(F.pad(x, down.zeros), down.weight, stride=stride))


def test_phase_shuffle_shifts_and_reflects() -> None:
    x = torch.arange(5.0).expand(2, 3, 5)
    assert phase_shuffle(x, 2)[1, 2].tolist() == [2, 1, 0, 1, 2]
    assert phase_shuffle(x, -2)[0, 0].tolist() == [2, 3, 4, 3, 2]
    assert torch.equal(phase_shuffle(x, 0), x)
    with pytest.raises(ValueError, match="5 frames cannot be shifted by -5"):
        phase_shuffle(x, -5)


def test_phase_shuffle_is_drawn_anew_for_each_pass_and_left_out_of_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    net = WaveGAN(Config(**SHAPE, phase_shuffle=1), 16000, 500)
    forward, seen = Critic.forward, list[Sequence[int]]()

    def spy(critic: Critic, x: Tensor, shifts: Sequence[int] = ()) -> Tensor:
        seen.append(shifts)
        return forward(critic, x, shifts)

    monkeypatch.setattr(Critic, "forward", spy)
    clips = Clips.of(torch.randn(4, 500))
    for seed in range(20):
        net.loss("critic", clips, generator(seed))
    assert all(len(shifts) == 2 and set(shifts) <= {-1, 0, 1} for shifts in seen)
    real, fake, between = seen[::3], seen[1::3], seen[2::3]
    assert len(seen) == 60
    assert len({tuple(shifts) for shifts in real}) > 5
    assert real != fake != between != real
    net.validation_loss(clips, generator(0))
    assert list(map(len, seen[60:])) == [0, 0]


def test_pre_emphasis_is_undone() -> None:
    x = torch.randn(2, 1000)
    y = emphasize(x, 0.9)
    torch.testing.assert_close(y[:, 1:], x[:, 1:] - 0.9 * x[:, :-1])
    assert torch.equal(y[:, 0], x[:, 0])
    torch.testing.assert_close(deemphasize(y, 0.9), x, atol=1e-5, rtol=1e-4)
    assert deemphasize(x, 0.0) is x


def test_first_weights_are_glorots() -> None:
    net = WaveGAN(replace(PRESETS["paper"], dim=16), 16000, 16000)
    bound = math.sqrt(6 / (25 * 64 + 25 * 32))
    state = net.state_dict()
    assert bound * 0.99 < state["D.down.2.weight"].abs().max() <= bound
    assert bound * 0.99 < state["G.up.2.weight"].abs().max() <= bound
    assert not any(p.any() for name, p in net.named_parameters() if name.endswith("bias"))


def test_bad_settings_are_explained() -> None:
    faults: list[tuple[dict[str, Any], str]] = [
        ({"critic_updates": 0}, "critic_updates=0 must be at least 1"),
        ({"gradient_penalty": -1.0}, "gradient_penalty=-1.0 must be at least 0"),
        ({"critic_rate": 0.0}, "must be above 0"),
        ({"padding": "same"}, "padding='same' is not one of tensorflow, pytorch"),
        ({"strides": (4, 4)}, r"strides=\(4, 4\).*one of each per layer"),
        ({"kernels": (25, 25, 25, 25, 3)}, "no kernel below its stride"),
        ({"pre_emphasis": 1.0}, r"\[0, 1\)"),
        ({"patience": 3}, "patience=3.*keep=last.*patience=0"),
    ]
    for wrong, told in faults:
        with pytest.raises(ValueError, match=told):
            Config(**wrong)
    with pytest.raises(ValueError, match="cannot continue a prefix"):
        WaveGAN(PRESETS["smoke"], 16000, 100).sample(1, prefix=torch.zeros(1, 10))


# ---------------------------------------------------------------- training


class Line(Adversarial):
    """G: z + shift; D: a linear critic, whose slope is |w| everywhere."""

    G: nn.Linear
    D: nn.Linear

    def __init__(self, config: AdversarialConfig):
        super().__init__(config, 16000, 2)
        self.G, self.D = nn.Linear(2, 2), nn.Linear(2, 1, bias=False)
        self.G.weight.data, self.G.bias.data = torch.eye(2), torch.tensor([1.0, -1.0])
        self.D.weight.data = torch.tensor([[3.0, 4.0]])
        self.seen: list[tuple[str, Tensor]] = []

    def make(self, count: int, rng: torch.Generator) -> Tensor:
        made: Tensor = self.G(torch.zeros(count, 2))
        return made

    def real(self, clips: Clips) -> Tensor:
        return clips.waveforms

    def score(self, x: Tensor, rng: torch.Generator | None = None) -> Tensor:
        scores: Tensor = self.D(x)
        return scores.squeeze(1)

    def loss(self, part: str, clips: Clips, rng: torch.Generator) -> Any:
        if self.training:
            self.seen.append((part, clips.waveforms))
        return super().loss(part, clips, rng)


LINE = AdversarialConfig(
    steps=2, batch_size=4, optimizer="sgd", momentum=0.0, learning_rate=0.1, critic_rate=0.5, critic_updates=2,
    validate_every=1,
)  # fmt: skip


def corpus(count: int = 40, timesteps: int = 2, seed: int = 0) -> ClipArray:
    codes = np.random.default_rng(seed).integers(-20000, 20000, (count, timesteps)).astype(np.int16)
    return ClipArray(codes, np.full(count, timesteps))


def test_critic_loss_by_hand() -> None:
    """|w| = 5, so that the penalty is 10 (5 - 1)^2 and its gradient 2 * 10 * 4 * w / 5."""
    net, x = Line(LINE), torch.tensor([[0.5, 0.25], [-0.5, 0.25]])
    loss, extra = net.loss("critic", Clips.of(x), generator(0))
    assert float(extra["gradient_penalty"].detach()) == pytest.approx(16)
    assert float(extra["wasserstein"].detach()) == pytest.approx(4 * 0.25 - (3 - 4))
    assert float(loss.detach()) == pytest.approx(160 - 2)
    loss.backward()
    expected = 80 * torch.tensor([0.6, 0.8]) + torch.tensor([1.0, -1.0]) - torch.tensor([0.0, 0.25])
    assert net.D.weight.grad is not None
    torch.testing.assert_close(net.D.weight.grad[0], expected)
    assert net.G.bias.grad is None, "the critic's loss does not reach the generator"
    net.loss("generator", Clips.of(x), generator(0)).backward()
    torch.testing.assert_close(net.G.bias.grad, torch.tensor([-1.5, -2.0]) * 2)
    assert float(net.validation_loss(Clips.of(x), generator(0)).detach()) == pytest.approx(2)


def test_slopes_are_those_of_each_row_and_bear_a_zero() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]], requires_grad=True)
    weight = torch.tensor(2.0, requires_grad=True)
    norms = slopes(weight * x.square().sum(1), x)
    torch.testing.assert_close(norms, 4 * torch.tensor([5.0, 25.0, 0.0]).sqrt())
    norms.sum().backward()
    assert weight.grad is not None
    assert float(weight.grad) == pytest.approx(2 * (math.sqrt(5) + 5))


def test_the_loop_updates_one_part_at_a_time_on_fresh_batches(tmp_path: Path) -> None:
    net, clips = Line(LINE), corpus()
    fit(net, clips, corpus(4, seed=1), tmp_path, config=LINE, seed=0)
    assert [part for part, _ in net.seen] == ["critic", "critic", "generator"] * 2
    batches = [tuple(map(tuple, waveforms.tolist())) for _, waveforms in net.seen]
    assert len({row for batch in batches for row in batch}) == 24, "no clip twice in an epoch"
    assert torch.equal(net.G.weight, torch.eye(2)), "no gradient reaches it where z is 0"

    w, b = torch.tensor([3.0, 4.0]), torch.tensor([1.0, -1.0])
    for part, waveforms in net.seen:
        if part == "critic":
            norm = w.norm()
            w = w - 0.05 * (20 * (norm - 1) * w / norm + b - waveforms.mean(0))
        else:
            b = b + 0.1 * w
    torch.testing.assert_close(net.D.weight[0].detach(), w)
    torch.testing.assert_close(net.G.bias.detach(), b)
    rows = (tmp_path / "curve.csv").read_text().splitlines()
    assert {"train_wasserstein", "train_gradient_penalty", "train_generator_loss"} <= set(rows[0].split(","))


def test_only_the_generator_is_averaged(tmp_path: Path) -> None:
    net = Line(replace(LINE, ema=0.9))
    result = fit(net, corpus(), corpus(4, seed=1), tmp_path, config=net.config, seed=0)
    state = checkpoints.load_state(tmp_path / "checkpoints" / "last.pt")
    assert set(state["average"]) == {"G.weight", "G.bias"}
    kept = checkpoints.load_weights(tmp_path / "model.safetensors")
    assert torch.equal(kept["D.weight"], state["model"]["D.weight"])
    assert torch.equal(kept["G.bias"], state["average"]["G.bias"])
    assert not torch.equal(kept["G.bias"], state["model"]["G.bias"])
    assert (result["kept_step"], result["steps"]) == (2, 2)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_second_derivatives_survive_the_precision(tmp_path: Path, precision: str) -> None:
    """The penalty holds the critic's slope near 1, which a lost second derivative would not."""
    config = Config(
        **SHAPE, steps=30, batch_size=4, learning_rate=3e-3, critic_updates=1, precision=precision, validate_every=15,
        phase_shuffle=1,
    )  # fmt: skip
    torch.manual_seed(0)
    net, clips = WaveGAN(config, 16000, 500), corpus(40, 500)
    fit(net, clips, clips, tmp_path, config=config, seed=0)
    x = net.real(clips.batch(range(8))).requires_grad_()
    assert 0.5 < slopes(net.D(x), x).mean() < 1.5


class Crash(BaseException):
    """Power is gone."""


def test_crashes_in_training_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both optimizers, the average of one network and the place in the schedule are resumed; test_resume.py has more."""
    config = replace(PRESETS["smoke"], steps=8, checkpoint_every=3, validate_every=4)
    clips = corpus(12, 97)

    def train(folder: Path) -> dict[str, Any]:
        torch.manual_seed(0)
        return fit(WaveGAN(config, 16000, 97), clips, clips, folder, config=config, seed=0)

    whole = train(tmp_path / "whole")
    rename, crashes = os.replace, 0
    for lives in itertools.count(4):
        left = [lives]

        def fragile(source: Path, target: Path, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Crash
            rename(source, target)

        monkeypatch.setattr(os, "replace", fragile)
        try:
            result = train(tmp_path / "crashed")
            break
        except Crash:
            crashes += 1
    assert crashes > 1
    assert result == whole
    assert result["kept_step"] == 8
    for name in ("model.safetensors", "curve.csv", "checkpoints/last.pt"):
        assert (tmp_path / "crashed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


TWO_PROCESSES = """
import sys
from pathlib import Path
from tests import test_wavegan as here
net = here.Line(here.LINE)
here.fit(net, here.corpus(), here.corpus(4, seed=1), Path(sys.argv[1]), config=here.LINE, seed=0)
"""


def test_two_processes_share_a_batch_and_its_second_derivatives(tmp_path: Path) -> None:
    """Under torchrun: the halves' gradients are averaged, each part's alone, as if one process had seen the batch."""
    script = tmp_path / "train.py"
    script.write_text(TWO_PROCESSES)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run(
        [*torchrun, str(script), str(tmp_path / "two")], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    fit(Line(LINE), corpus(), corpus(4, seed=1), tmp_path / "one", config=LINE, seed=0)
    one, two = (checkpoints.load_weights(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(two[name], one[name])
    assert not torch.equal(one["D.weight"], torch.tensor([[3.0, 4.0]]))
