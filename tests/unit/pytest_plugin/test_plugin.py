"""The pytest plugin: what it collects and under which ids, what a failure looks like, and what it costs."""

from __future__ import annotations

import ast
import os
import pkgutil
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

# What a run within this process uses is imported here: pytester forgets what is imported during one.
import hypothesis.internal.observability  # noqa: F401
import pytest
import torch._dynamo  # noqa: F401
import torchvision.models  # noqa: F401

import rv_check
from rv_check.checks.findings import LEVELS
from rv_check.claims.markdown import BEGIN, SUFFIXES
from rv_check.errors import Document, Place
from rv_check.language import files
from rv_check.language.vocabulary import PROPERTIES
from rv_check.pytest_plugin import hooks
from rv_check.pytest_plugin import shown as pytest_plugin_shown
from tests import ROOT
from tests.unit.tiny import SPEC

for _module in pkgutil.walk_packages(rv_check.__path__, "rv_check."):
    if _module.name != "rv_check.__main__":
        import_module(_module.name)

pytest_plugins = "pytester"

CONFTEST = (ROOT / "conftest.py").read_text()
STATIC = ["shapes", "contract", "params", "macs", "depth", "receptive_field"]
NUMBERS = ["state_dict", "init", "logits", "eval", "train", "counters", "field"]

# An arch without a reference, so that its numbers are the counters alone.
ALONE = SPEC.replace("    reference: torchvision.models.net(classes=classes)\n", "")
TWO = (
    ALONE
    + """
  wide:
    build: tiny(width=8)
    published:
      - depth: 4
        source: worked by hand
"""
)


@pytest.fixture(autouse=True)
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with the conftest.py of this one, which makes the plugin known where it is not installed."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    pytester.makeconftest(CONFTEST)


def write(pytester: pytest.Pytester, text: str = TWO, name: str = "specs/tiny.yaml") -> Path:
    """A file of the project."""
    path = pytester.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def ids(result: pytest.RunResult) -> list[str]:
    """What `--collect-only -q` lists."""
    return [line for line in result.outlines if "::" in line]


def collected(pytester: pytest.Pytester, *arguments: str) -> list[str]:
    """The ids that a command line chooses."""
    return ids(pytester.runpytest_inprocess("--collect-only", "-q", *arguments))


# Collecting


def test_ids(pytester: pytest.Pytester) -> None:
    """One item per arch and check, in the order of the file and of the levels, with ids to be read and typed."""
    write(pytester)
    expected = [f"specs/tiny.yaml::net::{check}" for check in [*STATIC, "counters", "field"]]
    expected += [f"specs/tiny.yaml::wide::{check}" for check in ("shapes", "depth", "counters", "field")]
    assert collected(pytester) == expected
    assert collected(pytester, "specs") == expected
    assert collected(pytester, "specs/tiny.yaml") == expected
    assert collected(pytester, "specs/tiny.yaml::wide") == expected[-4:]
    assert collected(pytester, "specs/tiny.yaml::net::macs") == ["specs/tiny.yaml::net::macs"]


CHOICES: list[tuple[list[str], list[str]]] = [
    (["-k", "net and macs"], ["net::macs"]),
    (["-k", "wide and not depth"], ["wide::shapes", "wide::counters", "wide::field"]),
    (["-k", "depth"], ["net::depth", "wide::depth"]),
    (["-m", "rv_check(level='numbers')"], ["net::counters", "net::field", "wide::counters", "wide::field"]),
    (["-m", "rv_check(arch='wide')"], ["wide::shapes", "wide::depth", "wide::counters", "wide::field"]),
    (["-m", "rv_check(check='macs')"], ["net::macs"]),
    (["-m", "not rv_check"], []),
    (["--rv-arch", "w*", "--rv-level", "spec"], ["wide::shapes", "wide::depth"]),
    (["--rv-arch", "net", "--rv-arch", "wide", "-k", "shapes"], ["net::shapes", "wide::shapes"]),
    (["--rv-arch", "n"], []),
    (["--rv-level", "numbers", "-k", "wide"], ["wide::shapes", "wide::depth", "wide::counters", "wide::field"]),
]


@pytest.mark.parametrize(("arguments", "chosen"), CHOICES, ids=[" ".join(c[0]) for c in CHOICES])
def test_choosing(arguments: list[str], chosen: list[str], pytester: pytest.Pytester) -> None:
    """`-k`, `-m` and the plugin's own options choose archs and levels."""
    write(pytester)
    assert collected(pytester, *arguments) == [f"specs/tiny.yaml::{id_}" for id_ in chosen]


def test_only_its_own_files_are_claimed(pytester: pytest.Pytester) -> None:
    """The families in specs/ are claimed, and nothing else of a repository full of YAML: blocks have no archs."""
    family = write(pytester)
    for name in (
        ".github/workflows/ci.yml",
        "compose.yaml",
        "specs/notes.yaml",
        "specs/deep/er.yaml",
        "data/specs/x.yaml",
    ):
        write(pytester, "on: push\nfamilies: 2\nx:\n  family: none\n", name)
    write(pytester, TWO, "networks/other.yaml")
    write(pytester, TWO, "specs/deep/other.yaml")
    write(pytester, (files.shipped_folder() / "blocks" / "basic.yaml").read_text(), "specs/blocks/basic.yaml")
    write(pytester, TWO, "specs/tiny.txt")
    pytester.makepyfile(test_it="def test_it(): pass")
    assert {id_.partition("::")[0] for id_ in collected(pytester)} == {"specs/tiny.yaml", "test_it.py"}
    assert {id_.partition("::")[0] for id_ in collected(pytester, ".")} == {"specs/tiny.yaml", "test_it.py"}
    assert family.is_file()


def test_a_family_that_is_named_is_claimed(pytester: pytest.Pytester) -> None:
    """Wherever it lies; another YAML file that is named is nobody's, and pytest says so."""
    write(pytester, TWO, "networks/other.yaml")
    write(pytester, "on: push\n", "ci.yaml")
    assert len(collected(pytester, "networks/other.yaml")) == 12
    assert collected(pytester, "networks") == []
    result = pytester.runpytest_inprocess("ci.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: not found: *ci.yaml"])


def test_what_begins_a_family(tmp_path: Path) -> None:
    """A line with the key, behind comments or a byte order mark; also what cannot be opened, which then says so."""
    path = tmp_path / "x.yaml"
    for text, begins in (
        (b"family: x()\n", "family"),
        (b"\xef\xbb\xbffamily: x()\r\n", "family"),
        (b"# ours\n---\nsource: a\nfamily: x()\n", "family"),
        (b"# ours\nclaims: what is said\n", "claims"),
        (b"x:\n  family: x()\n", ""),
        (b"families: 3\n", ""),
        (b"", ""),
    ):
        path.write_bytes(text)
        assert hooks.begins(path) == begins, text
    assert hooks.begins(tmp_path / "not there.yaml") == "family"


CLAIMS = """\
claims: a page
source: nowhere
statements:
  - is: vgg16.params
    printed: 138M
  - is: vgg19.params
    printed: 143M
  - is: vgg16.depth
    printed: 16
    verdict: wrong
  - is: vgg16.depth + 1
    printed: 17
    source: one page
  - is: vgg16.depth + 1
    printed: 17
    source: another page
"""


def test_claims(pytester: pytest.Pytester) -> None:
    """A statement is an item, red where its verdict is not the one declared: truncated for holds, holds for wrong."""
    write(pytester, CLAIMS, "specs/claims/said.yaml")
    assert collected(pytester) == [
        "specs/claims/said.yaml::vgg16.params = 138M",
        "specs/claims/said.yaml::vgg19.params = 143M",
        "specs/claims/said.yaml::vgg16.depth = 16",
        "specs/claims/said.yaml::vgg16.depth + 1 = 17 in line 11",
        "specs/claims/said.yaml::vgg16.depth + 1 = 17 in line 14",
    ]
    result = pytester.runpytest_inprocess("specs/claims/said.yaml")
    result.assert_outcomes(passed=3, failed=2)
    result.stdout.fnmatch_lines(
        [
            "specs/claims/said.yaml:6:9: said::vgg19.params = 143M failed: * holds only under truncation",
            "    found:    holds only under truncation, it is 144M",
            "again: rv-check claims *said.yaml",
            "specs/claims/said.yaml:8:9: said::vgg16.depth = 16 failed: vgg16.depth = 16 holds",
        ]
    )
    assert collected(pytester, "--rv-arch", "vgg*") == []


def test_error_claims(pytester: pytest.Pytester) -> None:
    """A file that cannot be read is one failure, an unknown fact that of its statement."""
    write(pytester, CLAIMS.replace("printed: 138M", "printed: lots"), "specs/claims/said.yaml")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*said.yaml:5:14: printed is 'lots'"])
    write(pytester, CLAIMS.replace("is: vgg16.params", "is: vgg16.parms"), "specs/claims/said.yaml")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=2, failed=3)
    result.stdout.fnmatch_lines(["*said.yaml:4:9: vgg16 has no fact 'parms'"])


def test_claims_that_cannot_be_looked_up(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """An accuracy without torchvision is a skip, and a failure where the level is required."""
    from rv_check.errors import CannotRun
    from rv_check.modules import reference

    def missing(module: str, extra: str = "torch") -> None:
        raise CannotRun(f"{module} cannot be imported")

    monkeypatch.setattr(reference, "need", missing)
    said = CLAIMS.partition("  - is: vgg19")[0] + "  - is: vgg16.top1\n    printed: 71.6%\n"
    write(pytester, said, "specs/claims/said.yaml")
    pytester.runpytest_inprocess().assert_outcomes(passed=1, skipped=1)
    pytester.runpytest_inprocess("--rv-require", "spec").assert_outcomes(passed=1, failed=1)


PAGE = """\
# Nets

<!-- rv-check claims: params; depth -->

| arch | params | depth |
| --- | --- | --- |
| vgg16 | 138M | 16 |
| vgg19 | 143M | - |
| vgg16 | 138M | |
"""


def test_pages(pytester: pytest.Pytester) -> None:
    """A number of a table is an item, of every page that is met; a page without a comment is left alone."""
    write(pytester, PAGE, "README.md")
    write(pytester, "```markdown\n" + PAGE + "```\n", "pages/shown.md")
    write(pytester, "| vgg16 | 1 |\n", "pages/other.md")
    ids = [
        "README.md::vgg16, params = 138M in line 7",
        "README.md::vgg16, depth = 16",
        "README.md::vgg19, params = 143M",
        "README.md::vgg16, params = 138M in line 9",
    ]
    assert collected(pytester) == ids
    assert collected(pytester, "README.md") == ids
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            "README.md:8:11: README::vgg19, params = 143M failed: * holds only under truncation",
            "    | vgg19 | 143M | - |",
            "    found:    holds only under truncation, it is 144M",
            "again: rv-check claims *README.md",
        ]
    )


def test_error_pages(pytester: pytest.Pytester) -> None:
    """A table that cannot be read is one failure, with its line."""
    write(pytester, PAGE.replace("| vgg19", "| vgg18"), "README.md")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*README.md:8:3: there is no spec of 'vgg18'"])


def test_where_specs_are_is_a_setting(pytester: pytest.Pytester) -> None:
    """`rv_check_specs` is a list of glob patterns from the root."""
    write(pytester, TWO, "networks/deep/other.yml")
    write(pytester, TWO, "specs/tiny.yaml")
    pytester.makeini("[pytest]\nrv_check_specs = networks/**/*.yml mine/*\n")
    assert {id_.partition("::")[0] for id_ in collected(pytester)} == {"networks/deep/other.yml"}
    pytester.makeini(f"[pytest]\nrv_check_specs = {pytester.path}/specs/*\n")
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: rv_check_specs takes patterns relative to the root*"])


def test_ids_are_the_same_on_many_workers(pytester: pytest.Pytester) -> None:
    """`-n 2` runs the items of one process, each arch on one worker; other tests are spread."""
    write(pytester)
    pytester.makepyfile(test_it="def test_a(): pass\ndef test_b(): pass")
    alone = collected(pytester)
    result = pytester.runpytest_subprocess("-n", "2", "-v", "--rv-level", "spec")
    result.assert_outcomes(passed=10)
    ran = re.findall(r"^\[(gw\d)\].* PASSED (\S+)", result.stdout.str(), re.MULTILINE)
    assert sorted(id_ for _, id_ in ran) == sorted(id_ for id_ in alone if not id_.endswith(("counters", "::field")))
    for arch in ("net", "wide"):
        assert len({worker for worker, id_ in ran if f"::{arch}::" in id_}) == 1


def test_workers_of_a_project_without_specs_are_left_alone(pytester: pytest.Pytester) -> None:
    """xdist's own scheduling stays where there is no spec file, and gives way where there is one."""
    pytester.makepyfile(spy=SPY, test_it="def test_a(): pass")
    for scheduler in ("LoadScheduling", "ArchScheduling"):
        result = pytester.runpytest_subprocess("-n", "1", "-p", "spy", "--rv-level", "spec", "-s")
        result.stdout.fnmatch_lines([f"*scheduler {scheduler}"])
        write(pytester)


SPY = """\
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtestloop(session):
    result = yield
    session_of_xdist = session.config.pluginmanager.get_plugin("dsession")
    if session_of_xdist is not None:
        print("scheduler", type(session_of_xdist.sched).__name__)
    return result
"""


# Outcomes


def test_what_holds_passes(pytester: pytest.Pytester) -> None:
    """It passes also with warnings as errors, without xdist, and with the numbers of real models."""
    write(pytester)
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:xdist", "--rv-require", "numbers")
    result.assert_outcomes(passed=12)
    result.stdout.fnmatch_lines(["specs/tiny.yaml ..........*"])


def test_a_failure_reads_like_a_finding(pytester: pytest.Pytester) -> None:
    """No traceback: the place, the line with a caret, found, expected, source; a location to click; a summary line."""
    write(pytester, TWO.replace("params: 1_150", "params: 1_151"))
    result = pytester.runpytest_inprocess("--rv-level", "spec")
    result.assert_outcomes(failed=1, passed=7)
    result.stdout.fnmatch_lines(
        [
            "*____ net params ____*",
            "specs/tiny.yaml:32:17: net::params failed: params 1_151 is wrong",
            "          - params: 1_151",
            "                    ^",
            "    found:    1,150",
            "    expected: 1_151",
            "    source:   worked by hand",
            "FAILED specs/tiny.yaml::net::params - params 1_151 is wrong: found 1,150, exp*",
        ],
        consecutive=False,
    )
    assert "Traceback" not in result.stdout.str()
    assert "pytest_plugin/" not in result.stdout.str()


def test_all_findings_of_a_check_are_one_failure(pytester: pytest.Pytester) -> None:
    """Two wrong lines of a contract are two findings in one failure."""
    write(pytester, TWO.replace("macs: 57_344", "macs: 57_345").replace("shape: 8 8 8", "shape: 8 8 9"))
    result = pytester.runpytest_inprocess("--rv-level", "spec")
    result.assert_outcomes(failed=1, passed=7)
    result.stdout.fnmatch_lines(["*net::contract failed: shape of layer1*", "*net::contract failed: macs of layer1*"])


def test_an_unreadable_spec_is_one_failure(pytester: pytest.Pytester) -> None:
    """The failure has every error in it; the other files are run."""
    write(pytester)
    write(pytester, TWO.replace("conv(width", "covn(width").replace("flatten", "flaten"), "specs/bad.yaml")
    result = pytester.runpytest_inprocess("--rv-level", "spec")
    result.assert_outcomes(failed=1, passed=8)
    result.stdout.fnmatch_lines(
        [
            "specs/bad.yaml:6:12: unknown op or block 'covn'",
            "specs/bad.yaml:13:5: unknown op or block 'flaten'",
            "FAILED specs/bad.yaml::spec - unknown op or block 'covn' (and 1 more)",
        ]
    )


def test_an_empty_or_binary_spec_is_one_failure(pytester: pytest.Pytester) -> None:
    """What begins a family and is no YAML is a failure with its line, not an error of collection."""
    write(pytester, "family: x\n\tbody: 1\n", "specs/tab.yaml")
    (pytester.path / "specs" / "bytes.yaml").write_bytes(b"family: x\n\xff\xfe\n")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["FAILED specs/bytes.yaml::spec - *", "FAILED specs/tab.yaml::spec - *"])


def test_an_arch_that_does_not_expand_is_one_failure(pytester: pytest.Pytester) -> None:
    """Its other checks are blocked, which is a skip with the reason; the other archs are run."""
    write(
        pytester, TWO + "\n  odd:\n    build: tiny(width=0)\n    published:\n      - depth: 4\n        source: none\n"
    )
    result = pytester.runpytest_inprocess("--rv-level", "spec", "-rsf")
    result.assert_outcomes(failed=1, passed=8, skipped=1)
    result.stdout.fnmatch_lines(
        [
            "SKIPPED [[]1[]] specs/tiny.yaml:49: blocked by the spec: see odd::shapes",
            "FAILED specs/tiny.yaml::odd::shapes - *",
        ]
    )


def test_a_model_that_does_not_build_is_one_failure(pytester: pytest.Pytester) -> None:
    """Its other checks are blocked; what needs no model passes."""
    write(pytester, SPEC.replace("models.net", "models.nett"))
    result = pytester.runpytest_inprocess("-rsf", "-k", "not counters")
    result.assert_outcomes(failed=1, passed=7, skipped=6, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "SKIPPED [[]6[]] specs/tiny.yaml:23: blocked by the models: see net::structure",
            "FAILED specs/tiny.yaml::net::structure - the reference does not *",
        ]
    )
    first = pytester.runpytest_inprocess("-k", "(train and not trainable) or eval")
    first.assert_outcomes(failed=1, skipped=1, deselected=13)


def test_models_go_with_their_arch(pytester: pytest.Pytester) -> None:
    """What the checks of an arch share is forgotten before the next arch comes."""
    write(pytester)
    shared: list[list[object]] = []

    class Spy:
        def pytest_runtest_teardown(self, item: pytest.Item) -> None:
            archs = {id(other.parent): other.parent for other in item.session.items}
            shared.append([arch._run for arch in archs.values()])

    pytester.inline_run("--rv-level", "spec", plugins=[Spy()])
    assert len(shared) == 8
    assert all(sum(run is not None for run in runs) == 1 for runs in shared)


def test_what_cannot_run_is_skipped_or_required(pytester: pytest.Pytester) -> None:
    """A device that is not here is a skip with the reason, and a failure where the level is required."""
    write(pytester, SPEC.replace("models.net(", "models.resnet18(num_"))
    arguments = ("--rv-device", "cuda:99", "-k", "logits", "-rsf")
    result = pytester.runpytest_inprocess(*arguments)
    result.assert_outcomes(skipped=1, deselected=14)
    result.stdout.fnmatch_lines(["SKIPPED [[]1[]] specs/tiny.yaml:23: could not run: device 'cuda:99' cannot be used*"])
    result = pytester.runpytest_inprocess(*arguments, "--rv-require", "numbers")
    result.assert_outcomes(failed=1, deselected=14)
    result.stdout.fnmatch_lines(["FAILED specs/tiny.yaml::net::logits - could not run, and numbers is *"])
    pytester.makeini("[pytest]\nrv_check_require = numbers\n")
    pytester.runpytest_inprocess(*arguments).assert_outcomes(failed=1, deselected=14)


def test_error_settings(pytester: pytest.Pytester) -> None:
    """A wrong setting is told before anything is run."""
    write(pytester)
    pytester.makeini("[pytest]\nrv_check_require = parity\n")
    result = pytester.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: rv_check_require is 'parity', expected: spec or structure or numbers"])
    for arguments in (["--rv-level", "parity"], ["--rv-require", "all"]):
        assert pytester.runpytest_inprocess(*arguments).ret == pytest.ExitCode.USAGE_ERROR


# Known deviations

KNOWN = "deviations:\n  - check: {}\n    reason: ours is wider\n    link: https://example.org/7\n"


def test_a_known_deviation_is_an_expected_failure(pytester: pytest.Pytester) -> None:
    """It is shown with its reason and link, given by option or by setting, relative to the project."""
    write(pytester, TWO.replace("params: 1_150", "params: 1_151"))
    write(pytester, KNOWN.format("net::params"), "known.yaml")
    for arguments in (["--rv-deviations", "known.yaml"], []):
        result = pytester.runpytest_inprocess("--rv-level", "spec", "-rx", *arguments)
        result.assert_outcomes(xfailed=1, passed=7)
        result.stdout.fnmatch_lines(
            ["XFAIL specs/tiny.yaml::net::params - known deviation: ours is wider (https://example.org/7)"]
        )
        pytester.makeini("[pytest]\nrv_check_deviations = known.yaml\n")


def test_a_deviation_that_does_not_occur_any_more_fails(pytester: pytest.Pytester) -> None:
    """It fails at its own line, under the id of the check."""
    write(pytester)
    write(pytester, KNOWN.format("specs/tiny.yaml::net::params"), "known.yaml")
    result = pytester.runpytest_inprocess("--rv-level", "spec", "--rv-deviations", "known.yaml")
    result.assert_outcomes(failed=1, passed=7)
    result.stdout.fnmatch_lines(
        [
            "known.yaml:2:12: net::params failed: the known deviation * does not occur any more: take it out",
            "FAILED specs/tiny.yaml::net::params - the known deviation *",
        ]
    )


UNMATCHED = "known.yaml::nett::params"


@pytest.mark.parametrize(
    ("arguments", "judged"),
    [
        ([], True),
        (["specs"], True),
        (["specs/tiny.yaml", "specs/more.yaml"], True),
        (["specs/tiny.yaml"], False),
        (["-k", "wide"], False),  # -k chooses among what was collected, this item too
        (["specs/tiny.yaml::wide"], False),
        (["--rv-arch", "wide"], False),
        (["--rv-level", "spec"], False),
        (["test_it.py"], False),
    ],
)
def test_a_deviation_that_matches_nothing_fails(arguments: list[str], judged: bool, pytester: pytest.Pytester) -> None:
    """Where every check was collected; where only some were, it is not known to match nothing."""
    write(pytester)
    write(pytester, TWO, "specs/more.yaml")
    write(pytester, KNOWN.format("nett::params"), "known.yaml")
    pytester.makepyfile(test_it="def test_it(): pass")
    assert (UNMATCHED in collected(pytester, "--rv-deviations", "known.yaml", *arguments)) == judged


def test_where_the_deviations_are(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option is read from where the user is, the setting from the root."""
    pytester.makeini("[pytest]\nrv_check_deviations = known.yaml\n")
    write(pytester)
    write(pytester, KNOWN.format("root::params"), "known.yaml")
    write(pytester, KNOWN.format("here::params"), "deep/known.yaml")
    monkeypatch.chdir(pytester.path / "deep")
    assert collected(pytester, "../specs", "--rv-deviations", "known.yaml")[-1].endswith("known.yaml::here::params")
    assert collected(pytester, "../specs")[-1].endswith("known.yaml::root::params")


def test_a_deviation_that_matches_nothing_reads_like_a_finding(pytester: pytest.Pytester) -> None:
    """It has its file and line, also under xdist, where every worker finds it."""
    write(pytester)
    write(pytester, KNOWN.format("nett::params"), "known.yaml")
    for workers in ([], ["-n", "2"]):
        result = pytester.runpytest_subprocess("--rv-deviations", "known.yaml", "-k", "nett or depth", *workers)
        result.assert_outcomes(failed=1, passed=2, deselected=0 if workers else 10)
        result.stdout.fnmatch_lines(
            [
                "known.yaml:2:12: nett::deviations failed: the known deviation 'nett::params' matches no check",
                "      - check: nett::params",
                f"FAILED {UNMATCHED} - the known deviation 'nett::params' *",
            ]
        )


def test_a_deviation_is_not_judged_where_a_spec_cannot_be_read(pytester: pytest.Pytester) -> None:
    """The checks that it may speak of are not known: the file is the one failure. Nor where there is no spec at all."""
    write(pytester, KNOWN.format("bad::params"), "known.yaml")
    assert collected(pytester, "--rv-deviations", "known.yaml") == []
    write(pytester)
    assert collected(pytester, "--rv-deviations", "known.yaml")[-1] == "known.yaml::bad::params"
    write(pytester, TWO.replace("conv(width", "covn(width"), "specs/bad.yaml")
    found = collected(pytester, "--rv-deviations", "known.yaml")
    assert (found[0], len(found)) == ("specs/bad.yaml::spec", 1 + 12)


def test_error_a_deviation_without_a_reason(pytester: pytest.Pytester) -> None:
    """It is told at once, with its place."""
    write(pytester)
    write(pytester, "deviations:\n  - check: net::macs\n", "known.yaml")
    result = pytester.runpytest_inprocess("--rv-deviations", "known.yaml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: known.yaml:2:5: a deviation without a reason"])


# Candidates: the user's own modules

PROJECT = """\
[project]
name = "mine"

[tool.rv_check.candidates]
"nets.py:Net" = "tiny.yaml::net"
wide = {{ module = "nets.py:make", as = "tiny.yaml::net(classes=3)", kwargs = {{ classes = 3 }} }}
{more}
"""
NETS = f"""\
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.unit.tiny import Net, broken, broken_block

def make(classes): return Net(classes)

class Wrong(Net):
    def features(self, x):
        return super().features(x) * 2

class Trunk(Net):
    def __init__(self):
        super().__init__()
        del self.fc

    def forward(self, x):
        return self.features(x)

class Raising(Net):
    def features(self, x):
        raise ValueError("here")

trained = Net()
trained.fc.weight.data.fill_(7)
"""
OF_A_MODULE = ["structure", "trainable", "state_dict", "init", "logits", "eval", "train"]


def write_candidates(pytester: pytest.Pytester, more: str = "", nets: str = NETS) -> None:
    """A project with two candidates, and more of them."""
    write(pytester, ALONE, "tiny.yaml")
    write(pytester, nets, "nets.py")
    write(pytester, PROJECT.format(more=more), "pyproject.toml")


def of(name: str, *some: str) -> list[str]:
    """The ids of a candidate."""
    return [f"pyproject.toml::{name}::{check}" for check in some or OF_A_MODULE]


CANDIDATES = [*of("nets.py:Net"), *of("wide")]


def test_candidates_are_collected_with_the_project(pytester: pytest.Pytester) -> None:
    """Plain `pytest`, its folder and their file collect them; not where some files or folders alone are asked for."""
    write_candidates(pytester)
    pytester.makepyfile(test_it="def test_it(): pass")
    write(pytester, TWO, "specs/tiny.yaml")
    mine = [id_ for id_ in collected(pytester) if "pyproject" in id_]
    assert mine == CANDIDATES
    assert [id_ for id_ in collected(pytester, ".") if "pyproject" in id_] == CANDIDATES
    assert collected(pytester, "pyproject.toml") == CANDIDATES
    for some in (["test_it.py"], ["specs"], ["specs/tiny.yaml::net"], ["test_it.py::test_it"]):
        assert not [id_ for id_ in collected(pytester, *some) if "pyproject" in id_]


def test_candidates_are_chosen_like_any_test(pytester: pytest.Pytester) -> None:
    """They are chosen by `-k`, `-m`, level and id."""
    write_candidates(pytester)
    assert collected(pytester, "-k", "wide and logits") == of("wide", "logits")
    assert collected(pytester, "-m", "rv_check(check='init')") == [*of("nets.py:Net", "init"), *of("wide", "init")]
    assert collected(pytester, "--rv-level", "structure", "-k", "wide") == of("wide", "structure", "trainable")
    assert collected(pytester, "--rv-level", "spec") == []
    assert collected(pytester, "pyproject.toml::wide::eval") == of("wide", "eval")
    assert collected(pytester, "pyproject.toml::wide") == of("wide")


def test_a_project_without_candidates_has_none(pytester: pytest.Pytester) -> None:
    """A pyproject.toml without the table, or a broken one that is not about rv_check, is nobody's."""
    pytester.makepyfile(test_it="def test_it(): pass")
    for text in ("[project]\nname = 'x'\n", "[tool.rv_check]\n", "[tool.other]\nx = 1\n"):
        write(pytester, text, "pyproject.toml")
        assert collected(pytester) == ["test_it.py::test_it"]


def test_candidates_that_hold(pytester: pytest.Pytester) -> None:
    """They pass, a part of a network too, on many workers with the same ids; what was built before has no start."""
    write_candidates(pytester, 'back = { module = "nets.py:Trunk", as = "tiny.yaml::net", until = "layer1" }')
    result = pytester.runpytest_subprocess("-n", "2", "-v", "-W", "error::pytest.PytestWarning")
    result.assert_outcomes(passed=21)
    ran = re.findall(r"^\[gw\d\].* PASSED (\S+)", result.stdout.str(), re.MULTILINE)
    assert sorted(ran) == sorted([*CANDIDATES, *of("back")])


def test_a_candidate_that_was_built_before_has_no_start(pytester: pytest.Pytester) -> None:
    """A module in the file may be trained: how it starts is not asked."""
    write_candidates(pytester, 'old = { module = "nets.py:trained", as = "tiny.yaml::net" }')
    result = pytester.runpytest_inprocess("-k", "old")
    assert result.parseoutcomes().get("failed", 0) == 0


def test_a_candidate_that_fails(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The difference is one failure, the numbers are blocked; in GitHub Actions it is at the module's own line."""
    write_candidates(pytester, 'bad = { module = "nets.py:Wrong", as = "tiny.yaml::net" }')
    result = pytester.runpytest_inprocess("-k", "bad", "-rsf")
    result.assert_outcomes(failed=1, passed=1, skipped=5, deselected=14)
    result.stdout.fnmatch_lines(
        ["*blocked by the structure: see *::structure", "FAILED pyproject.toml::bad::structure - extra scale*"]
    )
    line = NETS.splitlines().index("        return super().features(x) * 2") + 1
    assert f"nets.py:{line}" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = pytester.runpytest_inprocess("-k", "bad")
    (shown,) = [text for text in result.outlines if text.startswith("::error ")]
    assert re.match(rf"::error file=(\S*/)?nets\.py,line={line},title=", shown), shown


def test_annotations_of_specs(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """In GitHub Actions a failed check of a spec is an error at its line; a failed test of the user's is not ours."""
    write(pytester, TWO.replace("params: 1_150", "params: 1_151"))
    pytester.makepyfile(test_it="def test_it(): assert 0")
    result = pytester.runpytest_inprocess("--rv-level", "spec")
    assert not [line for line in result.outlines if line.startswith("::")]
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = pytester.runpytest_inprocess("--rv-level", "spec")
    (line,) = [line for line in result.outlines if line.startswith("::")]
    assert line.startswith("::error file=specs/tiny.yaml,line=32,title=")
    assert line.endswith("::params 1_151 is wrong: found 1,150, expected 1_151")


LOST: list[tuple[str, str, str]] = [
    ("a module that raises", 'module = "nets.py:Raising"', "does not run at 3 32 32: ValueError: here"),
    ("one that is not built", 'module = "nets.py:make"', "missing a required argument: 'classes'"),
    ("no such name", 'module = "nets.py:Nett"', "nets.py has no 'Nett'"),
    ("no such file", 'module = "none.py:Net"', "none.py cannot be imported: there is no such file"),
]


@pytest.mark.parametrize(("entry", "words"), [row[1:] for row in LOST], ids=[row[0] for row in LOST])
def test_a_candidate_that_cannot_be_run_fails(entry: str, words: str, pytester: pytest.Pytester) -> None:
    """That is one failure with the reason, which blocks its other checks; the other candidates are checked."""
    write_candidates(pytester, f'lost = {{ {entry}, as = "tiny.yaml::net" }}')
    result = pytester.runpytest_inprocess("-k", "lost or (wide and structure)")
    result.assert_outcomes(failed=1, passed=1, skipped=6, deselected=13)
    assert words in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


BAD_TABLES: list[tuple[str, str, str]] = [
    ("no table", 'x = "', "this is no TOML: "),
    ("no arch", 'x = { module = "nets.py:Net" }', "candidate 'x' does not say what it should be"),
    ("another key", 'x = { module = "nets.py:Net", as = "resnet18", kwarg = {} }', "has no key 'kwarg'"),
    ("a number", "x = 3", "candidate 'x' is a int"),
    ("no module", 'x = "resnet18"', "the module of candidate 'x' is 'x'"),
    (
        "an arch for a module",
        'x = { module = "resnet18", as = "resnet18" }',
        "the module of candidate 'x' is 'resnet18'",
    ),
    ("kwargs of another kind", 'x = { module = "nets.py:Net", as = "resnet18", kwargs = 3 }', "kwargs or until of"),
]


@pytest.mark.parametrize(("line", "words"), [row[1:] for row in BAD_TABLES], ids=[row[0] for row in BAD_TABLES])
def test_a_table_that_is_wrong_is_one_failure(line: str, words: str, pytester: pytest.Pytester) -> None:
    """The failure has its line of the pyproject.toml; the other tests are run."""
    write_candidates(pytester, line)
    pytester.makepyfile(test_it="def test_it(): pass")
    result = pytester.runpytest_inprocess()
    if line == 'x = "':  # pytest itself reads the file, and says so
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        return
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines([f"*pyproject.toml:7:*{words}*", "FAILED pyproject.toml::candidates - *"])


@pytest.mark.parametrize("arch", ["resnet5", "tiny.yaml::nett", "none.yaml::net", "resnet18(clases=3)"])
def test_a_candidate_of_no_arch_is_one_failure(arch: str, pytester: pytest.Pytester) -> None:
    """The failure has the line that asks for it; the other candidates are checked."""
    write_candidates(pytester, f'x = {{ module = "nets.py:Net", as = "{arch}" }}')
    result = pytester.runpytest_inprocess("-k", "x or (wide and structure)")
    result.assert_outcomes(failed=1, passed=1, deselected=13)
    result.stdout.fnmatch_lines(["FAILED pyproject.toml::x::arch - *"])


def test_a_known_deviation_of_a_candidate(pytester: pytest.Pytester) -> None:
    """It is called by the candidate's name."""
    write_candidates(pytester, 'bad = { module = "nets.py:Wrong", as = "tiny.yaml::net" }')
    write(pytester, KNOWN.format("bad::structure"), "known.yaml")
    result = pytester.runpytest_inprocess("-k", "bad and structure", "--rv-deviations", "known.yaml")
    result.assert_outcomes(xfailed=1, deselected=20)


def test_collecting_candidates_does_not_import_torch(pytester: pytest.Pytester) -> None:
    """It imports neither torch nor the user's module, which may take its time."""
    write_candidates(pytester, nets="import sys; sys.exit('imported')\n")
    assert "torch" not in started(pytester, "--collect-only")


# Reports


def test_header(pytester: pytest.Pytester) -> None:
    """The versions that results depend on, and the device."""
    result = pytester.runpytest_inprocess("--rv-device", "cuda:3")
    (line,) = [line for line in result.outlines if line.startswith("rv-check: ")]
    assert re.fullmatch(
        r"rv-check: rv-check [\w. ]+, torch [\d.]+\S*, torchvision \S+, fvcore \S+, device cuda:3", line
    )


def test_junit(pytester: pytest.Pytester) -> None:
    """File and line of the arch as attributes (xunit1), those of the finding and the difference as properties."""
    write(pytester, TWO.replace("params: 1_150", "params: 1_151").replace("macs: 57_344", "macs: 57_345"))
    for family in ("xunit1", "xunit2"):
        arguments = ("--junitxml", "out.xml", "-o", f"junit_family={family}", "--rv-level", "spec", "--rv-arch", "net")
        pytester.runpytest_inprocess(*arguments)
        cases = {case.get("name"): case for case in ElementTree.parse(pytester.path / "out.xml").iter("testcase")}
        assert set(cases) == set(STATIC)
        case = cases["params"]
        assert case.get("classname") == "specs.tiny.yaml.net"
        assert case.get("file") == ("specs/tiny.yaml" if family == "xunit1" else None)
        assert case.get("line") == ("22" if family == "xunit1" else None)  # pytest counts lines from 0 here
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        assert properties == {"file": "specs/tiny.yaml", "line": "32"}
        contract = {p.get("name"): p.get("value") for p in cases["contract"].iter("property")}
        assert contract["line"] == "29"  # the line of what failed, behind two lines that hold
        failure = case.find("failure")
        assert failure is not None
        assert failure.get("message") == "params 1_151 is wrong: found 1,150, expected 1_151"
        assert "expected: 1_151" in (failure.text or "")


# Where the plugin comes from


def test_it_is_not_registered_twice(pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the package installed its entry point loads the plugin, and the conftest.py of the source does not."""
    info = tmp_path / "site" / "rv_check-9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rv-check\nVersion: 9.9\n")
    (info / "entry_points.txt").write_text("[pytest11]\nrv_check = rv_check.pytest_plugin.hooks\n")
    monkeypatch.setenv("PYTHONPATH", f"{info.parent}{os.pathsep}{ROOT}")
    write(pytester)
    for conftest in (CONFTEST, ""):
        pytester.makeconftest(conftest)
        result = pytester.runpytest_subprocess("--rv-level", "spec", "--trace-config")
        result.assert_outcomes(passed=8)
        module = (
            f"PLUGIN registered: <module 'rv_check.pytest_plugin.hooks' from '{ROOT}/rv_check/pytest_plugin/hooks.py'>"
        )
        registered = [line for line in result.outlines if line == module]
        assert len(registered) == 1, registered
        result.stdout.fnmatch_lines(["rv-check: rv-check 9.9, *"])


def test_without_the_conftest_and_the_package_nothing_is_collected(pytester: pytest.Pytester) -> None:
    """The tests above can fail: it is the conftest.py that makes the plugin known here."""
    if any(e.value == "rv_check.pytest_plugin.hooks" for e in entry_points(group="pytest11")):
        pytest.skip("rv-check is installed here")
    write(pytester)
    pytester.makeconftest("")
    pytester.runpytest_subprocess().assert_outcomes()


def test_location() -> None:
    """A problem of a whole file is at its first line: neither pytest nor JUnit knows a line 0."""
    document = Document(Path("specs/x.yaml"), ())
    assert pytest_plugin_shown.location(Place(document, 7, 3))[1] == 7
    assert pytest_plugin_shown.location(Place(document, 0, 0))[1] == 1


def test_levels_are_those_of_the_findings() -> None:
    """The options know the levels without importing them."""
    assert hooks.LEVELS == LEVELS
    assert hooks.PAGES == SUFFIXES
    assert hooks.COMMENT.match(BEGIN.encode())


START = """\
import sys
import pytest

class Spy:
    def pytest_unconfigure(self):
        heavy = {"torch", "torchvision", "fvcore", "yaml", "numpy"} & set(sys.modules)
        print("imported:", sorted(heavy | {m for m in sys.modules if m.startswith("rv_check.")}))

sys.exit(pytest.main(sys.argv[1:], plugins=[Spy()]))
"""


def started(pytester: pytest.Pytester, *arguments: str) -> str:
    """What a run of pytest has imported of ours and of torch's world."""
    command = [sys.executable, "-c", START, "-q", "-p", "no:cacheprovider", "-p", "no:benchmark", *arguments]
    done = subprocess.run(command, cwd=pytester.path, capture_output=True, text=True, check=False)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("imported: ")]
    return line


def test_starting_costs_nothing(pytester: pytest.Pytester) -> None:
    """Without spec files nothing is imported but the plugin, whatever YAML there is."""
    pytester.makepyfile(test_it="def test_it(): pass")
    write(pytester, "on: push\n", "specs/ci.yaml")
    found = ast.literal_eval(started(pytester).removeprefix("imported: "))
    assert [name for name in found if not name.startswith("rv_check.pytest_plugin")] == []
    assert "rv_check.pytest_plugin.hooks" in found


def test_collecting_and_static_checks_do_not_import_torch(pytester: pytest.Pytester) -> None:
    """Specs are collected, and checked up to level spec, without it; the numbers do import it."""
    write(pytester)
    assert "torch" not in started(pytester, "--collect-only")
    assert "torch" not in started(pytester, "--rv-level", "spec")
    assert "'torch'" in started(pytester, "-k", "counters")


# Blocks: the user's own residual blocks

BLOCKS = """\
[tool.rv_check.blocks]
"blocks.py:BasicBlock" = "basic"
wrong = { class = "blocks.py:ReluBeforeTheSum", as = "residual_block", in = "8 6 6", seed = 1 }
"""
OF_BASIC = ["structure", *(name for name in PROPERTIES if name != "compile")]


def write_blocks(pytester: pytest.Pytester, more: str = "") -> None:
    """A project with a right block and a wrong one."""
    pytest.importorskip("hypothesis")
    path = str(ROOT)
    names = "BasicBlock, DetachesTheBranch, ReluBeforeTheSum"
    text = f"import sys\nsys.path.insert(0, {path!r})\nfrom tests.unit.wrong_blocks import {names}\n"
    write(pytester, text, "blocks.py")
    write(pytester, BLOCKS + more, "pyproject.toml")


def test_blocks_are_an_item_for_each_property(pytester: pytest.Pytester) -> None:
    """There is one more for the structure where the contract has a body; they are chosen by level and by name."""
    write_blocks(pytester)
    assert collected(pytester) == [
        *of("blocks.py:BasicBlock", *OF_BASIC), *of("wrong", *(name for name in OF_BASIC if name != "structure"))
    ]  # fmt: skip
    few = collected(pytester, "--rv-level", "structure", "-k", "BasicBlock")
    assert few == of("blocks.py:BasicBlock", "structure", "shape", "illegal", "cost", "shortcut", "device")
    assert collected(pytester, "--rv-level", "spec") == []


def test_blocks_hold_or_do_not(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is wrong is told at the line of the table, with the case and the command to ask again."""
    more = 'detached = { class = "blocks.py:DetachesTheBranch", as = "basic" }'
    write_blocks(pytester, more)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    result = pytester.runpytest_inprocess("-k", "(BasicBlock and (shape or residual)) or (detached and gradients)")
    assert result.parseoutcomes() == {"passed": 2, "failed": 1, "deselected": 62}
    result.stdout.fnmatch_lines(
        ["*case: *", "*again: rv-check block blocks.py:DetachesTheBranch --as basic --property*"]
    )
    result.stdout.fnmatch_lines(["::error file=pyproject.toml,line=4,*"])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x = 3", "block 'x' is a int"),
        ('x = { class = "blocks.py:BasicBlock" }', "does not say what it should be"),
        ('x = { class = "blocks.py:BasicBlock", as = "basic", inn = "1 2 3" }', "has no key 'inn'"),
        ('x = { class = "blocks.py:BasicBlock", as = "basic", seed = "1" }', "seed of block 'x' is a str"),
        ('x = "basic"', "the class of block 'x' is 'x'"),
    ],
)
def test_a_wrong_line_of_blocks(line: str, words: str, pytester: pytest.Pytester) -> None:
    """One failure, at the line."""
    write_blocks(pytester, line)
    result = pytester.runpytest_inprocess("-k", "blocks and not BasicBlock")
    result.stdout.fnmatch_lines([f"*pyproject.toml:4:*{words}*"])


def test_a_block_that_is_not_there(pytester: pytest.Pytester) -> None:
    """An unknown contract is one failure; an unknown class is one, and blocks the rest."""
    write_blocks(pytester, 'x = { class = "blocks.py:BasicBlock", as = "basik" }')
    result = pytester.runpytest_inprocess("-k", "contract")
    result.stdout.fnmatch_lines(["*unknown block 'basik'*", "*did you mean: basic*"])
    write_blocks(pytester, 'x = { class = "blocks.py:BasicBlok", as = "basic" }')
    result = pytester.runpytest_inprocess("pyproject.toml::x")
    assert result.parseoutcomes() == {"failed": 1, "skipped": len(OF_BASIC) - 1}
    result.stdout.fnmatch_lines(["*did you mean: BasicBlock*"])


def test_a_known_deviation_of_a_block(pytester: pytest.Pytester) -> None:
    """It is expected to fail, with its reason."""
    write_blocks(pytester, 'detached = { class = "blocks.py:DetachesTheBranch", as = "basic" }')
    write(pytester, KNOWN.format("detached::gradients"), "known.yaml")
    result = pytester.runpytest_inprocess("--rv-deviations", "known.yaml", "pyproject.toml::detached::gradients")
    assert result.parseoutcomes() == {"xfailed": 1}
