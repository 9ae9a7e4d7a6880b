"""The pytest plugin: spec files are collected as items, one per arch and check, files of claims one per statement.

`specs/resnet.yaml::resnet50::params`, `specs/claims/vgg.yaml::vgg16.depth = 16`. A file is taken when it begins with
`family:` or `claims:`, and either the ini option `rv_check_specs` fits it or the command line names it. A Markdown page
is taken when a line of it begins a comment of claims: `README.md::resnet50, params = 25.6M`. Nothing of rv_check but
the plugin is imported before such a file is met.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import ReprFileLocation

from rv_check.pytest_plugin.collect import CandidatesFile, ClaimsFile, SpecFile
from rv_check.pytest_plugin.items import DEVIATIONS, REQUIRED, CheckItem, DeviationItem

if TYPE_CHECKING:
    from rv_check.checks.deviations import Deviation

LEVELS = ("spec", "structure", "numbers")  # findings.LEVELS, which is not imported at start-up; a test holds them equal
SUFFIXES = (".yaml", ".yml")
PAGES = (".md", ".markdown")  # claims.markdown.SUFFIXES, likewise
COMMENT = re.compile(rb"^\s*<!--\s*rv-check\s+claims\b", re.M)
SNIFFED_BYTES = 8192
KINDS = ("family", "claims")  # kinds of files that are collected
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


SPEC_FILES: pytest.StashKey[dict[Path, str]] = pytest.StashKey()


def pytest_configure(config: pytest.Config) -> None:
    """Read the settings, so that whatever is wrong with them is said at once, and make the marker known.

    Raises: pytest.UsageError.
    """
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
    from rv_check.checks.deviations import load_deviations
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
    """Take the file if it is one of specs or of claims, or a `pyproject.toml` that the command line names."""
    if file_path.name == CANDIDATES and parent.session.isinitpath(file_path):
        return CandidatesFile.from_parent(parent, path=file_path)
    if file_path.suffix in PAGES:
        return ClaimsFile.from_parent(parent, path=file_path) if has_claims(file_path) else None
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


def has_claims(path: Path) -> bool:
    """Whether a line of a Markdown page begins a comment of claims."""
    try:
        return bool(COMMENT.search(path.read_bytes()))
    except OSError:
        return False


def begins(path: Path) -> str:
    """`family` or `claims` where a line begins with it, else nothing; a file that cannot be opened will say so."""
    try:
        with path.open("rb") as file:
            lines = file.read(SNIFFED_BYTES).removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError:
        return "family"
    return next((kind for kind in KINDS for line in lines if line.startswith(f"{kind}:".encode())), "")


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


def _is_whole(config: pytest.Config) -> bool:
    """Whether pytest was asked for all of a project, not for some of its files."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return True
    return any(Path(config.invocation_params.dir, argument).resolve() == config.rootpath for argument in config.args)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """In a run of GitHub Actions each failed check is an annotation of its line."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    for outcome in terminalreporter.stats.get("failed", ()):
        crash = getattr(outcome.longrepr, "reprcrash", None)
        if "rv_check" in outcome.keywords and isinstance(crash, ReprFileLocation):
            from rv_check.report.github import workflow_command

            terminalreporter.write_line(workflow_command(crash.path, crash.lineno, outcome.nodeid, crash.message))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One arch on one worker, so that its models are built once, and one page; every other test is spread as ever.

    A project without specs keeps xdist's own way.
    """
    named = any(argument.partition("::")[0].endswith((*SUFFIXES, *PAGES)) for argument in config.args)
    if config.getvalue("dist") != "load" or not (named or spec_files(config)):
        return None
    from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]

    class ArchScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file, _, rest = nodeid.partition("::")
            if rest and file.endswith(PAGES):
                return str(file)
            return nodeid.rpartition("::")[0] if rest and file.endswith(SUFFIXES) else nodeid

    return ArchScheduling(config, log)
