"""What the tests run with: `constraints.txt` holds the versions still, `.ci/lowest.txt` the oldest that are allowed."""

from __future__ import annotations

import configparser
import json
import re
import runpy
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests import ROOT

AS_THE_MACHINE_GIVES = {"torch", "torchvision"}
OF_NO_TEST = {"mypy", "ruff", "types-pyyaml", "types-tabulate"}  # tools, as are those of the site


def tox_ini() -> configparser.ConfigParser:
    """The sections of tox.ini."""
    read = configparser.ConfigParser(interpolation=None)
    read.read(ROOT / "tox.ini")
    return read


def requirements() -> list[Requirement]:
    """What the environment `tests` is made of, as pyproject.toml and tox.ini ask for it."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project, site = pyproject["project"], pyproject["dependency-groups"]["docs"]
    tests = tox_ini()["testenv:tests"]
    assert tests["dependency_groups"] == "docs"
    extras = [text for name in tests["extras"].split(", ") for text in project["optional-dependencies"][name]]
    texts = (*project["dependencies"], *extras, *site, *tests["deps"].split("\n"))
    return [Requirement(text) for text in texts if text]


def pins(path: str) -> dict[str, str]:
    """The versions of a file of constraints by the name of the package, as pip compares them."""
    texts = (line.partition("#")[0].strip() for line in (ROOT / path).read_text().splitlines())
    found = [text.partition("==") for text in texts if text]
    assert all(equals for _, equals, _ in found)
    return {canonicalize_name(name): version for name, _, version in found}


def names() -> set[str]:
    """The packages that are asked for and have a version of their own."""
    return {canonicalize_name(one.name) for one in requirements()} - AS_THE_MACHINE_GIVES


def test_what_is_asked_for_is_held() -> None:
    """Each package of the environment has its version, one that is allowed; whoever adds one runs `tox -e renew`."""
    held = pins("constraints.txt")
    assert names() - set(held) == set()
    for one in requirements():
        version = held.get(canonicalize_name(one.name))
        assert version is None or version in one.specifier, one


def test_torch_comes_as_the_machine_gives_it() -> None:
    """Neither torch has its version there, nor what nothing but torch brings."""
    theirs = re.compile(r"torch|torchvision|triton|cuda-.*|nvidia-(?!ml-py).*|sympy|networkx|setuptools|pip|rv-check")
    assert [name for name in pins("constraints.txt") if theirs.fullmatch(name)] == []


def test_other_packages_are_held_too() -> None:
    """Those that single environments add, and tox itself."""
    others = {canonicalize_name(name) for line in tox_ini()["others"].values() for name in line.split()}
    assert len(others) > 15
    assert (others | {"tox", "virtualenv", "editables"}) - set(pins("constraints.txt")) == set()


def test_each_environment_is_held_but_the_newest() -> None:
    """Whatever installs a package in tox.ini gives the constraints; `latest` and what renews them give none."""
    read = tox_ini()
    free = {"testenv:latest", "testenv:.pkg-latest", "testenv:renew"}
    given = {name: read[name]["constraints"] for name in read.sections() if "constraints" in read[name]}
    assert {name for name in read.sections() if read[name].get("set_env") == ""} == free - {"testenv:.pkg-latest"}
    assert read["testenv"]["set_env"] == "PIP_BUILD_CONSTRAINT={tox_root}/.ci/build.txt"
    assert set(pins(".ci/build.txt")) == {"setuptools"}
    assert given == {
        "testenv": "constraints.txt",
        "pkgenv": "constraints.txt",
        "testenv:lowest": ".ci/lowest.txt",
        **dict.fromkeys(free, ""),
    }
    lines = [line for name in set(read.sections()) - free for line in read[name].get("commands", "").split("\n")]
    installing = [line for line in lines if "pip install" in line]
    assert len(installing) == 5
    assert [line for line in installing if "-c constraints.txt" not in line] == []


def test_the_lowest_versions_are_those_that_are_allowed() -> None:
    """Each `>=` of pyproject.toml and tox.ini is a `==` of the file."""
    lowest = pins(".ci/lowest.txt")
    site = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["docs"]
    left_out = AS_THE_MACHINE_GIVES | OF_NO_TEST | {Requirement(text).name for text in site}
    for one in requirements():
        name = canonicalize_name(one.name)
        if name in left_out:
            continue
        (bound,) = one.specifier
        assert bound.operator == ">="
        assert (name, Version(lowest[name])) == (name, Version(bound.version))


RENEW = runpy.run_path(str(ROOT / ".ci" / "renew.py"))
NEEDS = {
    "rv-check": ["torch", "fvcore", "tabulate"],
    "torch": ["sympy", "numpy", "setuptools", "cuda", "cuda[blas]"],
    "torchvision": ["torch", "pillow"],
    "sympy": ["mpmath"],
    "sympy[dev]": ["tabulate", "ruff"],
    "ruff": [],
    "cuda": [],
    "cuda[blas]": ["blas"],
    "blas": [],
    "mpmath": [],
    "numpy": [],
    "pillow": [],
    "setuptools": [],
    "fvcore": ["numpy", "torch", "gone"],
    "tabulate": [],
    "pip": [],
}


def test_what_only_torch_needs_is_not_held() -> None:
    """numpy is needed by fvcore as well; sympy, its mpmath, pillow and an extra of cuda come with torch alone."""
    held = {"fvcore", "numpy", "tabulate", "ruff"}
    assert RENEW["held"](NEEDS) == held
    assert RENEW["held"]({**NEEDS, "tabulate": ["sympy"]}) == held | {"sympy", "mpmath"}
    assert RENEW["held"]({**NEEDS, "tabulate": ["cuda[blas]"]}) == held | {"cuda", "blas"}


def test_a_version_is_held_without_what_a_machine_adds() -> None:
    """`2.4.6+mkl` is a build of 2.4.6."""
    versions = {"numpy": "2.4.6+mkl", "torch": "3.0+cu130"}
    assert RENEW["pins"](versions, {"numpy": [], "torch": []}) == {"numpy": "2.4.6"}


def test_renewing_wants_the_oldest_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions that go with a newer Python need not go with it; with the oldest they are written down."""
    names = RENEW["main"].__globals__
    monkeypatch.setattr(sys, "argv", ["renew.py"])
    monkeypatch.setitem(names, "ROOT", tmp_path)
    here = {"tox": "4.67", "packaging": "26.0", "setuptools": "84.2"}, {"tox": ["packaging"], "packaging": []}
    monkeypatch.setitem(names, "installed", lambda: here)
    (tmp_path / ".ci").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-python = ">=3.11"\n')
    answers: list[Any] = ["3.13", {"packaging": "26.4", "torch": "3.0"}, {"packaging": [], "torch": []}]

    def run(command: list[str], **_: object) -> None:
        assert command[:6] == ["tox", "exec", "-e", "latest", "--", "python"]
        Path(command[-1]).write_text(json.dumps(answers))

    monkeypatch.setattr(names["subprocess"], "run", run)
    with pytest.raises(SystemExit, match=r"`latest` has Python 3\.13\n  expected: 3\.11"):
        RENEW["main"]()
    answers[0] = "3.11"
    RENEW["main"]()
    assert (tmp_path / "constraints.txt").read_text() == RENEW["HEAD"] + "packaging==26.4\ntox==4.67\n"
    assert (tmp_path / ".ci" / "build.txt").read_text() == RENEW["BUILD_HEAD"] + "setuptools==84.2\n"
