"""Features and log-probabilities of clips by the SC09 classifier, ResNeXt, per clip: in its frozen form, as it is used, in each
precision that it offers; beside float32 the form that is trained, and on a graphics card what torch.compile makes of that."""

from functools import partial

from benchmarks import counts
from benchmarks.rows.base import SECOND, Figure, Row, Setting
from benchmarks.timing import interleaved

GOAL, REFERENCE = 53, 58  # ms per clip at a batch of 32, in float32
PRODUCTS = {"float32": "float32", "bf16": "bfloat16"}  # the classifier's word for a precision, and the roofline's


def run(setting: Setting) -> list[Figure]:
    """Milliseconds per clip."""
    import torch

    torch.set_num_threads(setting.threads)
    precisions = setting.plugin("classifiers", "resnext").cls.precisions
    nets = {precision: setting.classifier("resnext").listen_in(precision) for precision in precisions}
    batch = setting.pick(256 if setting.card else 32, 4)
    clips = 0.1 * torch.randn(batch, SECOND, device=setting.device)
    plain = nets["float32"]

    def as_trained() -> object:
        return plain.classifier(plain.trained_form(plain.logmel(clips)[:, None]))

    others = {name or "as it is trained": way for name, way in setting.ways(as_trained).items()}
    ways = {precision: partial(net.features, clips) for precision, net in nets.items()}
    with torch.inference_mode():
        seconds = interleaved(ways | others, setting.pick(5, 2), setting.wait)
    each = {name: [one / batch for one in values] for name, values in seconds.items()}
    figures = []
    for precision in ways:
        main = precision == "float32"
        goal, reference = setting.of_processor((GOAL, REFERENCE) if main else (None, None))
        work = counts.resnext(plain.config, 1, precision=PRODUCTS[precision])
        beside = {name: each[name] for name in others} if main else {}
        figures.append(
            setting.figure(
                f"{precision}, batch {batch}", "ms per clip", each[precision], 1000, work=work, goal=goal,
                reference=reference, beside=beside,
            )
        )  # fmt: skip
    return figures


ROWS = [Row("features", "ResNeXt features", 9, run, 2, 2, ("cpu", "cuda"))]
