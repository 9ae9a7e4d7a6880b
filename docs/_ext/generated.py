"""What pages take from the code: options of commands, public names, folders of the package, keys of JSON.

Each directive writes Markdown, from what does not go stale:

    {commands}            the commands, each with its page, from the argparse parser
    {options} COMMAND     the options of a command, from its parser
    {public}              the public names, from `rv_check.__all__`, with their signatures and docstrings
    {packages}            the folders in their layers, from import-linter's contract and the docstrings of the folders
    {schema} NAME         the keys of a JSON object, from docs/schemas/NAME.json

Nothing is imported but the command line, so the site is built where torch is not installed.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "docs" / "schemas"


# Commands and options


def parser_of(command: str) -> argparse.ArgumentParser:
    """The parser of `macs`, of `study gradients`. Raises: KeyError where there is no such command."""
    from rv_check.cli.main import build_parser

    first, *more = command.split()
    parser = build_parser(first)
    for word in (first, *more):
        parser = commands_of(parser)[word]
    return parser


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands of a parser, none where it has none."""
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def all_commands() -> dict[str, str]:
    """Every command by name, with the line that says what it does; a study is one, too."""
    from rv_check.cli.main import build_parser

    found = {}
    for name in commands_of(build_parser()):
        parser = parser_of(name)
        found[name] = str(parser.description)
        found |= {f"{name} {word}": str(sub.description) for word, sub in commands_of(parser).items()}
    return found


def commands(_: str = "", folder: str = "") -> Iterator[str]:
    """A table of the commands; their pages are in a folder."""
    yield from ("| command | |", "| --- | --- |")
    for name, text in all_commands().items():
        if " " not in name:
            yield f"| [`rv-check {name}`]({folder}{name}.md) | {text} |"


def options(command: str) -> Iterator[str]:
    """Usage, then each argument and option with its help, as a list of definitions."""
    parser = parser_of(command)
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=96)
    yield from ("```text", *(line[len("usage: ") :] for line in parser.format_usage().splitlines()), "```", "")
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if _is_shown(action)]
        if actions and group.title not in ("positional arguments", "options"):
            yield from (f"*{group.title}*", "")
        for action in actions:
            yield from (f"`{_called(action, parser)}`", f": {_help(action, parser)}", "")


def _is_shown(action: argparse.Action) -> bool:
    return (
        not isinstance(action, argparse._HelpAction | argparse._SubParsersAction) and action.help != argparse.SUPPRESS
    )


def _called(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """`-o FILE, --output FILE`."""
    formatter = argparse.HelpFormatter(parser.prog)
    if not action.option_strings:
        return formatter._format_args(action, str(action.metavar or action.dest))
    value = (
        "" if action.nargs == 0 else " " + formatter._format_args(action, str(action.metavar or action.dest.upper()))
    )
    if action.choices is not None and action.metavar is None:
        value = ""
    return ", ".join(f"{name}{value}" for name in action.option_strings)


def _help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    words = (action.help or "") % {**vars(action), "prog": parser.prog}
    if action.choices is not None and action.metavar is None:
        words += ": " * bool(words) + ", ".join(f"`{choice}`" for choice in action.choices)
        words += f"; `{action.default}` unless given" if action.default is not None else ""
    if action.required and action.option_strings:
        words += " (must be given)"
    return words


# Public names


def public(_: str = "") -> Iterator[str]:
    """Each public name with its signature and docstring."""
    import rv_check

    for name in rv_check.__all__:
        path = ROOT.joinpath("rv_check", *rv_check._HOME[name].split(".")).with_suffix(".py")
        node = _definition(path, name)
        yield from (f"### {name}", "", "```python", *_signature(node), "```", "")
        yield from (*(ast.get_docstring(node) or "").splitlines(), "")
        for method in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(method, ast.FunctionDef) and not method.name.startswith("_"):
                first = (ast.get_docstring(method) or "").partition("\n\n")[0].replace("\n", " ")
                called = method.name if _is_property(method) else f"{method.name}({ast.unparse(method.args)})"
                yield from (f"`{called.replace('(self, ', '(').replace('(self)', '()')}`", f": {first}", "")


Definition = ast.FunctionDef | ast.ClassDef


def _definition(path: Path, name: str) -> Definition:
    """Where a name is defined. Raises: StopIteration where it is not."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return next(node for node in tree.body if isinstance(node, Definition) and node.name == name)


def _signature(node: Definition) -> list[str]:
    """`def load(name: str) -> Arch`, over several lines where it is long; the fields of a class."""
    if isinstance(node, ast.ClassDef):
        fields = [ast.unparse(one) for one in node.body if isinstance(one, ast.AnnAssign)]
        return [f"class {node.name}", *(f"    {field}" for field in fields)]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    arguments = [re.sub(r"^(\w+: [^=]+)=", r"\1 = ", part) for part in _split(ast.unparse(node.args))]
    line = f"def {node.name}({', '.join(arguments)}){returns}"
    return [line] if len(line) <= 100 else [f"def {node.name}(", *(f"    {one}," for one in arguments), f"){returns}"]


def _split(arguments: str) -> list[str]:
    """At the commas that stand in no brackets."""
    parts, depth = [""], 0
    for letter in arguments:
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _is_property(method: ast.FunctionDef) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in method.decorator_list)


# Folders


def packages(_: str = "", root: Path = ROOT) -> Iterator[str]:
    """The folders of the package from the ground up, each with its docstring and its modules.

    Raises: ValueError where a folder is in no layer, or has no docstring.
    """
    layers = layers_of(tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8")))
    package = root / "rv_check"
    known = {name for layer in layers for name in layer}
    for path in sorted(package.iterdir()):
        if layers and _is_package(path) and path.name not in known:
            raise ValueError(f"rv_check/{path.name} is in no layer of import-linter's contract")
    if layers:
        text = " < ".join(" | ".join(layer) for layer in layers)
        yield from ("```text", *wrap(text, 100, subsequent_indent="    ", break_long_words=False), "```", "")
    names = [name for layer in layers for name in layer] or [""]
    for name in names:
        folder = package / name
        if name and not folder.is_dir():
            yield from (f"### {name}.py", "", _docstring(package / f"{name}.py"), "")
            continue
        if name:
            yield from (f"### {name}/", "", _docstring(folder / "__init__.py"), "")
        for path in sorted(folder.glob("*.py")):
            if not path.name.startswith("__"):
                yield from (f"`{path.stem}`", f": {_docstring(path).partition(chr(10) * 2)[0]}", "")
        for path in sorted(folder.iterdir() if name else ()):
            if _is_package(path):
                yield from (f"`{path.name}/`", f": {_docstring(path / '__init__.py')}", "")


def layers_of(project: Mapping[str, Any]) -> list[list[str]]:
    """The layers of import-linter's contract from the ground up, what stands side by side together."""
    contracts = project.get("tool", {}).get("importlinter", {}).get("contracts", [])
    layers = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    if not layers:
        return []
    parts = [[part.strip(" ()") for part in layer.replace(":", "|").split("|")] for layer in reversed(layers[0])]
    return [[part.removeprefix("rv_check.") for part in layer] for layer in parts]


def _is_package(path: Path) -> bool:
    return (path / "__init__.py").is_file()


def _docstring(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise ValueError(f"{path.name} of {path.parent.name} has no docstring")
    return text.replace("\n    ", "\n")


# JSON


def schema(name: str) -> Iterator[str]:
    """The keys of an object, of what is in it too, each with its type and what it means."""
    found = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    if "$ref" in found:
        found = {**_read(found["$ref"]), **found}
    yield from (found["description"], "", "| key | type | meaning |", "| --- | --- | --- |")
    for key, one in _keys(found):
        yield f"| `{key}` | {_type(one)} | {str(one.get('description', '')).replace('|', chr(92) + '|')} |"
    yield ""


def _keys(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, one in schema.get("properties", {}).items():
        path = f"{prefix}{key}"
        yield path, one
        for inner, suffix in _within(one):
            yield from _keys(inner, f"{path}{suffix}.")


def _within(schema: Mapping[str, Any], suffix: str = "") -> Iterator[tuple[Mapping[str, Any], str]]:
    """The objects that a value is made of, `[]` being any one of a list and `.*` any one of a map."""
    if "properties" in schema:
        yield schema, suffix
    for one in schema.get("anyOf", ()):
        yield from _within(one, suffix)
    if isinstance(schema.get("items"), dict):
        yield from _within(schema["items"], f"{suffix}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _within(schema["additionalProperties"], f"{suffix}.*")


def _type(schema: Mapping[str, Any]) -> str:
    """`integer`, `text or null`, `list of number`."""
    if "$ref" in schema:
        name = re.sub(r"-\d+$", "", schema["$ref"].removesuffix(".json"))  # a section is called without the number
        return f"[{_read(schema['$ref'])['title']}](#{name})"
    if "const" in schema or "enum" in schema:
        return " or ".join(_shown(one) for one in schema.get("enum", [schema.get("const")]))
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    kinds = schema["type"]
    return " or ".join(_kind(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def _kind(kind: str, schema: Mapping[str, Any]) -> str:
    if kind == "array":
        return _list(schema)
    if kind == "object":
        return _object(schema)
    return {"string": "text", "boolean": "true or false"}.get(kind, kind)


def _shown(value: Any) -> str:
    return "null" if value is None else f"`{value}`"


def _list(schema: Mapping[str, Any]) -> str:
    if "prefixItems" in schema:
        return f"[{', '.join(map(_type, schema['prefixItems']))}]"
    words = _type(schema["items"])
    return f"list of {words}{'s' * (words in ('object', 'integer', 'number', 'text'))}"


def _object(schema: Mapping[str, Any]) -> str:
    inner = schema.get("additionalProperties")
    return f"{_type(inner)} by name" if isinstance(inner, dict) else "object"


def _read(reference: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / reference).read_text(encoding="utf-8"))
    return found


# Sphinx


DIRECTIVES: Mapping[str, Callable[[str], Iterator[str]]] = {
    "commands": commands,
    "options": options,
    "public": public,
    "packages": packages,
    "schema": schema,
}


def setup(app: Any) -> dict[str, Any]:
    """Register the directives."""
    from sphinx.util.docutils import SphinxDirective

    class Generated(SphinxDirective):
        """Markdown that a function above has written, as if it stood on the page."""

        optional_arguments = 1
        final_argument_whitespace = True

        def run(self) -> Sequence[Any]:  # type: ignore[override]
            """Write it, and have it read."""
            lines = DIRECTIVES[self.name](self.arguments[0] if self.arguments else "")
            try:
                return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)
            except (KeyError, OSError, StopIteration, ValueError) as error:
                raise self.error(f"{self.name}: {error}") from error

    for name in DIRECTIVES:
        app.add_directive(name, Generated)
    return {"parallel_read_safe": True}
