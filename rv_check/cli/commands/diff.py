"""The command `rv-check diff`: the differences of two archs, two modules, or one of each."""

from __future__ import annotations

import argparse

from rv_check.archs.load import load
from rv_check.checks.of_two import OWN_WEIGHTS, compare_archs, compare_modules
from rv_check.cli.common import judging, of_module, question_of
from rv_check.cli.console import Answer, Console
from rv_check.cli.options import above_zero, evidence, evidence_of, input_size, json_of, keywords
from rv_check.errors import RvCheckError
from rv_check.modules.named import is_module_name, load_module, parse_arguments
from rv_check.report.findings import CHECK_SCHEMA


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("a", metavar="A", help="the one expected: an arch or a module")
    parser.add_argument("b", metavar="B", help="the other one")
    input_size(parser)
    json_of(parser, CHECK_SCHEMA)
    keywords(parser)
    words = "two modules with the weights that they have: their outputs alone decide, whatever their structures are"
    parser.add_argument("--own-weights", action="store_true", help=words)
    words = f"of these outputs, relative to the largest value of each, {OWN_WEIGHTS:g} unless given"
    parser.add_argument("--within", type=above_zero, metavar="X", help=words)
    evidence(parser)


def run(options: argparse.Namespace, console: Console) -> Answer:
    """Two archs without torch; two modules, or one of each, with it. Raises: RvCheckError, CannotRun."""
    asked = evidence_of(options)
    modules = [is_module_name(name) for name in (options.a, options.b)]
    if asked.level == "spec":
        raise RvCheckError("--level spec compares nothing", expected="--level structure or numbers, or none")
    if options.input is not None and not any(modules):
        raise RvCheckError("--input is for two modules: an arch has an input of its own")
    own_weights = None
    if options.own_weights:
        if not all(modules):
            raise RvCheckError("--own-weights is for two modules: an arch has no weights")
        if asked.level is not None:
            raise RvCheckError("--own-weights compares outputs alone", expected="no --level")
        own_weights = options.within or OWN_WEIGHTS
    elif options.within is not None:
        raise RvCheckError("--within is for --own-weights: the other numbers have their tolerance")
    if not any(modules):
        return of_module(compare_archs(load(options.a), load(options.b)))
    arguments = parse_arguments(options.kwargs)
    chosen = [load(name) for name, is_module in zip((options.a, options.b), modules, strict=True) if not is_module]
    question = question_of(asked, chosen)
    from rv_check.checks.of_module import check

    with judging(question, console) as (judge, _):
        loaded = [load_module(name, arguments) for name in (options.a, options.b) if is_module_name(name)]
        inputs = [one.input(options.input) for one in loaded]
        if chosen:
            name = options.b if modules[1] else options.a
            module, arch = loaded[0].module, chosen[0]
            found = check(module, arch, asked.device, input=inputs[0], level=asked.level, judge=judge, name=name)
            return of_module(found)
        new, old = loaded[1].module, loaded[0].module
        size = next((one for one in inputs if one is not None), None)
        names = (options.b, options.a)
        return of_module(
            compare_modules(
                new, old, size, asked.device, level=asked.level, judge=judge, names=names, own_weights=own_weights
            )
        )
