"""Collects what is checked: families of specs, files of claims, and the modules and blocks of a `pyproject.toml`.

Each arch, module and block is a collector of its own, and an item for each of its checks.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from rv_check.pytest_plugin.items import BlockItem, CheckCollector, CheckItem, ClaimItem, UnreadableItem

if TYPE_CHECKING:
    from rv_check.archs.arch import Arch
    from rv_check.blocks.check import BlockCheck
    from rv_check.checks.check import Check, Run
    from rv_check.checks.findings import Finding, Level
    from rv_check.errors import Place
    from rv_check.pytest_plugin.pyproject import BlockEntry, Entry


class SpecFile(pytest.File):
    """A family file: a collector for each of its archs."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        from fnmatch import fnmatchcase

        from rv_check.archs.load import archs_of
        from rv_check.errors import SpecError
        from rv_check.language import library
        from rv_check.language.definitions import Family

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


class ArchCollector(CheckCollector):
    """An arch: an item for each check that makes a claim about it."""

    def __init__(self, *, arch: Arch, **kwargs: Any):
        super().__init__(**kwargs)
        self.arch = arch
        self._run: Run | None = None

    def collect(self) -> Iterator[pytest.Item]:
        from rv_check.checks.findings import up_to
        from rv_check.checks.registry import checks_of

        for check in checks_of(self.arch, up_to(self.config.getoption("--rv-level"))):
            yield CheckItem.from_parent(self, name=check.name, level=check.level, check=check)

    def run(self, check: str) -> Run:
        """What the checks of this arch share."""
        from rv_check.checks.of_arch import ArchRun

        if self._run is None:
            self._run = ArchRun(self.arch, self.config.getoption("--rv-device"))
        return self._run

    @property
    def place(self) -> Place:
        return self.arch.entry.place

    def ids(self, check: Check | None, name: str) -> list[str]:
        from rv_check.checks.of_arch import ids_of

        return ids_of(self.arch, check) if check is not None else super().ids(check, name)

    def again(self, check: str) -> str:
        return shlex.join(["rv-check", "check", f"{self.place.document.shown}::{self.name}"])

    def teardown(self) -> None:
        """The models go before those of the next arch come."""
        self._run = None


class ClaimsFile(pytest.File):
    """A file of claims, or a page: an item for each statement or number, unless only some archs are asked for."""

    def collect(self) -> Iterator[pytest.Item]:
        from collections import Counter

        from rv_check.claims.file import read_claims
        from rv_check.errors import SpecError

        if self.config.getoption("--rv-arch"):
            return
        try:
            found = read_claims(self.path)
        except SpecError as error:
            yield UnreadableItem.from_parent(self, name="claims", error=error)
            return
        often = Counter(claim.title for claims in found for claim in claims.claims)
        for claims in found:
            quantities = claims.quantities
            for claim in claims.claims:
                where = f" in line {claim.place.line}" if often[claim.title] > 1 else ""
                yield ClaimItem.from_parent(self, name=claim.title + where, claim=claim, quantities=quantities)


class CandidatesFile(pytest.File):
    """The tables `[tool.rv_check.candidates]` and `[tool.rv_check.blocks]`: a collector for each line of the user's."""

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        if b"rv_check" not in self.path.read_bytes():
            return
        from rv_check.errors import SpecError
        from rv_check.pytest_plugin.pyproject import load_blocks, load_candidates

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


class CandidateCollector(CheckCollector):
    """A module of the user's: an item for each check that is made of it."""

    def __init__(self, *, entry: Entry, **kwargs: Any):
        super().__init__(**kwargs)
        self.entry = entry
        self._run: Run | None = None
        self._failed = ""  # the check that met what keeps the module from being built or run

    def collect(self) -> Iterator[pytest.Item]:
        from rv_check.archs.load import load
        from rv_check.checks.of_module import checks_of_module
        from rv_check.errors import RvCheckError

        try:
            self.arch = load(self.entry.arch)
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
        from rv_check.checks.compared import observe
        from rv_check.checks.of_module import ModuleRun
        from rv_check.checks.shared import Blocked
        from rv_check.errors import CannotRun, RvCheckError
        from rv_check.modules.named import load_module
        from rv_check.optional import need

        if self._failed:
            raise Blocked(f"the module: see {self.name}::{self._failed}")
        if self._run is None:
            need("torch")
            from rv_check.modules.inputs import inputs_taken

            try:
                candidate = load_module(self.entry.module, self.entry.kwargs)
                self.fresh = candidate.fresh
                takes = inputs_taken(candidate.module, candidate.input(self.entry.input))
                arch, device = self.arch, self.config.getoption("--rv-device")
                run = ModuleRun.of(candidate.module, arch, device, self.entry.until, takes)
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
        parts += ["--input", entry.input] if entry.input else []
        parts += ["--until", entry.until] if entry.until else []
        return shlex.join(["rv-check", "check", *parts])

    def own_place(self, findings: list[Finding]) -> Place | None:
        return findings[0].call

    def teardown(self) -> None:
        """The models go before the next ones come."""
        self._run = None


class BlockCollector(CheckCollector):
    """A block of the user's: an item for each check of its contract, which is each property."""

    def __init__(self, *, entry: BlockEntry, **kwargs: Any):
        super().__init__(**kwargs)
        self.entry = entry
        self._run: BlockCheck | None = None
        self._failed = ""

    def collect(self) -> Iterator[pytest.Item]:
        from rv_check.blocks.check import STRUCTURE, checks_of_block
        from rv_check.blocks.contract import find_contract
        from rv_check.checks.findings import up_to
        from rv_check.errors import CannotRun, RvCheckError
        from rv_check.optional import need

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
            from rv_check.blocks.properties import by_name

            levels = {name: one.level for name, one in by_name().items()}
            names = checks_of_block(contract)
        for name in names:
            level = levels.get(name, "structure")
            if level in up_to(self.config.getoption("--rv-level")):
                yield BlockItem.from_parent(self, name=name, level=level)

    def run(self, check: str) -> BlockCheck:
        """The class, made ready. Raises: as the run of a module."""
        from rv_check.blocks.check import BlockCheck
        from rv_check.checks.shared import Blocked
        from rv_check.errors import CannotRun, RvCheckError
        from rv_check.modules.named import named_value

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
