"""Archs checked at once, each in one of a few processes, the dearest first and as many as fit into memory."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

from rv_check.archs.arch import Arch
from rv_check.checks.check import Check
from rv_check.checks.deviations import Deviation
from rv_check.checks.effort import peak_bytes, seconds
from rv_check.checks.findings import Finding, Level, Report
from rv_check.checks.judge import Judge
from rv_check.checks.registry import check_arch, checks_of
from rv_check.cli import machine
from rv_check.errors import CannotRun, RvCheckError
from rv_check.modules.allocator import resident_bytes
from rv_check.optional import need

SHARE = 0.8  # of the memory that is free: others on the machine may come to want some
ONE_AT_A_TIME = "--jobs 1, which checks one arch at a time and takes the least memory"


class Hearing(Protocol):
    """Who hears of archs that are checked, which are known by their index."""

    def starting(self, index: int, check: int) -> None:
        """A check of an arch begins: which of its checks."""

    def seen(self, index: int, finding: Finding) -> None:
        """A check found something."""

    def ended(self, index: int, report: Report) -> None:
        """All checks of an arch were made."""


@dataclass(frozen=True)
class Question:
    """What is asked of each arch."""

    levels: tuple[Level, ...]
    device: str = "cpu"
    require: Level | None = None
    deviations: Sequence[Deviation] = ()

    def answer(self, index: int, arch: Arch, hearing: Hearing) -> Report:
        """The report of one arch, in this process."""

        def starting(subject: str, checks: Sequence[Check], check: int) -> None:
            hearing.starting(index, check)

        judge = Judge(self.require, self.deviations, starting, lambda finding: hearing.seen(index, finding))
        report = check_arch(arch, self.levels, self.device, judge)
        hearing.ended(index, report)
        return report


def check_at_once(archs: Sequence[Arch], question: Question, hearing: Hearing, jobs: int | None) -> None:
    """Check the archs in several processes. `hearing` hears of one arch in order, of several as it comes.

    Args: `jobs` how many at once; None: as many as there are cores, and as there is memory for.
    Raises: RvCheckError where a process ends before its work does; and what is raised in one, once the archs before
    that one are done, as if one arch were checked after another.
    """
    most = min(jobs or machine.cores(), len(archs))
    plan = Plan(archs, question.levels, most, is_bounded=jobs is None)
    workers = Workers(question, most)
    done: set[int] = set()
    end = len(archs)
    error: BaseException | None = None  # that was raised at the arch `end`, the first of those that raise
    try:
        while not done.issuperset(range(end)):
            while workers.have_room and (index := plan.take(end, workers.held)) is not None:
                workers.start(index, archs[index], plan.threads(index))
            for index, what, value in workers.hear():
                if not isinstance(value, BaseException):
                    getattr(hearing, what)(index, value)
                elif index < end:
                    end, error = index, value
                done |= {index} if what == "ended" else set()
    finally:
        workers.kill()
    if error is not None:
        raise error


class Plan:
    """In which order archs are checked, and how many at once: the dearest first, as many as fit into memory."""

    def __init__(self, archs: Sequence[Arch], levels: Sequence[Level], most: int, is_bounded: bool):
        """Args: `most` at once; `is_bounded` by memory, too."""
        checks = [checks_of(arch, levels) for arch in archs]
        took = [sum(seconds(check, arch.params) for check in some) for arch, some in zip(archs, checks, strict=True)]
        self.peaks = [peak_bytes(arch, some) for arch, some in zip(archs, checks, strict=True)]
        self.waiting = sorted(range(len(archs)), key=took.__getitem__, reverse=True)
        self.most, self.is_bounded = most, is_bounded
        self.free = SHARE * machine.free_bytes()

    def take(self, end: int, held: Mapping[int | None, int]) -> int | None:
        """The next arch below `end`, if it may start now: one may always.

        Args: `held` the memory that processes hold now, by the arch that each is at, None for those that wait.
        """
        at_work = [index for index in held if index is not None]
        bounded = self.is_bounded and bool(at_work)
        free = SHARE * machine.free_bytes() if bounded else 0
        promised = sum(max(0, self.peaks[index] - held[index]) for index in at_work)
        for index in self.waiting:
            wanted = max(0, self.peaks[index] - held.get(None, 0))
            if index < end and (not bounded or wanted + promised <= free):
                self.waiting.remove(index)
                return index
        return None

    def threads(self, index: int) -> int:
        """The threads of torch for an arch: the cores, shared by as many archs of its size as fit into memory."""
        beside = min(self.most, int(self.free / self.peaks[index])) if self.is_bounded else self.most
        return max(1, machine.cores() // max(1, beside))


@dataclass
class Worker:
    """A process that checks archs, and the one that it is at."""

    process: BaseProcess
    connection: Connection
    arch: Arch | None = None
    index: int | None = None


class Workers:
    """A few processes that are started as they are needed."""

    def __init__(self, question: Question, most: int):
        self.question, self.most = question, most
        self.all: list[Worker] = []

    @property
    def have_room(self) -> bool:
        """Whether another arch could be started."""
        return len(self.all) < self.most or any(worker.index is None for worker in self.all)

    @property
    def held(self) -> dict[int | None, int]:
        """The memory that each holds, by the arch that it is at; of those that wait the one that is taken next."""
        free = [worker for worker in self.all if worker.index is None][:1]
        busy = [worker for worker in self.all if worker.index is not None]
        return {worker.index: resident_bytes(worker.process.pid or 0) for worker in (*free, *busy)}

    def start(self, index: int, arch: Arch, threads: int) -> None:
        """Have an arch checked, by a process that waits, or by a new one."""
        worker = next((worker for worker in self.all if worker.index is None), None) or self._new()
        worker.arch, worker.index = arch, index
        # The tree is made again there, and is not sent: its parts are nested as deep as the network is.
        worker.connection.send((index, replace(arch, budget=None), threads))

    def hear(self) -> Iterator[tuple[int, str, object]]:
        """What those at work say, at least one thing. Raises: RvCheckError where one has ended."""
        ready = wait([worker.connection for worker in self.all if worker.index is not None])
        for worker in self.all:
            if worker.connection not in ready:
                continue
            try:
                index, what, value = worker.connection.recv()
            except (EOFError, OSError):
                raise _ended(worker) from None
            if what in ("ended", "raised"):
                worker.arch = worker.index = None
            yield index, what, value

    def kill(self) -> None:
        """End all of them, whatever they do."""
        for worker in self.all:
            worker.process.kill()
        for worker in self.all:
            worker.process.join()
            worker.connection.close()

    def _new(self) -> Worker:
        context = multiprocessing.get_context("spawn")  # a process with threads, as those of torch, cannot be forked
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self.question), daemon=True)
        with _uninterrupted():
            process.start()
        theirs.close()  # so that its end is seen here when the process ends
        self.all.append(Worker(process, ours))
        return self.all[-1]


def _ended(worker: Worker) -> RvCheckError:
    """The error that a process is gone."""
    worker.process.join()
    code = worker.process.exitcode or 0
    how = f"with status {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
    why = ", as a system ends what takes too much memory" if code == -9 else ""
    name = worker.arch.name if worker.arch else "an arch"
    return RvCheckError(f"the process that was checking {name} was ended {how}{why}", expected=ONE_AT_A_TIME)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits inside; a process that is started here never hears it: who started it hears it, and ends it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would be started inside, and let Ctrl-C through from then on
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# In the processes


class Sending:
    """Passes on what is heard to the process that asked, and ends this one where that is gone."""

    def __init__(self, connection: Connection):
        self.connection = connection

    def starting(self, index: int, check: int) -> None:
        self.send(index, "starting", check)

    def seen(self, index: int, finding: Finding) -> None:
        self.send(index, "seen", finding)

    def ended(self, index: int, report: Report) -> None:
        self.send(index, "ended", report)

    def send(self, index: int, what: str, value: object) -> None:
        """Send something of an arch."""
        try:
            self.connection.send((index, what, value))
        except OSError:
            sys.exit(1)


def _work(connection: Connection, question: Question) -> None:
    """Check archs until there are no more."""
    sys.stdout = sys.stderr  # what a reference prints is no result
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sending = Sending(connection)
    while True:
        try:
            index, arch, threads = connection.recv()
        except (EOFError, OSError):
            return
        try:
            _limit(threads)
            question.answer(index, arch, sending)
        except Exception as error:
            sending.send(index, "raised", _portable(error))


def _end_with_parent() -> None:
    """End this process when the one that asked is gone, whatever ended it: a check in between may take a minute."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _limit(threads: int) -> None:
    """Let torch use so many threads, where it would use more."""
    with suppress(CannotRun):
        torch = need("torch")
        torch.set_num_threads(min(threads, torch.get_num_threads()))


def _portable(error: Exception) -> Exception:
    """The error as it can be sent, with the lines of the code that raised it."""
    lines = "".join(traceback.format_exception(error))
    try:
        sent: Exception = pickle.loads(pickle.dumps(error))
    except Exception:  # whatever its class needs to be made
        sent = RuntimeError(f"{type(error).__name__}: {error}")
    sent.add_note(lines)
    return sent
