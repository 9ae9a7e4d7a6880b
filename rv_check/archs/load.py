"""An arch by name: `resnet50`, `resnet50(classes=10)`, `path/to/file.yaml::arch`; and all archs that there are."""

from __future__ import annotations

import functools
from pathlib import Path

from rv_check.archs.arch import Arch
from rv_check.archs.arguments import bind, definition_scope
from rv_check.archs.trail import Budget
from rv_check.errors import Document, Place, Problem, RvCheckError, SpecError, once_per_place, spec_error, unknown
from rv_check.language import files as spec_files
from rv_check.language import library
from rv_check.language.definitions import ArchEntry, Block, Family
from rv_check.language.expressions import Call, check_keyword, parse_call
from rv_check.language.notations import parse_input
from rv_check.language.yaml_nodes import Text
from rv_check.ops.op import Shape
from rv_check.text import listed, nearest, quote, quote_plain, shown_path
from rv_check.values import Value


def load(name: str, input: str | None = None) -> Arch:
    """The arch of that name: `resnet50`, `resnet50(classes=10)`, or `path/to/file.yaml::arch`.

    Args: `input` an input size other than the declared one, as `3 320 320`.
    Raises: RvCheckError for an unknown name, SpecError for a bad spec or an argument that does not fit.
    """
    path, _, asked = name.rpartition("::")
    if not path and asked.endswith(spec_files.SUFFIXES):
        known = listed(_family(Path(asked)).archs)
        raise RvCheckError(f"{quote(asked)} is a file", expected=f"{quote_plain(asked)}::ARCH, one of {known}")
    call = parse_call(_typed(asked), "an arch", "the name of an arch, as in resnet50 or resnet50(classes=10)")
    if path:
        family = _family(Path(path))
        if call.name not in family.archs:
            message, near = f"{shown_path(Path(path))} has no arch {quote(call.name)}", nearest(call.name, family.archs)
            raise RvCheckError(message, expected=listed(family.archs), near=near)
    else:
        family = _shipped_family(call.name)
    entry = family.archs[call.name]
    size = parse_size(input) if input is not None else entry.input or family.input
    return Arch(family, entry, _build_arguments(family, entry), _overrides(family, call), size)


def parse_size(text: str, *, of_module: bool = False) -> Shape:
    """An input size as somebody typed it, `3 320 320`. `of_module`: it may have any axes. Raises: SpecError."""
    return parse_input(_typed(text), of_module=of_module)


def _typed(text: str) -> Text:
    """A text that somebody typed, and that stands in no file."""
    return Text(text, Place(Document(Path("argument"), (text,), is_file=False), 1, 1))


def archs() -> list[Arch]:
    """Every standard arch, in the order of the files; the same ones as long as these stay. Raises: SpecError."""
    return list(_archs_of_versions(spec_files.shipped_folder(), _versions()))


def all_archs() -> list[Arch]:
    """Every arch that has a short name, the standard ones first, then the variants. Raises: SpecError."""
    folder = spec_files.shipped_folder()
    return [*archs(), *_archs_of_versions(folder / spec_files.VARIANTS, _versions())]


def _versions() -> tuple[tuple[Path, int, int], ...]:
    """Every file that a shipped arch may be made of, with its version."""
    shipped = spec_files.shipped_folder()
    folders = shipped, shipped / spec_files.VARIANTS
    paths = [path for folder in folders for path in (*_family_files(folder), *spec_files.block_files(folder))]
    return tuple((path, *spec_files.version(path)) for path in paths)


@functools.lru_cache(maxsize=2)
def _archs_of_versions(folder: Path, files: tuple[tuple[Path, int, int], ...]) -> tuple[Arch, ...]:
    return tuple(arch for family in _families_in(folder) for arch in archs_of(family))


def archs_of(family: Family) -> list[Arch]:
    """The archs of one family, as declared. Raises: SpecError."""
    return [
        Arch(family, entry, _build_arguments(family, entry), {}, entry.input or family.input)
        for entry in family.archs.values()
    ]


def families() -> list[Family]:
    """The standard families, in the order of the files. Raises: SpecError."""
    return _families_in(spec_files.shipped_folder())


def variants() -> list[Family]:
    """The families of other skeletons whose archs have short names, too. Raises: SpecError."""
    return _families_in(spec_files.shipped_folder() / spec_files.VARIANTS)


def _families_in(folder: Path) -> list[Family]:
    found = [library.load(path) for path in _family_files(folder)]
    return [definition for definition in found if isinstance(definition, Family)]


def _family_files(folder: Path) -> list[Path]:
    return spec_files.family_files(folder) if folder.is_dir() else []


def load_archs(path: Path) -> list[Arch]:
    """The archs of a family file, each expanded. Raises: SpecError, with the errors of all of them."""
    family = _family(path)
    found: list[Arch] = []
    problems: list[Problem] = []
    budget = Budget()
    for entry in family.archs.values():
        try:
            values = _build_arguments(family, entry)
            arch = Arch(family, entry, values, {}, entry.input or family.input, budget)
            _ = arch.tree
            found.append(arch)
        except SpecError as error:
            problems += error.problems
        if budget.steps < 0:
            break
    if problems:
        raise SpecError(once_per_place(problems))
    return found


def _family(path: Path) -> Family:
    definition = library.load(path)
    if isinstance(definition, Block):
        raise spec_error("this is a block, not a family", definition.place, "a family: file with archs:")
    return definition


def _shipped_family(arch: str) -> Family:
    found = [family for family in families() if arch in family.archs]
    found = found or [family for family in variants() if arch in family.archs]
    if not found:
        known = {family.name: list(family.archs) for family in (*families(), *variants())}
        if arch in known:
            raise RvCheckError(f"{quote(arch)} is a family, and no arch", expected=listed(known[arch]))
        raise unknown("arch", arch, [name for names in known.values() for name in names])
    if len(found) > 1:
        files = " and ".join(shown_path(family.path) for family in found)
        raise RvCheckError(f"there are two archs {quote(arch)}: in {files}", expected=f"path/to/file.yaml::{arch}")
    return found[0]


def _build_arguments(family: Family, entry: ArchEntry) -> dict[str, Value]:
    """The values of an arch's `build:`, which `language.library` has checked."""
    return bind(family, {}, entry.build, definition_scope(family, {}))


def _overrides(family: Family, call: Call) -> dict[str, Value]:
    """The values of `resnet50(classes=10)`, by keyword only. Raises: SpecError."""
    scope = definition_scope(family, {})
    values = {}
    problems: list[Problem] = []
    for argument in call.arguments:
        try:
            if argument.keyword is None:
                found = f"{call.name} is given {argument.value.text} without a name"
                expected = listed(f"{name}={argument.value.text}" for name in family.argument_names)
                raise spec_error(found, argument.place, expected)
            check_keyword(family, argument.keyword, argument.place)
            values[argument.keyword] = argument.value.evaluate(scope)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return values
