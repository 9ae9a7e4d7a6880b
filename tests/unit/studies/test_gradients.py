"""The study of gradients: what is known of it comes out, at the seeds it is known of, and the pair is a fair one."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median

import pytest
import torch
from torch import nn

from rv_check import RvCheckError, load
from rv_check.archs.load import load_archs
from rv_check.checks.of_two import compare_archs
from rv_check.checks.registry import check_arch
from rv_check.cli.main import main
from rv_check.language.files import shipped_folder
from rv_check.studies.gradients import STACKS, GradientRun, MeasuredStack, measure, study, twins

STUDIES = shipped_folder() / "studies"


@cache
def measured(stack: str, depth: int) -> MeasuredStack:
    """All of its seeds: 50, as the facts have them."""
    (found,) = study([STACKS[stack]], [depth])
    return found


# Facts: recomputed independently, medians of 50 seeds. The larger figures agree to the digits printed. Those with batch
# norm are medians of ratios that spread by a factor of 3 to 5: another draw of 50 seeds moves them by a tenth or so.


@pytest.mark.parametrize(
    ("depth", "ratio", "within"),
    [(1, 1.04, 0.005), (2, 4.4, 0.05), (5, 390, 5), (10, 7.8e5, 0.05e5), (20, 2.5e12, 0.05e12)],
)
def test_ratio_without_normalisation(depth: int, ratio: float, within: float) -> None:
    """The first layer's gradient with shortcuts over the one without, as printed."""
    found = measured("mlp", depth)
    assert len(found.runs) == 50
    assert abs(median(found.ratios) - ratio) <= within


def test_without_normalisation_every_seed_of_ten_blocks_exceeds_a_hundred() -> None:
    """The smallest of 50 does by far."""
    assert measured("mlp", 10).ratios[0] > 100
    assert measured("mlp", 10).verdict == "larger"


def test_one_block_depends_on_the_seed() -> None:
    """One block alone keeps nothing alive: some ratios are below 1, some above."""
    assert measured("mlp", 1).verdict == "depends on the seed"


@pytest.mark.parametrize(
    ("stack", "depth", "ratio"),
    [("mlp-bn", 10, 0.5), ("mlp-bn", 20, 0.076), ("mlp-bn-relu", 10, 0.18), ("mlp-bn-relu", 20, 0.0075)],
)
def test_with_batch_norm_it_reverses(stack: str, depth: int, ratio: float) -> None:
    """It does on every seed, and most with a ReLU after the addition; the medians to 15 %, as other draws differ."""
    found = measured(stack, depth)
    assert found.ratios[-1] < 1
    assert found.verdict == "smaller"
    assert abs(median(found.ratios) / ratio - 1) < 0.15


def test_the_relu_after_the_addition_makes_it_worse() -> None:
    """It is worse on the same seeds, weights and data, in all 50 of them."""
    with_relu, without = measured("mlp-bn-relu", 20), measured("mlp-bn", 20)
    assert all(a.ratio < b.ratio for a, b in zip(with_relu.runs, without.runs, strict=True))


def test_float32_loses_the_plain_gradient() -> None:
    """At 40 blocks its squares underflow, so that its norm is 0; at 80 every element is 0. Float64 has both."""
    for depth, gone in ((40, 0.0), (80, 1.0)):
        runs = [measure(STACKS["mlp"], depth, seed) for seed in range(5)]
        assert [run.plain_norm_in_float32 for run in runs] == [0.0] * 5
        assert [run.plain_zeros_in_float32 for run in runs] == [gone] * 5
        assert all(min(run.plain.values()) > 0 for run in runs)
    assert measure(STACKS["mlp"], 20, 0).plain_norm_in_float32 > 0


@pytest.mark.parametrize(("stack", "larger"), [("conv", True), ("conv-bn", False)])
def test_convolutional_networks_do_the_same(stack: str, larger: bool) -> None:
    """18 and 34 layers: larger with shortcuts where nothing normalises, smaller with batch norm; more so if deeper."""
    shallow, deep = study([STACKS[stack]], [18, 34], seeds=2)
    for found in (shallow, deep):
        assert found.verdict == ("larger" if larger else "smaller")
    assert (median(deep.ratios) > median(shallow.ratios)) == larger


# A fair pair


@pytest.mark.parametrize(("stack", "depth"), [("mlp", 3), ("mlp-bn-relu", 2), ("conv", 18), ("conv-bn", 50)])
def test_the_twins_differ_in_shortcuts_alone(stack: str, depth: int) -> None:
    """What the plain one has is equal in the other; that one has projections besides, and the sums' second branch."""
    residual, plain, x, y = twins(STACKS[stack], depth, seed=3)
    of_residual, of_plain = residual.state_dict(), plain.state_dict()
    assert all(torch.equal(of_residual[name], value) for name, value in of_plain.items())
    assert all(".downsample." in name for name in set(of_residual) - set(of_plain))
    assert (len(x), len(y)) == (32, 32)
    arch = load(STACKS[stack].arch_at(depth, shortcut=False))
    assert arch.skip_connections == 0 < load(STACKS[stack].arch_at(depth, shortcut=True)).skip_connections


@pytest.mark.parametrize("layers", [18, 34, 50])
def test_the_networks_are_the_shipped_ones(layers: int) -> None:
    """With shortcuts and norms it is the ResNet, without shortcuts the plain network; without norms neither."""
    name = f"{STUDIES}/depth.yaml::depth{layers}"
    assert compare_archs(load(f"resnet{layers}"), load(f"{name}(classes=1000)")).passed
    assert not compare_archs(load(f"resnet{layers}"), load(f"{name}(classes=1000, norm=False)")).passed
    if layers != 50:
        assert compare_archs(load(f"plain{layers}"), load(f"{name}(classes=1000, shortcut=False)")).passed


@pytest.mark.parametrize("name", ["perceptrons", "depth"])
def test_the_specs_hold(name: str) -> None:
    """Contracts and printed numbers."""
    for arch in load_archs(STUDIES / f"{name}.yaml"):
        report = check_arch(arch, ("spec",))
        assert report.findings
        assert report.passed, report


def test_a_norm_by_hand() -> None:
    """Two layers without a shortcut, written out in torch: the same gradient."""
    _, plain, x, y = twins(STACKS["mlp"], 1, seed=0)
    weights = dict(plain.named_parameters())
    plain.double()
    h = nn.functional.linear(x.double(), weights["block0.linear1.weight"], weights["block0.linear1.bias"]).relu()
    h = nn.functional.linear(h, weights["block0.linear2.weight"], weights["block0.linear2.bias"])
    z = nn.functional.linear(h, weights["head.weight"], weights["head.bias"])[:, 0]
    loss = (z.sigmoid().log() * -y - (1 - z.sigmoid()).log() * (1 - y)).mean()
    (gradient,) = torch.autograd.grad(loss, weights["block0.linear1.weight"])
    run = measure(STACKS["mlp"], 1, seed=0)
    assert abs(run.plain["block0.linear1.weight"] / float(gradient.square().sum().sqrt()) - 1) < 1e-9
    assert list(run.plain) == ["block0.linear1.weight", "block0.linear2.weight", "head.weight"]


def test_steps_change_what_is_measured_and_the_generator_stays() -> None:
    """Each network is trained on its own; torch's global generator is where it was."""
    state = torch.get_rng_state()
    before, after = measure(STACKS["mlp"], 2, 0), measure(STACKS["mlp"], 2, 0, steps=3, rate=0.5)
    assert before.plain != after.plain
    assert before.residual != after.residual
    assert measure(STACKS["mlp"], 2, 0) == before
    assert torch.equal(torch.get_rng_state(), state)


# Verdicts


def of_ratios(*pairs: tuple[float, float]) -> MeasuredStack:
    """What is said of these gradients, with shortcuts and without."""
    runs = (GradientRun(seed, {"a": a}, {"a": b}, 1.0, 0.0) for seed, (a, b) in enumerate(pairs))
    return MeasuredStack(STACKS["mlp"], 1, 0, tuple(runs))


def test_verdicts_come_from_the_numbers() -> None:
    """Every seed decides, and one that is not finite is told, never left out in silence."""
    assert of_ratios((2, 1), (1.5, 1)).verdict == "larger"
    assert of_ratios((2, 1), (0.9, 1)).verdict == "depends on the seed"
    assert of_ratios((0.5, 1), (0.9, 1)).verdict == "smaller"
    assert of_ratios((0.5, 1), (float("nan"), 1)).verdict == "not finite in 1 of 2"
    assert of_ratios((0.5, 0.0)).verdict == "not finite in 1 of 1"


def test_unequal_weights_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the reversal's block in place of the plain one the fact above fails: the tests can."""
    stack = replace(STACKS["mlp"], arch=STACKS["mlp-bn"].arch)
    (found,) = study([stack], [10], seeds=3)
    assert not found.ratios[0] > 100


# The command


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table, its data, and pictures; --along has every layer, --steps a second line."""
    folder = tmp_path / "out"
    arguments = ["study", "gradients", "--stack", "mlp", "--depth", "2", "--seeds", "2", "--steps", "1", "--along"]
    assert main([*arguments, "-o", str(folder)]) == 0
    out = capsys.readouterr().out
    assert out.count("2 blocks  ") == 2
    assert "block1.linear2.weight" in out
    assert (folder / "gradients.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "gradients.svg").read_text()
    data = json.loads((folder / "gradients.json").read_text())
    assert data["schema"] == "rv-check/study-gradients/1"
    assert [(one["steps"], len(one["runs"])) for one in data["measured"]] == [(0, 2), (1, 2)]
    assert main([*arguments, "-o", str(folder), "--json", "--no-picture"]) == 0
    assert json.loads(capsys.readouterr().out) == data


def test_command_without_matplotlib(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is there, and what would bring the picture is said."""
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    arguments = ["study", "gradients", "--stack", "mlp", "--depth", "1", "--seeds", "1"]
    assert main([*arguments, "-o", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert "mlp" in captured.out
    assert "pip install 'rv-check[plot]'" in captured.err
    assert not list(tmp_path.glob("*.png"))


def test_error_of_an_unknown_stack_or_depth(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both say what there is."""
    assert main(["study", "gradients", "--stack", "mpl", "-o", str(tmp_path)]) == 2
    assert "unknown stack 'mpl'\n  expected: mlp, mlp-bn, mlp-bn-relu, conv, conv-bn" in capsys.readouterr().err
    with pytest.raises(RvCheckError, match="conv has no network of 19 layers\n  expected: one of 18, 34, 50"):
        list(study([STACKS["conv"]], [19]))


def test_error_of_an_unknown_study(capsys: pytest.CaptureFixture[str]) -> None:
    """The studies that there are, and status 2."""
    with pytest.raises(SystemExit) as left:
        main(["study", "gradient"])
    assert left.value.code == 2
    assert "invalid choice: 'gradient' (choose from" in capsys.readouterr().err


def test_error_of_a_folder_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any work."""
    (tmp_path / "file").touch()
    assert main(["study", "gradients", "-o", str(tmp_path / "file")]) == 2
    assert "file cannot be written to" in capsys.readouterr().err
