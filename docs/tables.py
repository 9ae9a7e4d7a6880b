"""Prints a table of README.md or docs/ as Markdown, and measures what stands in those that take minutes.

    python docs/tables.py NAME               print it
    python docs/tables.py --measure NAME     measure it anew, and keep that in docs/results/NAME.json

A file of results says which command made it, when it was run on what, and holds what the table needs.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"
sys.path[:0] = [str(HERE / "_ext"), str(ROOT)]


def commands() -> str:
    """Every command, with the page that is about it."""
    import generated

    return "\n".join(generated.commands(folder="docs/commands/"))


def gradients() -> str:
    """How much larger the first layer's gradient is with shortcuts than without."""
    headers = ("residual / plain", "depth", "median", "smallest", "largest")
    rows = [
        (f"{one['stack']}: {one['block']}", _depth(one), *_of_ratios(one["ratios"])) for one in _result("gradients")
    ]
    return f"{markdown(headers, _once(rows))}\n\n{made_by('gradients')}"


def gradients_after_steps() -> str:
    """The same before and after steps of descent; the networks change."""
    headers = ("residual / plain", "depth", "steps", "median", "smallest", "largest", "with shortcuts")
    rows = [
        (
            f"{one['stack']}: {one['block']}",
            _depth(one),
            str(one["steps"]),
            *_of_ratios(one["ratios"]),
            one["verdict"],
        )
        for one in sorted(_result("gradients_after_steps"), key=lambda one: (one["stack"], one["depth"], one["steps"]))
    ]
    return f"{markdown(headers, _once(rows))}\n\n{made_by('gradients_after_steps')}"


def _depth(one: dict[str, Any]) -> str:
    return f"{one['depth']} {one['unit'] if one['depth'] > 1 else one['unit'].removesuffix('s')}"


def _of_ratios(ratios: Sequence[float]) -> tuple[str, str, str]:
    return (two_digits(median(ratios)), two_digits(min(ratios)), two_digits(max(ratios))) if ratios else ("", "", "")


def degradation() -> str:
    """Errors after the last epoch: medians and ranges over the seeds."""
    rows = []
    for (kind, depth), runs in _by_network(_result("degradation")["runs"]).items():
        cells = [cell for what in ("train_error", "test_error") for cell in _spread([run[what] for run in runs])]
        rows.append((f"{kind} {depth}", *cells))
    headers = ("network", "training error %", "range", "test error %", "range")
    return f"{markdown(headers, rows)}\n\n{made_by('degradation')}"


def _spread(values: Sequence[float]) -> tuple[str, str]:
    return f"{median(values):.1f}", f"{min(values):.1f} to {max(values):.1f}"


def _by_network(runs: Iterable[dict[str, Any]]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for run in sorted(runs, key=lambda run: (run["depth"], run["kind"])):
        found.setdefault((run["kind"], run["depth"]), []).append(run)
    return found


def degradation_settings() -> str:
    """Training errors of one seed under other settings."""
    rows = []
    for words, one in _result("degradation_settings").items():
        networks = _by_network(one["runs"])
        cells = [f"{kind} {depth}: {runs[0]['train_error']:.1f}" for (kind, depth), runs in networks.items()]
        rows.append((f"`{words}`", "; ".join(cells)))
    return f"{markdown(('settings', 'training error %'), rows)}\n\n{made_by('degradation_settings')}"


def swap() -> str:
    """The first layer's gradient at initialisation, of a network with one block and another."""
    rows = []
    for one in _result("swap"):
        norms = one["gradient_norms"]
        rows.append((f"`{one['block']}`", *(f"{value:,.0f}" for value in (median(norms), min(norms), max(norms)))))
    headers = ("block", "norm of the gradient, median", "least", "most")
    return f"{markdown(headers, rows)}\n\n{made_by('swap')}"


def bench() -> str:
    """What `rv-check bench` has measured, from the file that it has left."""
    found = _read("bench")
    rows = []
    for one in found["cases"]:
        compared = one["compared"]
        interval = f"{compared['ratio']:.3f} ({compared['low']:.3f} to {compared['high']:.3f})" if compared else ""
        words = " noisy" * one["noisy"]
        times = (f"{1e3 * one['median']:.0f}{words}", f"{one['iqr'] / one['median']:.1%}")
        rate = (f"{one['images_per_second']:.1f}", f"{one['share_of_rate']:.0%}")
        rows.append((one["id"], *times, *rate, interval))
    headers = ("case", "ms", "IQR", "images/s", "share of the FLOP/s reached", "ratio to the first")
    (machine,) = found["machines"]
    return f"{markdown(headers, rows)}\n\nMade by `{BENCH}`: {machine} (docs/results/bench.json)."


BENCH = "rv-check bench resnet18 --reference --pass inference,step --threads 1 --device cpu --seconds 3 -o bench.json"


def counts() -> str:
    """How many models of each package are counted as an independent counter does, and as torch's does."""
    rows = []
    for source, found in _result("counts").items():
        models = found["models"].values()
        exact = sum(one["macs"] == one["independent"] is not None for one in models)
        by_torch = sum(one["torch"] == one["independent"] for one in models)
        refused = [
            f"{name}: `{'`, `'.join(one['refused'])}`" for name, one in found["models"].items() if "refused" in one
        ]
        unseen = Counter(name.partition("::")[2] for one in models for name in one.get("unseen_by_torch", ()))
        misses = [f"`{name}` ({count})" for name, count in unseen.most_common()]
        cells = (
            str(len(models)),
            str(exact),
            "; ".join(refused) or "none",
            str(by_torch),
            ", ".join(misses) or "nothing",
        )
        rows.append((f"{source} {found['version']}", *cells))
    headers = ("package", "models", "exact", "refused", "torch's counter is exact", "it knows nothing of (models)")
    return f"{markdown(headers, rows)}\n\n{made_by('counts')}"


def ratios() -> str:
    """Times of two things that were taken in turn."""
    return _ratio_table("ratios")


def structure() -> str:
    """What level structure takes, and what one would use instead."""
    return _ratio_table("structure")


def _ratio_table(name: str) -> str:
    rows = [
        (one["ours"], one["theirs"], two_digits(one["ratio"]), f"{two_digits(one['low'])} to {two_digits(one['high'])}")
        for one in _result(name)
    ]
    return f"{markdown(('what', 'against', 'ratio', 'of the rounds'), _once(rows))}\n\n{made_by(name)}"


def naming() -> str:
    """What it takes to say which network a module is, in time and in work."""
    headers = ("network", "said to be", "likeness", "seconds", "runs", "looks", "landmarks")
    rows = [
        (one["network"], one["said"], f"{int(100 * one['likeness'])} %", f"{one['seconds']:.1f}", *_counts_of(one))
        for one in _result("naming")
    ]
    return f"{markdown(headers, rows)}\n\n{made_by('naming')}"


def _counts_of(one: dict[str, Any]) -> list[str]:
    return [f"{one[what]:,}" for what in ("runs", "looks", "landmarks")]


# Words


def markdown(headers: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; a `|` within a cell is escaped."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _once(rows: Sequence[Sequence[str]]) -> list[Sequence[str]]:
    """The first cell only where it is another than the one above."""
    return [row if not at or row[0] != rows[at - 1][0] else ("", *row[1:]) for at, row in enumerate(rows)]


def two_digits(value: float) -> str:
    """`0.057`, `8,300`, `2.5e12`."""
    if value == 0:
        return "0"
    if value >= 1e5:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits}e{int(power)}"
    return f"{float(f'{value:.1e}'):,.0f}" if value >= 10 else f"{value:#.2g}"


def made_by(name: str) -> str:
    """The line below a table: what made it, and on what."""
    found = _read(name)
    versions = ", ".join(f"{what} {version}" for what, version in found["software"].items())
    return f"Made by `{found['made_by']}`: {versions}, {found['device']} (docs/results/{name}.json)."


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def _result(name: str) -> Any:
    return _read(name)["result"]


# Measuring. Each takes a folder, in which it may have been run before, and gives what is kept.


def _run(command: str, folder: Path, output: str) -> Any:
    """What a command leaves as JSON in a file; `-` is its stdout."""
    path = folder / output
    if not path.exists():
        words = shlex.split(command.replace("rv-check", f"{sys.executable} -m rv_check", 1))
        done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode not in (0, 1):  # 1: something did not hold, as where an effect is not there
            raise SystemExit(f"{command} ended with {done.returncode}")
        if not path.exists():
            if not done.stdout:
                raise SystemExit(f"{command} left nothing")
            path.write_text(done.stdout, encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def _measure_gradients(command: str, folder: Path) -> Any:
    kept = ("stack", "block", "depth", "unit", "steps", "verdict")
    return [
        {key: one[key] for key in kept} | {"ratios": [run["ratio"] for run in one["runs"] if run["ratio"] is not None]}
        for one in _run(f"{command} --no-picture -o gradients", folder, "gradients/gradients.json")["measured"]
    ]


def _measure_degradation(command: str, folder: Path, name: str = "degradation") -> Any:
    found = _run(f"{command} --no-picture -o {name}", folder, f"{name}/degradation.json")
    runs = [
        {key: run[key] for key in ("kind", "depth", "seed")}
        | {key: run["log"][-1][key] for key in ("train_error", "test_error")}
        for run in found["runs"]
    ]
    return {"recipe": found["recipe"], "verdict": found["verdict"], "runs": runs}


SETTINGS = (
    "--depth 20 --depth 56 --rate 0.1 --epochs 10",
    "--depth 20 --depth 56 --rate 0.05",
    "--depth 20 --depth 56 --batch 128",
    "--depth 20 --depth 56 --width 16",
    "--depth 20 --depth 56 --epochs 60",
    "--depth 20 --depth 110",
)


def _measure_settings(command: str, folder: Path) -> Any:
    return {
        words: _measure_degradation(f"{command} {words}", folder, f"settings-{at}") for at, words in enumerate(SETTINGS)
    }


def _measure_swap(command: str, folder: Path) -> Any:
    found = _run(f"{command} --json", folder, "swap.json")
    return [{key: one[key] for key in ("block", "gradient_norms")} for one in found["variants"]]


def _measure_ratios(command: str, folder: Path) -> Any:
    script, *more = shlex.split(command.removeprefix(f"{ONE_THREAD} python "))
    words = shlex.join(["env", ONE_THREAD, sys.executable, str(ROOT / script), *more])
    return _run(f"{words} -o {Path(script).stem}.json", folder, f"{Path(script).stem}.json")


def _measure_counts(command: str, folder: Path) -> Any:
    from tests.parity import counted_models

    found = {}
    for source in counted_models.SOURCES:
        path = folder / f"{source}.json"
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        for name, row in counted_models.rows(source, kept):
            kept[name] = row
            path.write_text(json.dumps(kept), encoding="utf-8")
        found[source] = {"version": counted_models.version(source), "models": kept}
    return found


ONE_THREAD = "OMP_NUM_THREADS=1"


BLOCKS = ("preact_bottleneck", "bottleneck_d", "se_bottleneck", "bottleneck(groups=32, width_per_group=4)")
MEASURED: dict[str, tuple[str, Callable[[str, Path], Any]]] = {
    "gradients": ("rv-check study gradients", _measure_gradients),
    "gradients_after_steps": ("rv-check study gradients --stack conv --stack conv-bn --steps 20", _measure_gradients),
    "degradation": ("rv-check study degradation", _measure_degradation),
    "degradation_settings": ("rv-check study degradation --seeds 1", _measure_settings),
    "swap": (
        shlex.join(
            ["rv-check", "swap", "resnet50"]
            + [word for block in (*BLOCKS, "bottleneck(width_per_group=128)") for word in ("--block", block)]
        ),
        _measure_swap,
    ),
    "ratios": (f"{ONE_THREAD} python tests/bench/ratios.py --clock cpu", _measure_ratios),
    "structure": (
        f"{ONE_THREAD} python tests/bench/structure.py --clock cpu --only warm --archs resnet50",
        _measure_ratios,
    ),
    "naming": (f"{ONE_THREAD} python tests/bench/naming.py", _measure_ratios),
    "counts": (f"{ONE_THREAD} python docs/tables.py --measure counts", _measure_counts),
}
TABLES: dict[str, Callable[[], str]] = {
    table.__name__: table
    for table in (
        commands,
        gradients,
        gradients_after_steps,
        degradation,
        degradation_settings,
        swap,
        bench,
        ratios,
        structure,
        naming,
        counts,
    )
}


def measure(name: str, folder: Path) -> None:
    """Run the command of a table, and keep what the table needs. Files that are in the folder are not made anew."""
    from rv_check.bench.devices import device_of, software

    command, function = MEASURED[name]
    result = function(command, folder)
    versions = {what: version for what, version in software().items() if what in ("torch", "torchvision", "python")}
    found = {"made_by": command, "software": versions, "device": device_of("cpu").describe()["name"], "result": result}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Print, or measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=TABLES)
    parser.add_argument("--measure", action="store_true", help="measure anew")
    parser.add_argument("--folder", type=Path, help="where the command leaves its files, and may have done so before")
    options = parser.parse_args()
    if options.measure and options.name not in MEASURED:
        parser.error(f"{options.name} is not measured by this script")
    if options.measure:
        with tempfile.TemporaryDirectory() as folder:
            measure(options.name, options.folder or Path(folder))
    print(TABLES[options.name]())


if __name__ == "__main__":
    main()
