"""SaShiMi (Goel et al. 2022, "It's Raw! Audio Generation with State-Space Models", arXiv:2202.09729), the autoregressive one.

Codes are embedded, S4 layers at three rates (`models/layers/sashimi.py`) see everything that came before, and a linear layer
gives the logits of the next code. Trained as one long convolution, sampled as a recurrence whose slower tiers step rarely.

Differs from the paper: as the backbone does, and by gated linear units behind S4. `paper` is the published SC09 checkpoint,
in which Q is not P; in `paper-noglu` and `paper-unet` it is. `small` begins with a marker and with codes in their order, as
`wavenet.py` does, and with step sizes of up to 4 instead of 0.1: layers then tell neighbouring timesteps apart from the start.
That, and a faster C, save it most of its first thousand steps. Its clips end in more silence than WaveNet's: words then end.
"""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from models.autoregressive import Autoregressive, EmbeddingConfig, shift_right
from models.layers import sashimi
from models.layers.quantization import LEVELS, ZERO, ordered
from models.layers.s4 import MODES
from models.layers.sashimi_steps import SaShiMiSteps
from models.stepping import Steps

VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Config(EmbeddingConfig):
    """Settings of SaShiMi."""

    d_model: int = 64
    "Channels of the uppermost tier."
    n_layers: int = 8
    "S4 layers of each tier; of each half of it, in a U-Net."
    pool: tuple[int, ...] = (4, 4)
    "Factor in rate from each tier to the next lower one."
    expand: int = 2
    "Factor in channels from each tier to the next lower one."
    ff: int = 2
    "Channels inside the feed-forward networks, in multiples of their tier's."
    unet: bool = False
    "Blocks in front of the pools as well, and a skip from each of them (September 2022)."
    ssm: str = "dplr"
    "dplr (S4), or a diagonal state matrix (S4D) that begins as s4d-legs, s4d-inv or s4d-lin; those need tied=True."
    d_state: int = 64
    "Size N of a state, conjugates counted."
    n_ssm: int = 1
    "State matrices in a layer, shared by its channels in turn; 0 = one per channel."
    tied: bool = True
    "Q = P and eigenvalues with negative real parts only (Hurwitz), instead of Q and eigenvalues that are free."
    dt_min: float = 1e-3
    "Least step size that a state space begins with; 1 / step size is the order of its memory, in timesteps of its tier."
    dt_max: float = 0.1
    "Largest step size that a state space begins with."
    dt_transform: str = "exp"
    "exp or softplus: what makes a step size of its parameter."
    glu: bool = True
    "A gated linear unit behind each S4 layer, instead of a linear layer."
    norm: str = "scalar"
    "scalar (one gain and one shift for all channels, as published) or layer (normalization with one for each)."
    weight_normed: bool = True
    "Keep the pools' weights as gains and directions."
    dynamics_rate: float = 1e-3
    "Peak learning rate of the state spaces' step sizes, A and B, which have no weight decay."
    readout_rate: float = 0.0
    "Peak learning rate of what reads the states, C; 0 = that of all others."

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_at_least(1, "d_model", "n_layers", "expand", "ff")
        if min(self.pool, default=1) < 1 or self.norm not in sashimi.NORMS:
            raise ValueError(f"pool={self.pool} must be at least 1, and norm={self.norm!r} one of {[*sashimi.NORMS]}")
        if self.n_ssm < 0 or (self.n_ssm and self.d_model % self.n_ssm):
            raise ValueError(f"n_ssm={self.n_ssm} must divide d_model={self.d_model}, or be 0: one for each channel")
        if self.ssm not in MODES or not (self.tied or self.ssm == "dplr"):
            raise ValueError(f"ssm={self.ssm!r} must be one of {', '.join(MODES)}, and all but dplr need tied=True")


PAPER = Config(  # as in the release's experiments; an epoch is 31,158 clips of SC09
    steps=3_895_000, batch_size=8, learning_rate=4e-3, learning_rate_schedule="plateau", plateau_factor=0.2,
    plateau_patience=20, validate_every=3895, listen_every=38_950, scale_per_clip=True, train_on_padding=False,
    tied=False,  # sashimi-sc09 of 2022 says hurwitz; the published checkpoint was trained without, and is loaded so
)  # fmt: skip

PRESETS = {
    "smoke": Config(
        steps=20, batch_size=2, learning_rate=1e-2, validate_every=10, validation_clips=4, start_marker=True,
        ordered_codes=True, margin=500, d_model=8, n_layers=1, d_state=8, pool=(4, 2), norm="layer", weight_normed=False,
    ),
    "small": Config(
        steps=800, batch_size=2, learning_rate=6e-3, beta2=0.99, learning_rate_schedule="cosine", warmup_steps=30,
        gradient_clip=1.0, ema=0.99, validate_every=200, validation_clips=32, listen_every=400,
        start_marker=True, ordered_codes=True, margin=7000, norm="layer", weight_normed=False, d_model=32, n_layers=4,
        expand=1, d_state=16, n_ssm=0, dt_min=1e-2, dt_max=4.0, dynamics_rate=1e-2, readout_rate=0.1,
    ),
    "paper": PAPER,
    "paper-noglu": replace(
        PAPER,
        # sashimi-youtubemix: 1000 epochs of 211 files (88 %) with 7 windows each. Its configuration has GLU and Q = P; the
        # published checkpoint has neither, and the count of 4.1M only Q = P.
        steps=1_477_000, batch_size=1, validate_every=1477, listen_every=14_770, tied=True, glu=False,
    ),
    "paper-unet": replace(
        PAPER,
        # sashimi-sc09-unet of 2023: 100 epochs; its cosine would end after 200,000 steps
        steps=194_800, batch_size=16, learning_rate=1e-3, weight_decay=0.1, learning_rate_schedule="cosine",
        warmup_steps=1000, validate_every=1948, listen_every=19_480, tied=True, unet=True, n_ssm=0, dt_transform="softplus",
        weight_normed=False,
    ),
}  # fmt: skip


class SaShiMi(Autoregressive):
    """Embedding, backbone, linear layer."""

    config: Config

    def __init__(self, config: Config, sample_rate: int, timesteps: int):
        super().__init__(config, sample_rate, timesteps)
        self.before = LEVELS if config.start_marker else ZERO
        self.embedding = nn.Embedding(LEVELS + config.start_marker, config.d_model)
        self.backbone = sashimi.SaShiMi(
            config.d_model, config.n_layers, config.pool, expand=config.expand, ff=config.ff, unet=config.unet,
            norm=config.norm, weight_normed=config.weight_normed, mode=config.ssm, d_state=config.d_state,
            n_ssm=config.n_ssm or None, tied=config.tied, dt_min=config.dt_min, dt_max=config.dt_max,
            dt_transform=config.dt_transform, glu=config.glu,
        )  # fmt: skip
        self.head = nn.Linear(config.d_model, LEVELS)
        if config.ordered_codes:
            self.embedding.weight.data[:LEVELS] = ordered(config.d_model)
            self.head.weight.data = ordered(config.d_model) / config.d_model**0.5

    def logits(self, codes: Tensor) -> Tensor:
        """See `Autoregressive.logits`."""
        logits: Tensor = self.head(self.backbone(self.embedding(shift_right(codes, self.before))))
        return logits

    def steps(self, batch: int, *, fused: bool = False) -> Steps:
        """See `Autoregressive.steps`."""
        return SaShiMiSteps(self.backbone, self.embedding, self.head, batch, fused=fused)

    def parameter_groups(self, part: str) -> list[dict[str, Any]]:
        """All others, and what of the state spaces has a learning rate of its own."""
        dynamics, readouts = self.backbone.dynamics(), self.backbone.readouts()
        apart = {id(parameter) for parameter in dynamics + readouts}
        return [
            {"params": [parameter for parameter in self.parameters() if id(parameter) not in apart]},
            {"params": dynamics, "lr": self.config.dynamics_rate, "weight_decay": 0.0},
            {"params": readouts, "lr": self.config.readout_rate or self.config.learning_rate},
        ]
