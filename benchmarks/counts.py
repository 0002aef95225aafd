"""How much work there is to do at least, counted from a model's configuration: see `Work`.

Of every product: two operations per weight and position; convolutions tap by tap, but for DiffWave's. Linear maps between
which there is nothing count as one where that is less work. Embeddings, activations, norms and softmax are left out.

In training, the gradients of inputs and of weights are two more products of the same size; a layer's input, its output and
their gradients pass through memory five times (forward: read, write; backward: read the input and the output's gradient, write
the input's); the optimizer reads a weight, its gradient and two moments, and writes three of them.

c: the Config; batch: sequences; timesteps or positions: of each; weights are float32 where nothing else is said.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.roofline import Work, fft_operations

CODES, FLOAT = 256, 4
MUCH = 2.0**60  # bytes that no cache holds
PASSES, OPTIMIZER_PASSES = 5, 7


def wavenet_weights(c: Any) -> int:
    """Of all products at one timestep; the last two layers are one."""
    R, S, E = c.residual_channels, c.skip_channels, c.end_channels
    return c.blocks * c.layers * (4 * R * R + R * R + S * R) + E * S + CODES * E


def wavenet_step(c: Any, batch: int) -> Work:
    """Every layer reads its input of `dilation` timesteps ago, and keeps that of now in its place.

    A single sequence needs weights of the past tap once in `dilation` timesteps, those behind a ReLU where it is not zero, that
    is half of them, and three bytes of each, which hold what float32 can tell (`models/layers/wavenet_pass.py`).
    """
    weights = wavenet_weights(c)
    read = float(FLOAT * weights)
    if batch == 1:
        ends = (c.skip_channels + CODES) * c.end_channels
        known = sum(c.blocks * 2 * c.residual_channels**2 * (1 - 2.0**-layer) for layer in range(c.layers))
        read = 3 * (weights - known - ends / 2)
    queues = 2 * c.blocks * c.layers * c.residual_channels * batch
    return Work(2 * weights * batch, read=read, moved=FLOAT * queues, held=read)


def wavenet_training(c: Any, batch: int, timesteps: int, parameters: int) -> Work:
    """The sum of skips passes through memory as often as a layer's input."""
    channels = c.blocks * c.layers * c.residual_channels + c.skip_channels + c.end_channels
    return _training(wavenet_weights(c) * timesteps, channels * timesteps, batch, parameters)


def samplernn_step(c: Any, batch: int) -> Work:
    """A mean over timesteps: a tier with frames of f timesteps works at every f-th of them.

    Between a tier's GRU and the gates of the one below there are only linear maps: one product. The code network's first
    layer is a table. That a tier's weights come back less often than the code network's, and from further away, is left out.
    """
    H, C = c.hidden, c.code_hidden
    weights, states, size = C * C + CODES * C, 0.0, 1
    for i, times in enumerate(c.frames):
        size *= times
        tier = 3 * H * size + (2 * c.layers - 1) * 3 * H * H + H * times * (3 * H if i else C)
        weights, states = weights + tier / size, states + 2 * c.layers * H / size
    return Work(2 * weights * batch, read=FLOAT * weights, moved=FLOAT * states * batch, held=FLOAT * weights)


def samplernn_training(c: Any, batch: int, timesteps: int, parameters: int) -> Work:
    """What carries states over the borders of windows, before there are gradients, is left out."""
    H, C = c.hidden, c.code_hidden
    weights, channels, size = C * C + CODES * C, 2.0 * C + CODES, 1
    for i, times in enumerate(c.frames):
        size *= times
        weights += (H * size + c.layers * 6 * H * H + H * times * (H if i else C)) / size
        channels += (4 * c.layers * H + times * (H if i else C)) / size
    return _training(weights * timesteps, channels * timesteps, batch, parameters)


class Tier(NamedTuple):
    """One rate of a SaShiMi: its channels, its timesteps to one of the uppermost, its blocks, and the pool below it or 0."""

    channels: int
    rate: float
    blocks: int
    pool: int


def tiers(c: Any) -> Iterator[Tier]:
    """From the uppermost tier down. In a U-Net, all but the lowest have blocks on both sides of the pools."""
    rate = 1.0
    for depth, pool in enumerate([*c.pool, 0]):
        yield Tier(c.d_model * c.expand**depth, rate, c.n_layers * (2 if c.unet and pool else 1), pool)
        rate /= pool or 1


def sashimi_weights(c: Any, directions: int = 1) -> float:
    """Of all products outside the state spaces, for one timestep of the uppermost tier.

    directions: 2 where the outputs of two state spaces are laid side by side before the linear layer
    """
    weights = 0.0
    for d, rate, blocks, pool in tiers(c):
        weights += rate * blocks * (directions * d * d * (2 if c.glu else 1) + 2 * c.ff * d * d)
        weights += 2 * rate * d * d * c.expand if pool else 0  # both pools, as many weights per timestep of this tier
    return weights


def sashimi_step(c: Any, batch: int) -> Work:
    """A mean over timesteps. A state of N numbers per channel, Ā = diag + p q': two sums over it, a complex product with the
    diagonal and two vectors added to it are 11 N operations; the vectors, the diagonal included, are 5 N numbers."""
    weights = sashimi_weights(c) + CODES * c.d_model
    states = sum(tier.rate * tier.blocks * tier.channels * c.d_state for tier in tiers(c))
    all_states = sum(tier.blocks * tier.channels * c.d_state for tier in tiers(c))
    return Work(
        batch * (2 * weights + 11 * states), read=FLOAT * (weights + 5 * states), moved=FLOAT * 2 * states * batch,
        held=FLOAT * (weights + (5 + batch) * all_states),
    )  # fmt: skip


def sashimi_training(c: Any, batch: int, timesteps: int, parameters: int) -> Work:
    """A convolution with a kernel as long as the sequence: for each channel an FFT of x, of y, of y's gradient and of x's,
    and once for all clips one of the kernel and one of its gradient, of twice the length. The kernel itself is a product,
    N numbers for each of its timesteps, and its gradients are two."""
    weights, channels = sashimi_weights(c) + CODES * c.d_model, 0.0
    kernels, ffts = 0.0, 0.0
    for d, rate, blocks, _ in tiers(c):
        length = timesteps * rate
        channels += rate * blocks * d * (2 + c.ff)  # behind S4, behind the feed-forward network and inside it
        kernels += blocks * d * 3 * 2 * c.d_state * length
        ffts += blocks * d * (4 * batch + 2) * fft_operations(2 * length)
    step = _training(weights * timesteps, channels * timesteps, batch, parameters)
    return Work(step.products + kernels, ffts, step.read, step.moved, step.held)


def _training(products: float, activations: float, batch: int, parameters: int) -> Work:
    """products: weights times positions; activations: channels times positions, both of one clip."""
    moved = FLOAT * (PASSES * activations * batch + OPTIMIZER_PASSES * parameters)
    return Work(3 * 2 * products * batch, moved=moved, held=MUCH)


DIFFWAVE_TAPS = 2  # products for each output of a convolution with three taps (Winograd 1980, F(2, 3)); directly 3


def diffwave_step(c: Any, batch: int, positions: int, inputs: int = 1, outputs: int = 1) -> Work:
    """One evaluation of the network: a block reads and writes its input and the sum of skips.

    inputs, outputs: channels of what is denoised, 1 for waveforms
    """
    R, S = c.residual_channels, c.skip_channels
    weights = inputs * R + c.layers * (DIFFWAVE_TAPS * R * 2 * R + R * (R + S)) + S * S + S * outputs
    return _evaluation(weights, c.layers * (2 * R + 2 * S), batch, positions)


def diffwave_sashimi_step(c: Any, batch: int, positions: int, inputs: int = 1, outputs: int = 1) -> Work:
    """One evaluation of the network with kernels at hand: for each channel an FFT, and one back for each state space."""
    separate = 2 if c.bidirectional and c.s4 == "2022-01" else 1
    weights = sashimi_weights(c, separate) + c.d_model * (inputs + c.d_model + outputs)
    channels = sum(2 * rate * blocks * d for d, rate, blocks, _ in tiers(c))
    done = _evaluation(weights, channels, batch, positions)
    ffts = sum(
        batch * blocks * d * (1 + separate) * fft_operations(2 * positions * rate) for d, rate, blocks, _ in tiers(c)
    )
    return Work(done.products, ffts, done.read, done.moved, done.held)


def _evaluation(weights: float, channels: float, batch: int, positions: int) -> Work:
    """Weights as they are used at a position; channels that pass through memory at each."""
    read, moved = FLOAT * weights, FLOAT * channels * positions * batch
    return Work(2 * weights * positions * batch, read=read, moved=moved, held=MUCH)


def resnext(c: Any, clips: int, side: int = 32, precision: str = "float32") -> Work:
    """Features of clips, from pictures of side x side; the spectrum that makes a picture is left out."""
    side = -(-side // c.first_stride)
    weights, before = 9 * c.width * side**2, c.width
    for stage in range(3):
        inner, after = c.cardinality * c.base_width * 2**stage, c.width * c.widen_factor * 2**stage
        for block in range((c.depth - 2) // 9):
            coming = side
            if stage and not block:
                side = -(-side // 2)
            weights += before * inner * coming**2 + (9 * inner * inner // c.cardinality + inner * after) * side**2
            weights += before * after * side**2 if before != after else 0
            before = after
    return Work(2 * weights * clips, precision=precision)


def metrics(real: int, generated: int, dimensions: int, subsets: list[int], permutations: int) -> Work:
    """All pairs of a generated with a real or another generated clip, and FIDs of random subsets of the generated clips: of
    each permutation the scatter matrix once, and for each subset the eigenvalues of the smaller Gram matrix (4/3 n^3, Golub
    and Van Loan 2013, section 8.3). Everything in float64, as that is what the scores are computed in; the rest of the
    metrics are left out."""
    pairs = 2 * dimensions * (real * generated + generated * (generated - 1) / 2)
    eigenvalues = sum(4 / 3 * min(size, dimensions) ** 3 for size in subsets)
    return Work(pairs + permutations * (generated * dimensions**2 + eigenvalues), precision="float64")
