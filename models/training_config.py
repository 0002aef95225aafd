"""What every trained network can be told about its training: the fields that each `Config` inherits.

A generator's or a classifier's `Config` is a frozen dataclass that inherits `TrainingConfig` and adds its own fields:

    @dataclass(frozen=True)
    class Config(TrainingConfig):
        layers: int = 30
        "Residual layers in all."

Every field here is keyword-only and has a default, so that a subclass may declare fields with or without one.
"""

from dataclasses import dataclass

CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("adamw", "adam", "sgd"),
    "learning_rate_schedule": ("constant", "cosine", "plateau"),
    "precision": ("32-true", "bf16-mixed"),
    "keep": ("best", "last"),
}
AT_LEAST_ONE = ("batch_size", "accumulate", "validate_every", "checkpoint_every")
NOT_NEGATIVE = (
    "steps", "weight_decay", "warmup_steps", "plateau_patience", "gradient_clip", "gradient_clip_value",
    "validation_clips", "patience", "listen_every",
)  # fmt: skip
FRACTIONS = ("momentum", "beta1", "beta2", "plateau_factor", "ema")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained. One step is one round of the model's `schedule` (one update, for most models).

    Raises ValueError on a value that no training can use, naming the field and what it may be.
    """

    steps: int = 1000
    "Training steps in all; the learning-rate schedule spans them."
    batch_size: int = 16
    "Clips per update, over all devices and micro-batches together."
    accumulate: int = 1
    "Micro-batches that an update's clips are cut into, to fit into memory; their gradients are averaged."
    optimizer: str = "adamw"
    "adamw (decoupled weight decay), adam (weight decay added to the gradient) or sgd."
    learning_rate: float = 1e-3
    "Peak learning rate; a parameter group that brings its own `lr` is scheduled in proportion."
    weight_decay: float = 0.0
    "Weight decay; a parameter group may bring its own."
    momentum: float = 0.9
    "Momentum of sgd."
    nesterov: bool = False
    "Nesterov's form of sgd's momentum."
    beta1: float = 0.9
    "Decay of adam's and adamw's mean gradient."
    beta2: float = 0.999
    "Decay of adam's and adamw's mean squared gradient."
    learning_rate_schedule: str = "constant"
    "constant, cosine (half a cosine from the peak to zero at the last step) or plateau."
    warmup_steps: int = 0
    "Steps over which the learning rate rises linearly to its peak."
    plateau_factor: float = 0.2
    "plateau: the factor on the learning rate when the validation loss has stopped falling."
    plateau_patience: int = 5
    "plateau: validations without a lower loss that are tolerated before the learning rate falls."
    gradient_clip: float = 0.0
    "Largest norm of the gradient of one update, 0 = no limit."
    gradient_clip_value: float = 0.0
    "Largest absolute value of any one gradient, 0 = no limit."
    ema: float = 0.0
    "Decay of the exponential moving average of the weights that is validated, heard and kept; 0 = off."
    keep: str = "best"
    "The weights that are the result: best (of lowest validation loss) or last (for GANs, whose losses are no measure)."
    precision: str = "32-true"
    "32-true (float32) or bf16-mixed (float32 weights, bfloat16 arithmetic where it is safe)."
    validate_every: int = 100
    "Steps between validations."
    validation_clips: int = 0
    "Validation clips used, always the same random ones, 0 = all."
    patience: int = 0
    "Validations without a lower loss before training stops early, 0 = never."
    checkpoint_every: int = 1000
    "Steps between checkpoints; one is also written after every minute, so that little is lost."
    listen_every: int = 0
    "Steps between samples to listen to, 0 = none."
    balanced_classes: bool = False
    "Draw clips with replacement, every class equally often, instead of shuffling the corpus."

    def require_at_least(self, least: float, *names: str) -> None:
        """Raise ValueError where one of these fields is less."""
        for name in names:
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")

    def __post_init__(self) -> None:
        faults = [
            f"{name}={getattr(self, name)!r} is not one of {', '.join(choices)}"
            for name, choices in CHOICES.items()
            if getattr(self, name) not in choices
        ]
        faults += [
            f"{name}={getattr(self, name)} must be at least 1" for name in AT_LEAST_ONE if getattr(self, name) < 1
        ]
        faults += [
            f"{name}={getattr(self, name)} must not be negative" for name in NOT_NEGATIVE if getattr(self, name) < 0
        ]
        faults += [
            f"{name}={getattr(self, name)} must lie in [0, 1)" for name in FRACTIONS if not 0 <= getattr(self, name) < 1
        ]
        if not self.learning_rate > 0:
            faults.append(f"learning_rate={self.learning_rate} must be above 0")
        if self.gradient_clip and self.gradient_clip_value:
            faults.append("gradient_clip and gradient_clip_value are both set: choose one, and set the other to 0")
        if self.nesterov and not (self.optimizer == "sgd" and self.momentum > 0):
            faults.append("nesterov=True needs optimizer=sgd with a momentum above 0")
        if self.keep == "last" and self.patience:
            faults.append(
                f"patience={self.patience} stops at a validation loss that keep=last takes for no measure: "
                "set patience=0, or keep=best"
            )
        if self.accumulate >= 1 and self.batch_size % self.accumulate:
            faults.append(f"batch_size={self.batch_size} cannot be cut into accumulate={self.accumulate} equal parts")
        if faults:
            raise ValueError(f"{type(self).__module__}: " + "; ".join(faults))
