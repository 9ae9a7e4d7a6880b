"""What goes into a module, as a value and as text: `3 224 224`, or `ids: int64 128 < 30522, mask: bool 128`.

Tensors, several of them, arguments by position and by name, a list or a dict of tensors as one argument. Shapes are of
one image, without the batch axis. `modules.inputs` makes the tensors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

from rv_check.errors import Document, Place, SpecError, spec_error
from rv_check.language.yaml_nodes import Text
from rv_check.ops.op import Shape
from rv_check.text import nearest, quote

T = TypeVar("T")

FORM = (
    'the axes behind the batch, as in "3 224 224" or "128 64"; several as in "3 224 224, 3 64 64", '
    'by name and type as in "ids: int64 128 < 30522, mask: bool 128"'
)
IMAGE: Shape = (3, 224, 224)  # what goes into a module where nobody says it
WHOLE = ("int64", "int32", "int16", "int8", "uint8")
TYPES = ("float32", "float64", "bfloat16", "float16", "complex64", "complex128", *WHOLE, "bool")
WORDS: dict[str, Any] = {"True": True, "False": False, "None": None}  # arguments that are no tensors
ALONE = "unbatched"  # a tensor that has no batch axis
MAX_AXES = 6
MAX_DEPTH = 8  # of lists and dicts in one another
MAX_TENSORS = 64
TOKEN = re.compile(r"\s*([][{}(),:<]|[^\s\][{}(),:<]+)")


@dataclass(frozen=True)
class TensorInput:
    """One tensor that goes in.

    `shape`: without the batch axis; `dtype`: its type, "" for the fractions that the module computes with; `below`:
    whole numbers lie from 0 on below it, None where nobody says; `batched`: whether it has a batch axis, the first one;
    `values`: a tensor that was given, which is taken as it is unless it is of fractions.
    """

    shape: Shape
    dtype: str = ""
    below: int | None = None
    batched: bool = True
    values: Any = field(default=None, repr=False, compare=False)

    @property
    def is_fraction(self) -> bool:
        """Whether it holds fractions, which may be of any type, and which gradients are passed to."""
        return self.dtype not in (*WHOLE, "bool")

    def __str__(self) -> str:
        bound = [f"< {self.below}"] if self.below is not None else []
        words = [ALONE] * (not self.batched) + [self.dtype] * bool(self.dtype)
        return " ".join([*words, *map(str, self.shape), *bound]) or "float32"


@dataclass(frozen=True)
class PlainArgument:
    """An argument that is no tensor."""

    value: Any

    def __str__(self) -> str:
        return repr(self.value)


@dataclass(frozen=True)
class InputGroup:
    """Several values: a list, a tuple or a dict as one argument, or all arguments of a call.

    `names`: of each item, "" for what has its place alone.
    """

    kind: Literal["list", "tuple", "dict", "call"]
    names: tuple[str, ...]
    items: tuple[InputValue, ...]

    def __str__(self) -> str:
        inner = ", ".join(f"{name}: {item}" if name else str(item) for name, item in self)
        left, right = {"list": "[]", "tuple": "()", "dict": "{}", "call": ("", "")}[self.kind]
        return f"{left}{inner}{right}"

    def __iter__(self) -> Iterator[tuple[str, InputValue]]:
        return zip(self.names, self.items, strict=True)

    def where(self, at: int, above: str) -> str:
        """What an item is called: `mask`, `1`, `1.image`."""
        return ".".join(part for part in (above, self.names[at] or str(at)) if part)


InputValue = TensorInput | PlainArgument | InputGroup


@dataclass(frozen=True)
class Inputs:
    """All that goes into a module in one call.

    `takes`: the arguments. The `main` tensor is the image: what is smaller or larger where another size is tried, and
    what an arch takes.
    """

    takes: InputGroup

    @cached_property
    def tensors(self) -> Mapping[str, TensorInput]:
        """The tensors by what they are called: the name of the argument, else its place, counted from 0."""
        found: dict[str, TensorInput] = {}

        def visit(tensor: TensorInput, where: str) -> None:
            found[where] = tensor

        _mapped(self.takes, "", visit)
        return found

    @cached_property
    def main(self) -> str:
        """What the main tensor is called: the first of fractions that has a shape, else the first."""
        fractions = (where for where, one in self.tensors.items() if one.is_fraction and one.shape)
        return next(fractions, next(iter(self.tensors)))

    @property
    def others(self) -> list[str]:
        """What the other tensors are called."""
        return [where for where in self.tensors if where != self.main]

    @property
    def shape(self) -> Shape:
        """The shape of the main tensor."""
        return self.tensors[self.main].shape

    @property
    def is_one_image(self) -> bool:
        """Whether it is one tensor of fractions alone, as most networks take."""
        return [*self.takes] == [("", TensorInput(self.shape))]

    def at(self, size: Shape) -> Inputs:
        """The same at another size of the main tensor, which keeps its own channels.

        What has the same sides has them there, too. A tensor that was given with its values stays as it is.
        """
        own = self.shape
        if len(size) != len(own):
            return self
        new = (own[0], *size[1:]) if len(own) > 1 else size
        if new == own:
            return self
        axes = max(1, len(own) - 1)

        def resized(one: TensorInput, where: str) -> TensorInput:
            if one.values is not None and not one.is_fraction:
                return one
            if one.shape == own:
                return replace(one, shape=new)
            same = len(one.shape) >= axes and one.shape[-axes:] == own[-axes:]
            return replace(one, shape=(*one.shape[:-axes], *new[-axes:])) if same else one

        return self.each(resized)

    def each(self, change: Callable[[TensorInput, str], TensorInput]) -> Inputs:
        """The same with other tensors, each by itself and what it is called."""
        return Inputs(_changed(self.takes, "", change))

    def arguments(self, values: Mapping[str, T]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments of a call, by place and by name, with these values for the tensors."""

        def value(tensor: TensorInput, where: str) -> T:
            return values[where]

        filled = [_mapped(item, self.takes.where(at, ""), value) for at, item in enumerate(self.takes.items)]
        pairs = list(zip(self.takes.names, filled, strict=True))
        return [one for name, one in pairs if not name], {name: one for name, one in pairs if name}

    def __str__(self) -> str:
        return str(self.takes)


def one_image(shape: Shape) -> Inputs:
    """One tensor of fractions, of images of that shape."""
    return Inputs(InputGroup("call", ("",), (TensorInput(shape),)))


def _mapped(value: InputValue, where: str, make: Callable[[TensorInput, str], Any]) -> Any:
    """A value as Python has it, with what is made of each tensor."""
    if isinstance(value, TensorInput):
        return make(value, where)
    if isinstance(value, PlainArgument):
        return value.value
    made = [_mapped(item, value.where(at, where), make) for at, item in enumerate(value.items)]
    if value.kind == "dict":
        return dict(zip(value.names, made, strict=True))
    return made if value.kind == "list" else tuple(made)


def _changed(value: InputGroup, where: str, change: Callable[[TensorInput, str], TensorInput]) -> InputGroup:
    items: list[InputValue] = []
    for at, item in enumerate(value.items):
        inner = value.where(at, where)
        if isinstance(item, TensorInput):
            item = change(item, inner)
        elif isinstance(item, InputGroup):
            item = _changed(item, inner, change)
        items.append(item)
    return replace(value, items=tuple(items))


# As text


def parse_inputs(text: str | Text) -> Inputs:
    """The inputs that somebody typed, or that stand in a file. Raises: SpecError, which points to what is wrong."""
    if isinstance(text, str):
        text = Text(text, Place(Document(Path("argument"), (text,), is_file=False), 1, 1))
    return _InputParser(text).inputs()


class _InputParser:
    """Reads inputs from left to right, with one token in view."""

    def __init__(self, text: Text):
        self.text = text
        self.tokens = [(match[1], match.start(1)) for match in TOKEN.finditer(text.text)]
        self.next = 0
        self.count = 0

    def inputs(self) -> Inputs:
        """All of the text. Raises: SpecError."""
        names, items = self.items("")
        if self.token:
            raise self.wrong(f"{quote(self.token)} closes nothing")
        if not self.count:
            raise self.wrong("it has no tensor" if self.tokens else "")
        return Inputs(InputGroup("call", names, items))

    @property
    def token(self) -> str:
        return self.tokens[self.next][0] if self.next < len(self.tokens) else ""

    def take(self) -> str:
        token = self.token
        self.next += 1
        return token

    def items(self, end: str, depth: int = 0) -> tuple[tuple[str, ...], tuple[InputValue, ...]]:
        """Values between commas, up to a bracket."""
        names: list[str] = []
        items: list[InputValue] = []
        while self.token and self.token != end:
            name = ""
            if self.next + 1 < len(self.tokens) and self.tokens[self.next + 1][0] == ":":
                name = self.take()
                self.take()
                if not name.isidentifier() and end != "}":
                    raise self.wrong(f"{quote(name)} is no name of an argument", back=2)
                if name in names:
                    raise self.wrong(f"{quote(name)} is there twice", back=2)
            elif end == "}":
                raise self.wrong("a dict has a name before each value, as in {image: 3 224 224}")
            elif any(names) and not end:
                raise self.wrong("what has no name stands before what has one")
            names.append(name)
            items.append(self.value(depth))
            if self.token == ",":
                self.take()
            elif self.token and self.token != end:
                break
        return tuple(names), tuple(items)

    def value(self, depth: int) -> InputValue:
        closing = {"[": "]", "(": ")", "{": "}"}
        kinds: dict[str, Literal["list", "tuple", "dict"]] = {"[": "list", "(": "tuple", "{": "dict"}
        if self.token in closing:
            if depth == MAX_DEPTH:
                raise self.wrong(f"more than {MAX_DEPTH} brackets in one another")
            left = self.take()
            names, items = self.items(closing[left], depth + 1)
            if self.token != closing[left]:
                raise self.wrong(f"{quote(left)} is not closed")
            self.take()
            return InputGroup(kinds[left], names, items)
        if self.token in WORDS:
            return PlainArgument(WORDS[self.take()])
        return self.tensor()

    def tensor(self) -> TensorInput:
        """`unbatched int64 128 < 30522`, of which only one of type and sizes must be there."""
        self.count += 1
        if self.count > MAX_TENSORS:
            raise self.wrong(f"more than {MAX_TENSORS} tensors")
        begin = self.next
        batched = self.token != ALONE
        if not batched:
            self.take()
        dtype = self.take() if self.token in TYPES else ""
        if "float" in dtype:
            dtype = ""  # fractions are of the type that the module computes with
        sizes: list[int] = []
        while re.fullmatch(r"[1-9]\d{0,6}", self.token):
            sizes.append(int(self.take()))
        below = None
        if self.token == "<":
            self.take()
            if not re.fullmatch(r"[1-9]\d{0,17}", self.token):
                raise self.wrong(f"below what? {quote(self.token)} is no number above 0")
            if dtype not in WHOLE:
                raise self.wrong(f"a bound is of whole numbers, and this is {dtype or 'of fractions'}")
            below = int(self.take())
        if self.next == begin or len(sizes) > MAX_AXES or (self.token and self.token not in ",]})"):
            word = self.token
            near = nearest(word, (*TYPES, *WORDS, ALONE)) if word.isalnum() and not word.isdecimal() else None
            raise self.wrong("", near)
        return TensorInput(tuple(sizes), dtype, below, batched)

    def wrong(self, why: str, near: str | None = None, back: int = 0) -> SpecError:
        """The error, at the token in view or some before it."""
        at = min(max(0, self.next - back), len(self.tokens))
        offset = self.tokens[at][1] if at < len(self.tokens) else len(self.text.text)
        message = f"input is {quote(self.text.text)}" + (f": {why}" if why else "")
        return spec_error(message, self.text.at(offset if self.text.text else 0), FORM, near)
