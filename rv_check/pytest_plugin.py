"""The pytest plugin: spec files are collected as items, one per arch and check.

`specs/resnet.yaml::resnet50::params`. A file is claimed when it matches the ini option `rv_check_specs` or is named on
the command line, and begins a family. Nothing of rv_check is imported before such a file is met.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ReprFileLocation, TerminalRepr

if TYPE_CHECKING:
    from _pytest._io import TerminalWriter

    from rv_check.arch import Arch
    from rv_check.checks import Check, Run
    from rv_check.deviations import Deviation
    from rv_check.findings import Finding, Level
    from rv_check.problems import SpecError

LEVELS = ("spec", "numbers")  # findings.LEVELS, which is not imported at start-up; a test holds them equal
SNIFFED_BYTES = 8192


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options and ini settings of the plugin."""
    group = parser.getgroup("rv-check", "rv-check: networks against their specs")
    group.addoption(
        "--rv-arch",
        action="append",
        default=[],
        metavar="PATTERN",
        help="check only the archs that match (may be repeated)",
    )
    group.addoption("--rv-level", choices=LEVELS, help="check up to this level of evidence; all unless given")
    group.addoption("--rv-device", default="cpu", metavar="DEVICE", help="where models run, as torch names it")
    group.addoption("--rv-require", choices=LEVELS, help="a check of this level or a lower one that is skipped fails")
    group.addoption("--rv-deviations", metavar="FILE", help="a file of known deviations")
    parser.addini("rv_check_specs", "which files are specs: patterns, from the root", type="args", default=["specs/*"])
    parser.addini("rv_check_require", "as --rv-require", default="")
    parser.addini("rv_check_deviations", "as --rv-deviations, from the root", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Make the plugin's marker known."""
    config.addinivalue_line("markers", "rv_check: a check of a spec (on every item that rv-check collects)")


def pytest_report_header(config: pytest.Config) -> str:
    """The versions that results depend on, without importing anything."""
    parts = []
    for name in ("rv-check", "torch", "torchvision", "fvcore"):
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            parts.append(f"{name} from source" if name == "rv-check" else f"no {name}")
    return f"rv-check: {', '.join(parts)}, device {config.getoption('--rv-device')}"


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> SpecFile | None:
    """Claim the file if it is a family of specs."""
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    patterns: list[str] = parent.config.getini("rv_check_specs")
    named = parent.session.isinitpath(file_path)
    if not named and not any(_below(file_path, parent.config.rootpath).match(pattern) for pattern in patterns):
        return None
    if not _begins_family(file_path):
        return None
    return SpecFile.from_parent(parent, path=file_path)  # type: ignore[no-any-return]


def _below(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _begins_family(path: Path) -> bool:
    with path.open("rb") as file:
        return any(line.lstrip(b"\xef\xbb\xbf").startswith(b"family:") for line in file.read(SNIFFED_BYTES).splitlines())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where everything was collected, a known deviation that matches no check is a failure of its own."""
    narrowed = config.args_source == pytest.Config.ArgsSource.ARGS or config.getoption("--rv-arch")
    deviations = deviations_of(config)
    if narrowed or config.getoption("--rv-level") or not deviations:
        return
    from rv_check.deviations import unmatched

    ids = [id_ for item in items if isinstance(item, CheckItem) for id_ in item.ids]
    for deviation in unmatched(deviations, ids):
        items.append(DeviationItem.from_parent(session, name=f"deviation[{deviation.pattern}]", deviation=deviation))


DEVIATIONS = pytest.StashKey["list[Deviation]"]()


def deviations_of(config: pytest.Config) -> list[Deviation]:
    """The known deviations, read once."""
    if DEVIATIONS not in config.stash:
        name = config.getoption("--rv-deviations")
        path = Path(name) if name else None
        if path is None and config.getini("rv_check_deviations"):
            path = config.rootpath / config.getini("rv_check_deviations")
        config.stash[DEVIATIONS] = []
        if path is not None:
            from rv_check.deviations import load_deviations
            from rv_check.problems import SpecError

            try:
                config.stash[DEVIATIONS] = load_deviations(path)
            except SpecError as error:
                raise pytest.UsageError(str(error)) from None
    return config.stash[DEVIATIONS]


class SpecFile(pytest.File):
    """A family file: a collector for each of its archs."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        from fnmatch import fnmatchcase

        from rv_check import library
        from rv_check.arch import archs_of
        from rv_check.problems import SpecError
        from rv_check.spec import Family

        try:
            family = library.load(self.path)
            assert isinstance(family, Family), "the file begins a family"
            found = archs_of(family)
        except SpecError as error:
            yield UnreadableItem.from_parent(self, name="spec", error=error)
            return
        patterns: list[str] = self.config.getoption("--rv-arch")
        for arch in found:
            if not patterns or any(fnmatchcase(arch.name, pattern) for pattern in patterns):
                yield ArchCollector.from_parent(self, name=arch.name, arch=arch)


class ArchCollector(pytest.Collector):
    """An arch: an item for each check that makes a claim about it."""

    def __init__(self, *, arch: Arch, **kwargs: Any):
        super().__init__(**kwargs)
        self.arch = arch
        self._run: Run | None = None

    def collect(self) -> Iterator[pytest.Item]:
        from rv_check.checks import checks_of, up_to

        for check in checks_of(self.arch, up_to(self.config.getoption("--rv-level"))):
            yield CheckItem.from_parent(self, name=check.name, check=check)

    def run(self) -> Run:
        """What the checks of this arch share."""
        from rv_check.checks import Run

        if self._run is None:
            self._run = Run(self.arch, self.config.getoption("--rv-device"))
        return self._run

    def teardown(self) -> None:
        """The models go before those of the next arch come."""
        self._run = None


class CheckItem(pytest.Item):
    """One check of one arch."""

    parent: ArchCollector

    def __init__(self, *, check: Check, **kwargs: Any):
        super().__init__(**kwargs)
        self.check = check
        self.add_marker(pytest.mark.rv_check)

    @property
    def ids(self) -> list[str]:
        """What a known deviation may call it."""
        return [f"{self.parent.name}::{self.name}", self.nodeid]

    def runtest(self) -> None:
        from rv_check.checks import run_check

        findings = run_check(self.check, self.parent.run())
        deviation = next((d for d in deviations_of(self.config) if d.matches(self.ids)), None)
        settle(self, findings, required_level(self.config), deviation)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.parent.arch.entry.place.line - 1, f"{self.parent.name} {self.name}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, DoesNotHold):
            return FindingsRepr(excinfo.value.findings)
        return super().repr_failure(excinfo, style)


def required_level(config: pytest.Config) -> Level | None:
    """The level at which a skip is a failure."""
    level = config.getoption("--rv-require") or config.getini("rv_check_require") or None
    if level is not None and level not in LEVELS:
        raise pytest.UsageError(f"rv_check_require is {level!r}, expected: {' or '.join(LEVELS)}")
    return level  # type: ignore[no-any-return]


class DoesNotHold(Exception):
    """Findings that failed, to be shown as findings and not as a traceback."""

    def __init__(self, findings: list[Finding]):
        super().__init__("; ".join(f.message.splitlines()[0] for f in findings))
        self.findings = findings


def settle(item: pytest.Item, findings: list[Finding], require: Level | None, deviation: Deviation | None) -> None:
    """Turn findings into pytest's outcome. A skip at a required level fails; a known deviation is an expected failure."""
    from rv_check.checks import up_to
    from rv_check.findings import required

    if require is not None:
        findings = [required(f, up_to(require)) for f in findings]
    failed = [f for f in findings if f.status == "failed"]
    blocked = [f for f in findings if f.status == "blocked"]
    skipped = [f for f in findings if f.status == "skipped"]
    place = next((f.place for f in [*failed, *findings] if f.place), None)
    if place is not None:
        item.user_properties.append(("file", place.document.shown))
        item.user_properties.append(("line", str(place.line)))
    measured = [f.difference for f in findings if f.difference is not None]
    if measured:
        item.user_properties.append(("difference", f"{max(measured):.3g}"))
    if failed and deviation is not None:
        pytest.xfail(deviation.why)
    if failed:
        raise DoesNotHold(failed)
    if blocked:
        pytest.skip(blocked[0].message)
    if skipped:
        pytest.skip(f"{skipped[0].message}: {skipped[0].reason}")
    if deviation is not None:
        from rv_check.deviations import apply

        raise DoesNotHold([f for f in apply(findings, [deviation]) if f.status == "failed"])


class UnreadableItem(pytest.Item):
    """A spec file that cannot be read: one failure, with every error in it."""

    def __init__(self, *, error: SpecError, **kwargs: Any):
        super().__init__(**kwargs)
        self.error = error

    def runtest(self) -> None:
        raise self.error

    def reportinfo(self) -> tuple[Path, int, str]:
        place = self.error.problems[0].place
        return self.path, max(place.line - 1, 0) if place else 0, "spec"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        place = self.error.problems[0].place
        path, line = (place.document.shown, place.line) if place else (str(self.path), 0)
        return PlainRepr([str(self.error)], path, line, self.error.problems[0].message)


class DeviationItem(pytest.Item):
    """A known deviation that matches no check."""

    def __init__(self, *, deviation: Deviation, **kwargs: Any):
        super().__init__(**kwargs)
        self.deviation = deviation

    def runtest(self) -> None:
        raise ValueError("matches no check")

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.deviation.place.document.path, self.deviation.place.line - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        place = self.deviation.place
        message = f"the known deviation {self.deviation.pattern!r} matches no check"
        return PlainRepr([message, *place.excerpt()], place.document.shown, place.line, message)


class PlainRepr(TerminalRepr):
    """Lines, and a location that terminals link and pytest's summary shows."""

    def __init__(self, lines: Iterable[str], path: str, line: int, message: str):
        self.lines = list(lines)
        self.reprcrash = ReprFileLocation(path, line, message)

    def toterminal(self, tw: TerminalWriter) -> None:
        for line in self.lines:
            tw.line(line)
        self.reprcrash.toterminal(tw)


class FindingsRepr(PlainRepr):
    """Failed findings, as the command line shows them."""

    def __init__(self, findings: list[Finding]):
        first = findings[0]
        path, line = (first.place.document.shown, first.place.line) if first.place else ("", 0)
        lines = [line for finding in findings for line in finding.lines()]
        message = first.message.splitlines()[0]
        if first.found is not None and first.expected is not None:
            message += f": found {first.found}, expected {first.expected}"
        super().__init__(lines, path, line, message)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One arch on one worker, so that its models are built once; every other test is spread as ever."""
    if config.getvalue("dist") != "load":
        return None
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class ArchScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file, _, rest = nodeid.partition("::")
            return nodeid.rpartition("::")[0] if rest and file.endswith((".yaml", ".yml")) else nodeid

    return ArchScheduling(config, log)
