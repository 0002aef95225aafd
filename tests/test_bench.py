"""`make bench`: rows run at toy size, what they say is whole, and the counted operations are those of the models.

How fast anything is, no test says.
"""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import bench, child, counts, machine, rows, table
from benchmarks.roofline import Rates, Work
from benchmarks.rows import rounding
from benchmarks.rows.base import Figure, Setting
from models import plugins
from models.layers.s4 import remembered_kernels

REPOSITORY = Path(__file__).parent.parent
# What compiles, or runs the whole pipeline, takes half a minute and more.
SLOW = ("sampling", "cold-start", "agreement", "workers", "rerun", "rounding")
NAMES = [row.name for row in rows.every()]
ROUNDING = [row for row in rows.every() if row.name.endswith("rounding")]
DRAWN = "10,240 samples of a second"
RATES = Rates({"float32": 100.0, "float64": 50.0, "bfloat16": 400.0}, 10.0, {1: 8.0, 16: 4.0}, {1: 2.0, 16: 1.0})


def run_bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.bench", *words]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=False)


def test_a_table_as_json_and_as_a_page(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.json"
    done = run_bench("--quick", "--rows", "wavenet-training", "features", "metrics", "--json", str(out))
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert [row["name"] for row in found["rows"]] == ["wavenet-training", "features", "metrics"]
    assert not found["failed"]
    assert found["quick"] is True
    assert found["environment"]["libraries"]["torch"] == torch.__version__
    assert set(found["environment"]) >= {"date", "git", "python", "processor", "cores", "load_average"}
    for row in found["rows"]:
        assert row["seconds"] > 0
        for values in row["figures"]:
            figure = Figure(**values)
            assert all(math.isfinite(value) and value > 0 for value in figure.values)
            assert figure.goal is None, "a toy has no goal"
            assert figure.limit is None or 0 < figure.limit < math.inf
    rates = Rates.of_json(found["roofline"][str(found["rows"][0]["threads"])])
    assert min(*rates.products.values(), rates.ffts, *rates.read.values(), *rates.moved.values()) > 1e8

    assert "WaveNet training step" in done.stdout
    assert "load average" in done.stdout.split("WaveNet training step")[0]
    shown = run_bench("--show", str(out), "--markdown")
    assert shown.stdout == table.markdown(found)
    assert shown.stdout.count("\n| ") == 1 + sum(len(row["figures"]) for row in found["rows"])


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n.endswith(SLOW) else n for n in NAMES])
def test_every_row_runs(name: str) -> None:
    row = rows.find(name)
    cores = machine.usable_cores()[: row.cores]
    found = child.measure(name, "cpu", True, cores, min(row.threads, len(cores)), None)
    figures = [Figure(**values) for values in found["figures"]]
    assert figures
    assert all(figure.values and min(figure.values) >= 0 for figure in figures)
    assert not any("COMPILED" in figure.note for figure in figures)
    assert all(table.line(texts) for texts in table.of_row(row.title, found))


def test_a_graphics_cards_rows_run_on_a_processor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All but the card itself: sizes, other ways beside, ratios, and what 10,240 samples take."""
    from models.stepping import Drawing

    monkeypatch.setattr(Setting, "card", True)
    monkeypatch.setattr(Setting, "ways", lambda setting, function: {"": function, "torch.compile": function})
    monkeypatch.setattr("models.stepping.Drawing", lambda net, batch, compiled: Drawing(net, batch))
    setting = Setting("cpu", True, (), 1, RATES, tmp_path)
    figures = {}
    for row in rows.every():
        if "cuda" in row.devices and row.name.endswith(("sampling", "training", "denoising", "features")):
            figures |= {(row.name, figure.name, figure.unit): figure for figure in row.run(setting)}
    assert figures["diffwave-denoising", "batch 4", "s"].beside.keys() == {"torch.compile"}
    assert figures["wavenet-training", "batch 2", "s"].beside.keys() == {"bf16-mixed"}
    assert figures["wavenet-sampling", "batch 2", "x eager"].higher
    step, drawn = figures["sashimi-sampling", "batch 2", "ms per timestep"], figures["sashimi-sampling", DRAWN, "s"]
    assert drawn.median == pytest.approx(step.median / 1000 * 16000 * 10240 / 2)
    assert drawn.limit == pytest.approx(step.limit / 1000 * 16000 * 10240 / 2)
    assert all(figure.reference is None for figure in figures.values())


def test_a_device_that_computes_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One in a thousand, in whatever the device was asked for; without it every row is within its tolerance, as on a card."""
    monkeypatch.setattr(Setting, "card", True)
    setting = Setting("cpu", True, (), 1, None, tmp_path)
    found = {(row.name, figure.name): figure for row in ROUNDING for figure in row.run(setting)}
    assert len(found) == 2 * 3 + 2 + 1
    assert all(figure.median == 0 and figure.reached for figure in found.values()), "here both are the processor"

    measured = rounding.pair

    def off(setting: Setting, net: Any) -> tuple[Any, Any]:
        ours, reference = measured(setting, net)
        with torch.no_grad():
            for parameter in ours.parameters():
                parameter.mul_(1.001)
        return ours, reference

    monkeypatch.setattr(rounding, "pair", off)
    for row in ROUNDING:
        assert not all(figure.reached for figure in row.run(setting)), row.name


def test_a_row_that_fails_costs_the_others_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def measure(name: str, *others: Any) -> dict[str, Any]:
        if name == "features":
            raise child.FailedError("ValueError: too loud", "many lines")
        figure = {"name": "all", "unit": "s", "values": [2.0, 1.0, 6.0], "goal": 4.0}
        shares = {"steal": 0.0, "others": 0.5}
        return {"rates": {}, "environment": {}, "figures": [figure], "seconds": 1.0, **shares}

    monkeypatch.setattr(child, "measure", measure)
    monkeypatch.setattr(table, "head", lambda results: [])
    assert bench.main(["--rows", "features", "clips"]) == 1
    said = capsys.readouterr()
    assert "features failed: ValueError: too loud" in said.err
    (line,) = (line for line in said.out.splitlines() if line.startswith("wavs to clips"))
    assert line.split()[6:10] == ["s", "2", "1", "3"]
    assert " 0.50 " in line
    assert "BUSY: others took 50%" in line


def test_the_reason_of_a_failure_is_one_line() -> None:
    with pytest.raises(child.FailedError, match=r"^ValueError: there is no row 'nothing'") as failure:
        child.measure("nothing", "cpu", True, (), 1, None)
    assert "Traceback" in failure.value.log


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rows", "wavnet-sampling"], "there is no row 'wavnet-sampling'. Did you mean wavenet-sampling? Rows: "),
        (["--rows", "rerun", "--device", "cuda"], "rerun is measured on cpu only, not on cuda"),
        (["--show", "nowhere.json"], "there is no file nowhere.json"),
    ],
)
def test_wrong_usage(words: list[str], said: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as end:
        bench.main(words)
    assert end.value.code == 2
    assert said in capsys.readouterr().err


def test_the_list_needs_nothing_heavy() -> None:
    code = "import sys; from benchmarks import bench; bench.main(['--list']); assert not {'torch', 'numpy'} & {*sys.modules}"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == NAMES
    assert len(set(NAMES)) == len(NAMES)


def test_limits() -> None:
    mib = 2**20
    assert Work(products=200).seconds(RATES) == 2
    assert Work(products=200, precision="float64").seconds(RATES) == 4
    assert Work(products=100, ffts=10).seconds(RATES) == 2
    assert Work(read=8, moved=2).seconds(RATES) == 2
    assert Work(read=9, held=4 * mib).seconds(RATES) == pytest.approx(9 / 6)
    assert Work(read=8, moved=2, held=16 * mib).seconds(RATES) == 4
    assert Work(products=200, read=8).times(3).seconds(RATES) == 6
    more = Figure("", "x", [1.0, 1.5, 3.0], goal=3.0, limit=6.0, higher=True)
    assert (more.median, more.best, more.of_goal, more.distance) == (1.5, 3.0, 2.0, 4.0)


def config(name: str, kind: str = "generators") -> Any:
    return plugins.find(kind, name).presets["smoke"]


def operations(function: Any, *arguments: Any) -> float:
    counter = FlopCounterMode(display=False)
    with counter:
        function(*arguments)
    return counter.get_total_flops()


def model(name: str, timesteps: int) -> Any:
    plugin = plugins.find("generators", name)
    return plugin.cls(plugin.presets["smoke"], 16000, timesteps).freeze()


@pytest.mark.parametrize("name", ["wavenet", "samplernn"])
def test_operations_of_autoregressive_models(name: str) -> None:
    """Ours are counted from the configuration, PyTorch's as they happen; folding of weights does not grow with timesteps."""
    net, T = model(name, 4096), 1024
    codes = torch.zeros(1, 4 * T, dtype=torch.int64)
    counted = (operations(net.logits, codes) - operations(net.logits, codes[:, :T])) / (3 * T)
    work = {"wavenet": counts.wavenet_training, "samplernn": counts.samplernn_training}[name](net.config, 1, T, 0)
    c = net.config
    if name == "wavenet":  # PyTorch does not count products that are added in place: the past tap
        counted += 2 * c.blocks * c.layers * 2 * c.residual_channels**2
    assert work.products / 3 / T == pytest.approx(counted, rel=0.01)


def test_operations_of_sashimi() -> None:
    net = model("sashimi", 4096)
    linear = 2 * (counts.sashimi_weights(net.config) + 256 * net.config.d_model)
    net.backbone.tiers.apply(lambda layer: setattr(layer, "_filtered", lambda u, which: u))  # without convolutions
    assert operations(net.logits, torch.zeros(1, 4096, dtype=torch.int64)) / 4096 == pytest.approx(linear, rel=0.01)


@pytest.mark.parametrize("name", ["diffwave", "diffwave_sashimi"])
def test_operations_of_diffusion_models(name: str) -> None:
    net, c = model(name, 16000), config(name)
    positions = net.representation.positions(16000)
    noise = torch.randn(1, net.inputs, positions)
    network = {"diffwave": "stack", "diffwave_sashimi": "sashimi"}[name]
    with torch.no_grad(), remembered_kernels(net):
        conditions = net.conditions(torch.tensor([3.0]))
        net.get_submodule(network).trained(noise, conditions)  # kernels are remembered from here on
        counted = operations(net.get_submodule(network).trained, noise, conditions)
    step = {"diffwave": counts.diffwave_step, "diffwave_sashimi": counts.diffwave_sashimi_step}[name]
    found = step(c, 1, positions, net.inputs, net.outputs).products
    if name == "diffwave":  # the third tap
        found += 2 * positions * c.layers * 2 * c.residual_channels**2
    assert found == pytest.approx(counted, rel=0.01)


def test_operations_of_the_classifier() -> None:
    plugin = plugins.find("classifiers", "resnext")
    net = plugin.cls(config("resnext", "classifiers"), 16000, 16000, ["one", "two"]).eval()
    counted = operations(net.trained_form, torch.randn(2, 1, 32, 32))
    assert counts.resnext(net.config, 2).products == pytest.approx(counted, rel=0.01)


def test_published_sizes() -> None:
    """The counted weights of the paper's presets are the published numbers of parameters, but for tables and embeddings."""
    wavenet = plugins.find("generators", "wavenet").presets["paper"]
    ends = 512 * 1024 + 256 * 512
    weights = 40 * (5 * 64 * 64 + 1024 * 64) + ends
    assert counts.wavenet_weights(wavenet) == weights
    assert counts.wavenet_step(wavenet, 32).read == 4 * weights
    past = sum(1 - 1 / 2**layer for layer in range(10))  # of a block's taps on the past, what a timestep need not read
    assert counts.wavenet_step(wavenet, 1).read == pytest.approx(3 * (weights - 4 * past * 2 * 64 * 64 - ends / 2))
    state = counts.sashimi_step(plugins.find("generators", "sashimi").presets["paper"], 256).moved
    assert state == 2 * 4 * 64 * 256 * 8 * (64 + 128 / 4 + 256 / 16)
