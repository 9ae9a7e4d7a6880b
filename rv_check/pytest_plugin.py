"""The pytest plugin: spec files are collected as items, one per arch and check, files of claims one per statement.

`specs/resnet.yaml::resnet50::params`, `specs/claims/vgg.yaml::vgg16.depth = 16`. A file is taken when it begins with
`family:` or `claims:`, and either the ini option `rv_check_specs` fits it or the command line names it. Nothing of
rv_check is imported before such a file is met.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ReprEntryNative, ReprExceptionInfo, ReprFileLocation, ReprTraceback

if TYPE_CHECKING:
    from rv_check.arch import Arch
    from rv_check.blocks import BlockCheck
    from rv_check.candidates import BlockEntry, Entry
    from rv_check.checks import Check, Run
    from rv_check.claims import Claim, Facts
    from rv_check.deviations import Deviation
    from rv_check.errors import Place, RvCheckError
    from rv_check.findings import Finding, Level, Status

LEVELS = ("spec", "structure", "numbers")  # findings.LEVELS, which is not imported at start-up; a test holds them equal
SUFFIXES = (".yaml", ".yml")
SNIFFED_BYTES = 8192
KINDS = ("family", "claims")  # of files that are collected
DEFAULT = ["specs/*", "specs/claims/*"]
CANDIDATES = "pyproject.toml"  # may have a table [tool.rv_check.candidates]


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
    parser.addini(
        "rv_check_specs", "which files are specs: glob patterns, from the root", "args", ["specs/*", "specs/claims/*"]
    )
    parser.addini("rv_check_require", "as --rv-require", default="")
    parser.addini("rv_check_deviations", "as --rv-deviations, from the root", default="")


REQUIRED: pytest.StashKey[Level | None] = pytest.StashKey()
DEVIATIONS: pytest.StashKey[list[Deviation]] = pytest.StashKey()
SPEC_FILES: pytest.StashKey[dict[Path, str]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, so that whatever is wrong with them is said at once, and make the marker known."""
    config.addinivalue_line("markers", "rv_check(arch, check, level): a check of a spec, collected by rv-check")
    level = config.getoption("--rv-require") or config.getini("rv_check_require") or None
    if level is not None and level not in LEVELS:
        raise pytest.UsageError(f"rv_check_require is {level!r}, expected: {' or '.join(LEVELS)}")
    if any(Path(pattern).is_absolute() for pattern in config.getini("rv_check_specs")):
        raise pytest.UsageError("rv_check_specs takes patterns relative to the root, as in specs/*")
    config.stash[REQUIRED] = level
    config.stash[DEVIATIONS] = _read_deviations(config)


def _read_deviations(config: pytest.Config) -> list[Deviation]:
    given, setting = config.getoption("--rv-deviations"), config.getini("rv_check_deviations")
    if not given and not setting:
        return []
    from rv_check.deviations import load_deviations
    from rv_check.errors import SpecError

    try:
        return load_deviations(config.invocation_params.dir / given if given else config.rootpath / setting)
    except SpecError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_report_header(config: pytest.Config) -> str:
    """The versions that results depend on, without importing anything."""
    parts = []
    for name in ("rv-check", "torch", "torchvision", "fvcore"):
        try:
            parts.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            parts.append(f"{name} from source" if name == "rv-check" else f"no {name}")
    return f"rv-check: {', '.join(parts)}, device {config.getoption('--rv-device')}"


# Collecting


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.File | None:
    """Claim the file if it is a family of specs, or a `pyproject.toml` that the command line names."""
    if file_path.name == CANDIDATES and parent.session.isinitpath(file_path):
        return CandidatesFile.from_parent(parent, path=file_path)
    if file_path.suffix not in SUFFIXES:
        return None
    named = parent.session.isinitpath(file_path)
    kind = begins(file_path) if named else spec_files(parent.config).get(file_path)
    if kind == "claims":
        return ClaimsFile.from_parent(parent, path=file_path)
    return SpecFile.from_parent(parent, path=file_path) if kind else None


def spec_files(config: pytest.Config) -> dict[Path, str]:
    """The families and the files of claims that the ini option `rv_check_specs` fits, each with which it is."""
    if SPEC_FILES not in config.stash:
        found = (path for pattern in config.getini("rv_check_specs") for path in config.rootpath.glob(pattern))
        kinds = {path: begins(path) for path in found if path.suffix in SUFFIXES and path.is_file()}
        config.stash[SPEC_FILES] = {path: kind for path, kind in kinds.items() if kind}
    return config.stash[SPEC_FILES]


def begins(path: Path) -> str:
    """`family` or `claims` where a line begins with it, else nothing; a file that cannot be opened will say so."""
    try:
        with path.open("rb") as file:
            lines = file.read(SNIFFED_BYTES).removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError:
        return "family"
    return next((kind for kind in KINDS for line in lines if line.startswith(f"{kind}:".encode())), "")


class SpecFile(pytest.File):
    """A family file: a collector for each of its archs."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        from fnmatch import fnmatchcase

        from rv_check import library
        from rv_check.arch import archs_of
        from rv_check.errors import SpecError
        from rv_check.spec import Family

        try:
            family = library.load(self.path)
            assert isinstance(family, Family), "it begins one, and a file that is both is an error"
            found = archs_of(family)
        except SpecError as error:
            yield UnreadableItem.from_parent(self, name="spec", error=error)
            return
        patterns: list[str] = self.config.getoption("--rv-arch")
        for arch in found:
            if not patterns or any(fnmatchcase(arch.name, pattern) for pattern in patterns):
                yield ArchCollector.from_parent(self, name=arch.name, arch=arch)


class Checked(pytest.Collector):
    """What is checked, item by item: an arch, a module, a block."""

    fresh = True  # whether it was built for this, so that how it starts can be said

    @property
    def place(self) -> Place:
        """The line that asks for it."""
        raise NotImplementedError

    def run(self, check: str) -> Any:
        """What its checks share, of which `check` needs it now. Raises: RvCheckError; Blocked where that was said."""
        raise NotImplementedError

    def ids(self, check: Check | None, name: str) -> list[str]:
        """What a known deviation may call a check, beside the item's own id."""
        return [f"{self.name}::{name}"]

    def again(self, check: str) -> str:
        """The command that makes one check alone, outside pytest."""
        raise NotImplementedError

    def own_place(self, findings: list[Finding]) -> Place | None:
        """The line of the user's that is to blame, where it is not the one that the findings name."""
        return None


class ArchCollector(Checked):
    """An arch: an item for each check that makes a claim about it."""

    def __init__(self, *, arch: Arch, **kwargs: Any):
        super().__init__(**kwargs)
        self.arch = arch
        self._run: Run | None = None

    def collect(self) -> Iterator[pytest.Item]:
        from rv_check.checks import checks_of
        from rv_check.findings import up_to

        for check in checks_of(self.arch, up_to(self.config.getoption("--rv-level"))):
            yield CheckItem.from_parent(self, name=check.name, level=check.level, check=check)

    def run(self, check: str) -> Run:
        """What the checks of this arch share."""
        from rv_check.checks import Run

        if self._run is None:
            self._run = Run(self.arch, self.config.getoption("--rv-device"))
        return self._run

    @property
    def place(self) -> Place:
        return self.arch.entry.place

    def ids(self, check: Check | None, name: str) -> list[str]:
        from rv_check.checks import ids_of

        return ids_of(self.arch, check) if check is not None else super().ids(check, name)

    def again(self, check: str) -> str:
        return shlex.join(["rv-check", "check", f"{self.place.document.shown}::{self.name}"])

    def teardown(self) -> None:
        """The models go before those of the next arch come."""
        self._run = None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Candidates are checked whenever the whole project is. Where every check was collected, a known deviation that
    matches none is a failure of its own."""
    if _is_whole(config) and (config.rootpath / CANDIDATES).is_file():
        file: CandidatesFile = CandidatesFile.from_parent(session, path=config.rootpath / CANDIDATES)
        items += session.genitems(file)
    deviations = config.stash[DEVIATIONS]
    narrowed = config.getoption("--rv-arch") or config.getoption("--rv-level") or any("::" in a for a in config.args)
    if not deviations or narrowed:
        return
    checks = [item for item in items if isinstance(item, CheckItem)]
    families = {path for path, kind in spec_files(config).items() if kind == "family"}
    if not checks or not families <= {item.path for item in checks}:
        return
    ids = [id_ for item in checks for id_ in item.ids]
    for deviation in deviations:
        if not deviation.matches(ids):
            name = f"{deviation.place.document.shown}::{deviation.pattern}"
            items.append(DeviationItem.from_parent(session, name=name, nodeid=name, deviation=deviation))


class ClaimsFile(pytest.File):
    """A file of claims: an item for each statement, unless only some archs are asked for."""

    def collect(self) -> Iterator[pytest.Item]:
        from collections import Counter

        from rv_check.claims import load_claims
        from rv_check.errors import SpecError

        if self.config.getoption("--rv-arch"):
            return
        try:
            claims = load_claims(self.path)
        except SpecError as error:
            yield UnreadableItem.from_parent(self, name="claims", error=error)
            return
        facts, often = claims.facts, Counter(claim.title for claim in claims.claims)
        for claim in claims.claims:
            where = f" in line {claim.place.line}" if often[claim.title] > 1 else ""
            yield ClaimItem.from_parent(self, name=claim.title + where, claim=claim, facts=facts)


class ClaimItem(pytest.Item):
    """One statement: its verdict is the one that it should get."""

    def __init__(self, *, claim: Claim, facts: Facts, **kwargs: Any):
        super().__init__(**kwargs)
        self.claim, self.facts = claim, facts
        self.add_marker(pytest.mark.rv_check(arch=self.path.stem, check="claim", level="spec"))

    def runtest(self) -> None:
        from rv_check.claims import judge
        from rv_check.deviations import settle
        from rv_check.findings import up_to

        level = self.config.stash[REQUIRED]
        finding = judge(self.claim, self.facts).finding(self.path.stem)
        conclude(settle([finding], up_to(level) if level else (), None))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.claim.place.line - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from rv_check.errors import SpecError

        if isinstance(excinfo.value, DoesNotHold):
            return findings_repr(excinfo.value.findings, None, f"again: rv-check claims {shlex.quote(str(self.path))}")
        if isinstance(excinfo.value, SpecError):
            first = excinfo.value.problems[0]
            return plain_repr(str(excinfo.value), first.place, first.message)
        return super().repr_failure(excinfo, style)


def _is_whole(config: pytest.Config) -> bool:
    """Whether pytest was asked for all of a project, not for some of its files."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return True
    return any(Path(config.invocation_params.dir, argument).resolve() == config.rootpath for argument in config.args)


class CandidatesFile(pytest.File):
    """The tables `[tool.rv_check.candidates]` and `[tool.rv_check.blocks]`: a collector for each line of the user's."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        if b"rv_check" not in self.path.read_bytes():
            return
        from rv_check.candidates import load_blocks, load_candidates
        from rv_check.errors import SpecError

        try:
            for entry in load_candidates(self.path):
                yield CandidateCollector.from_parent(self, name=entry.name, entry=entry)
        except SpecError as error:
            yield UnreadableItem.from_parent(self, name="candidates", error=error)
        try:
            for block in load_blocks(self.path):
                yield BlockCollector.from_parent(self, name=block.name, entry=block)
        except SpecError as error:
            yield UnreadableItem.from_parent(self, name="blocks", error=error)


class CandidateCollector(Checked):
    """A module of the user's: an item for each check that is made of it."""

    def __init__(self, *, entry: Entry, **kwargs: Any):
        super().__init__(**kwargs)
        self.entry = entry
        self._run: Run | None = None
        self._failed = ""  # the check that met what keeps the module from being built or run

    def collect(self) -> Iterator[pytest.Item]:
        from rv_check import arch
        from rv_check.conformance import checks_of_module
        from rv_check.errors import RvCheckError

        try:
            self.arch = arch.load(self.entry.arch)
            _ = self.arch.tree
        except RvCheckError as error:
            told = error.said_of(self.entry.name)
            yield UnreadableItem.from_parent(self, name="arch", error=told, line=self.entry.place)
            return
        for check in checks_of_module(self.config.getoption("--rv-level"), fresh=True):
            yield CheckItem.from_parent(self, name=check.name, level=check.level, check=check)

    def run(self, check: str) -> Run:
        """What the checks of this module share.

        Raises: RvCheckError where it cannot be built or run, once; Blocked for every check after that.
        """
        from rv_check.candidates import load_module
        from rv_check.checks import Blocked
        from rv_check.conformance import ModuleRun, observe
        from rv_check.errors import CannotRun, RvCheckError
        from rv_check.reference import need

        if self._failed:
            raise Blocked(f"the module: see {self.name}::{self._failed}")
        if self._run is None:
            need("torch")
            try:
                module, self.fresh = load_module(self.entry.module, self.entry.kwargs)
                run = ModuleRun(module, self.arch, self.config.getoption("--rv-device"), self.entry.until)
                observe(run)
            except CannotRun:
                raise
            except RvCheckError:
                self._failed = check
                raise
            self._run = run
        return self._run

    @property
    def place(self) -> Place:
        return self.entry.place

    def again(self, check: str) -> str:
        entry = self.entry
        parts = [entry.module, "--as", entry.arch]
        parts += ["--kwargs", json.dumps(entry.kwargs)] if entry.kwargs else []
        parts += ["--until", entry.until] if entry.until else []
        return shlex.join(["rv-check", "check", *parts])

    def own_place(self, findings: list[Finding]) -> Place | None:
        return findings[0].call

    def teardown(self) -> None:
        """The models go before the next ones come."""
        self._run = None


class BlockCollector(Checked):
    """A block of the user's: an item for each check of its contract, which is each property."""

    def __init__(self, *, entry: BlockEntry, **kwargs: Any):
        super().__init__(**kwargs)
        self.entry = entry
        self._run: BlockCheck | None = None
        self._failed = ""

    def collect(self) -> Iterator[pytest.Item]:
        from rv_check.blocks import STRUCTURE, checks_of_block, find_contract
        from rv_check.errors import CannotRun, RvCheckError
        from rv_check.findings import up_to
        from rv_check.reference import need

        try:
            contract = find_contract(self.entry.contract)
        except RvCheckError as error:
            told = error.said_of(self.entry.name)
            yield UnreadableItem.from_parent(self, name="contract", error=told, line=self.entry.place)
            return
        try:
            need("torch")
        except CannotRun:  # each property is about a module that runs
            levels: dict[str, Level] = {}
            names = [*([STRUCTURE] if contract.has_body else []), *contract.block.properties] or ["block"]
        else:
            from rv_check.properties import by_name

            levels = {name: one.level for name, one in by_name().items()}
            names = checks_of_block(contract)
        for name in names:
            level = levels.get(name, "structure")
            if level in up_to(self.config.getoption("--rv-level")):
                yield BlockItem.from_parent(self, name=name, level=level)

    def run(self, check: str) -> BlockCheck:
        """The class, made ready. Raises: as the run of a module."""
        from rv_check.blocks import BlockCheck
        from rv_check.candidates import named_value
        from rv_check.checks import Blocked
        from rv_check.errors import CannotRun, RvCheckError

        if self._failed:
            raise Blocked(f"the class: see {self.name}::{self._failed}")
        if self._run is None:
            entry = self.entry
            try:
                cls = named_value(entry.cls, "class")
                self._run = BlockCheck(
                    cls, entry.contract, entry.call, entry.input, kwargs=entry.kwargs, seed=entry.seed, name=entry.name
                )
            except CannotRun:
                raise
            except RvCheckError:
                self._failed = check
                raise
        return self._run

    @property
    def place(self) -> Place:
        return self.entry.place

    def own_place(self, findings: list[Finding]) -> Place | None:
        return self.entry.place

    def again(self, check: str) -> str:
        entry = self.entry
        parts = ["rv-check", "block", entry.cls, "--as", entry.contract]
        parts += ["--call", entry.call] if entry.call else []
        parts += ["--in", entry.input] if entry.input else []
        parts += ["--kwargs", json.dumps(entry.kwargs)] if entry.kwargs else []
        parts += ["--seed", str(entry.seed)] if entry.seed is not None else []
        return shlex.join([*parts, "--property", check])

    def teardown(self) -> None:
        """The modules go before the next ones come."""
        self._run = None


# Running


class CheckItem(pytest.Item):
    """One check of one arch, or of a module that should be one."""

    parent: Checked

    def __init__(self, *, level: Level, check: Check | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.check, self.level = check, level
        self.add_marker(pytest.mark.rv_check(arch=self.parent.name, check=self.name, level=level))

    @property
    def ids(self) -> list[str]:
        """What a known deviation may call it."""
        return [*self.parent.ids(self.check, self.name), self.nodeid]

    def runtest(self) -> None:
        from rv_check.checks import Blocked
        from rv_check.deviations import first_match, settle
        from rv_check.errors import CannotRun, RvCheckError
        from rv_check.findings import failures, up_to

        if self.level != "spec":
            share_cores(self.config)
        level, deviations = self.config.stash[REQUIRED], self.config.stash[DEVIATIONS]
        deviation = first_match(deviations, self.ids)
        try:
            run = self.parent.run(self.name)
        except Blocked as blocked:
            found = [self.finding("blocked", f"blocked by {blocked}")]
        except CannotRun as error:
            found = [self.finding("skipped", "could not run", reason=str(error))]
        except RvCheckError as error:
            found = failures(error, self.finding("failed", ""))
        else:
            found = self.unknown_start() or self.found(run)
        findings = settle(found, up_to(level) if level else (), deviation)
        self.record(findings)
        conclude(findings)

    def found(self, run: Any) -> list[Finding]:
        """What the check finds, `run` being what its collector shares."""
        from rv_check.checks import run_check

        assert self.check is not None
        return run_check(self.check, run)

    def unknown_start(self) -> list[Finding]:
        """How a module started that was built before is not known."""
        if self.name != "init" or self.parent.fresh:
            return []
        reason = "the module was built before; name a class or a factory instead"
        return [self.finding("skipped", "could not run", reason=reason)]

    def finding(self, status: Status, message: str, reason: str | None = None) -> Finding:
        """What became of a check that could not begin."""
        from rv_check.findings import Finding

        return Finding(self.parent.name, self.name, self.level, status, message, reason=reason, place=self.place)

    @property
    def place(self) -> Place:
        """The line that asks for it."""
        return self.parent.place

    def record(self, findings: list[Finding]) -> None:
        """For JUnit XML: the place of the contract, and the largest difference measured."""
        place = next((f.place for f in sorted(findings, key=lambda f: f.status != "failed") if f.place), None)
        if place is not None:
            path, line = location(place)
            self.user_properties += [("file", path), ("line", str(line))]
        measured = [f.difference for f in findings if f.difference is not None]
        if measured:
            self.user_properties.append(("difference", f"{max(measured):.3g}"))

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, self.place.line - 1, f"{self.parent.name} {self.name}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, DoesNotHold):
            findings = excinfo.value.findings
            return findings_repr(findings, self.parent.own_place(findings), f"again: {self.parent.again(self.name)}")
        return super().repr_failure(excinfo, style)


class BlockItem(CheckItem):
    """One check of a block of the user's."""

    def found(self, run: BlockCheck) -> list[Finding]:
        return run.findings(self.name)


class DoesNotHold(Exception):
    """Findings that failed, to be shown as findings and not as a traceback."""

    def __init__(self, findings: list[Finding]):
        super().__init__("; ".join(finding.title for finding in findings))
        self.findings = findings


def conclude(findings: list[Finding]) -> None:
    """Findings as pytest's outcome: one failure for all that failed, an expected failure for a known deviation."""
    failed = [f for f in findings if f.status == "failed"]
    if failed:
        raise DoesNotHold(failed)
    for finding in findings:
        if finding.deviation is not None:
            pytest.xfail(str(finding.reason))
    for finding in findings:
        if finding.status != "passed":
            raise pytest.skip.Exception(finding.title, _use_item_location=True)


def share_cores(config: pytest.Config) -> None:
    """No more torch threads in a worker of xdist than its share of the cores: else workers wait for one another."""
    workers: int = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1 and importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(min(torch.get_num_threads(), max(1, (os.cpu_count() or 1) // workers)))


class UnreadableItem(pytest.Item):
    """A spec file that cannot be read, or a line that names one: one failure, with every error in it."""

    def __init__(self, *, error: RvCheckError, line: Place | None = None, **kwargs: Any):
        from rv_check.errors import SpecError

        super().__init__(**kwargs)
        self.error = SpecError(problem.told_at(line) for problem in error.problems)
        self.line = line or self.error.place

    def runtest(self) -> None:
        raise self.error

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, location(self.line)[1] - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        first, *others = self.error.problems
        message = first.message + (f" (and {len(others)} more)" if others else "")
        return plain_repr(str(self.error), first.place, message)


class DeviationItem(pytest.Item):
    """A known deviation that matches no check."""

    def __init__(self, *, deviation: Deviation, **kwargs: Any):
        super().__init__(**kwargs)
        self.deviation = deviation

    def runtest(self) -> None:
        raise DoesNotHold([self.deviation.unmatched])

    def reportinfo(self) -> tuple[Path, int, str]:
        place = self.deviation.place
        return Path(place.document.shown), place.line - 1, self.name

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return findings_repr([self.deviation.unmatched])


# Showing


def location(place: Place | None) -> tuple[str, int]:
    """File and line; the first where the whole file is meant."""
    return (place.document.shown, max(place.line, 1)) if place else ("", 1)


def findings_repr(findings: list[Finding], place: Place | None = None, *more: str) -> ReprExceptionInfo:
    """Failed findings, as the command line shows them, at a place of the user's own where there is one."""
    lines = [*(line for finding in findings for line in finding.lines()), *more]
    return plain_repr("\n".join(lines), place or findings[0].place, findings[0].title)


def plain_repr(text: str, place: Place | None, message: str) -> ReprExceptionInfo:
    """Words instead of a traceback, and the place and message of pytest's summary; it survives the way to xdist."""
    traceback = ReprTraceback([ReprEntryNative([f"{text}\n"])], None, style="native")
    return ReprExceptionInfo(traceback, ReprFileLocation(*location(place), message))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """In a run of GitHub Actions each failed check is an annotation of its line."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for outcome in terminalreporter.stats.get("failed", ()):
        crash = getattr(outcome.longrepr, "reprcrash", None)
        if "rv_check" in outcome.keywords and isinstance(crash, ReprFileLocation):
            from rv_check.report import workflow_command

            terminalreporter.write_line(workflow_command(crash.path, crash.lineno, outcome.nodeid, crash.message))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One arch on one worker, so that its models are built once; every other test is spread as ever.

    A project without specs keeps xdist's own way.
    """
    named = any(argument.partition("::")[0].endswith(SUFFIXES) for argument in config.args)
    if config.getvalue("dist") != "load" or not (named or spec_files(config)):
        return None
    from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]

    class ArchScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file, _, rest = nodeid.partition("::")
            return nodeid.rpartition("::")[0] if rest and file.endswith(SUFFIXES) else nodeid

    return ArchScheduling(config, log)
