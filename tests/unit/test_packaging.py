"""An installed wheel works from an empty directory, without torch and without the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_the_specs(wheel: Path) -> None:
    """Every shipped spec is in the wheel, and so are the type marker, the licence and the plugin's entry point."""
    names = zipfile.ZipFile(wheel).namelist()
    for path in (ROOT / "specs").rglob("*.yaml"):
        assert f"rv_check/specs/{path.relative_to(ROOT / 'specs').as_posix()}" in names
    assert "rv_check/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    (entry_points,) = [name for name in names if name.endswith("entry_points.txt")]
    assert "rv_check = rv_check.pytest_plugin.hooks" in zipfile.ZipFile(wheel).read(entry_points).decode()


def test_wheel_works_from_an_empty_directory(wheel: Path, tmp_path: Path) -> None:
    """`rv-check show resnet50`, from the unpacked wheel alone, reads the specs in it; variants are listed, too."""
    site, empty = tmp_path / "site", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(site)
    empty.mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); import rv_check.language.files as l;"
        f"assert str(l.shipped_folder()).startswith({str(site)!r}), l.shipped_folder();"
        "from rv_check.cli.main import main; sys.exit(main(['list']) or main(['show', 'resnet50', '--depth', '1']))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=empty, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "25,557,032" in done.stdout
    assert "  preact18" in done.stdout.splitlines()
