"""The contract of an executor: it has the jobs of a comparison done somewhere, and says what came of each."""

from __future__ import annotations

import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from bench.progress import ReportProgress

if TYPE_CHECKING:
    from typing_extensions import Self

    from bench.records.spec import AnyJob


@dataclass(frozen=True)
class Attempt:
    """What came of a job.

    Attributes:
        ended: how its process ended, in words; the reason in the record of a run that left none.
        files: path within the job's folder -> content. An executor whose jobs write into that folder themselves leaves
            it empty.
        lost: whether the machine or the connection failed and not the job. Then the grid submits the job again, twice
            at most. A job that ran out of memory, or that was killed, is not lost: its run has failed.
    """

    ended: str
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    lost: bool = False

    @classmethod
    def of_exit(cls, code: int | None, files: Mapping[str, bytes] | None = None) -> Attempt:
        """The attempt of a process that ended with an exit code, which is negative where a signal killed it.

        Examples:
            >>> Attempt.of_exit(3).ended
            'the process ended with exit code 3 and left no record'
            >>> Attempt.of_exit(-11).ended
            'the process was killed by SIGSEGV'
        """
        return cls(_death(code), files or {})


def _death(code: int | None) -> str:
    if code is None or code >= 0:
        return f"the process ended with exit code {code} and left no record"
    name = f"signal {-code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name
    hint = ", probably for want of memory" if name == "SIGKILL" and sys.platform == "linux" else ""
    return f"the process was killed by {name}{hint}"


class Executor(ABC):
    """Has jobs done, on this machine or elsewhere.

    A job is data (`bench.records.spec.AnyJob`). What does it is `python -m bench.grid.worker JOB.json FOLDER`, or
    `bench.grid.worker.perform` in a process that nothing else happens in. It leaves its record, outputs, gate values
    and weights as files in that folder. The grid alone writes into the comparison's folder: it takes the files over,
    decides what becomes of an earlier record, makes the records of runs that failed, and submits what follows a run.

    A subclass in a file of its own is all that an executor needs: `bench compare --on file.py:Class` uses it, and
    `bench.check_executor("file.py:Class")` tests it.
    """

    name: ClassVar[str]
    """What messages call it."""
    takes_address: ClassVar[bool] = False
    """Whether it is made with an address, which `--on NAME:ADDRESS` gives; None without one."""
    takes_jobs: ClassVar[bool] = False
    """Whether it is made with `jobs=`, which `--jobs` gives: how many it is to hold at once."""
    shares_machine: ClassVar[bool] = True
    """Whether jobs that it holds at once may be on one machine, where they would disturb each other's times. Then the
    grid submits as many at once as `--jobs` allows, one by default, and of runs made side by side no time is measured.
    False: each job has a machine to itself, and the grid submits as many as it holds."""

    @property
    def capacity(self) -> int:
        """How many jobs it holds at once; the grid submits no more."""
        return 1

    def unsuited(self, job: AnyJob) -> str | None:
        """Why it cannot do such a job; None if it can. Asked of every kind of job before the first run."""
        return None

    @abstractmethod
    def submit(self, job: AnyJob, folder: Path, report: ReportProgress) -> Future[Attempt]:
        """Has a job done; does not wait for it.

        Args:
            job: what is to be done.
            folder: empty, on this machine and this job's alone; the files that the job leaves go there, or into
                `Attempt.files`. What a run was scored at lies there before its costs are measured. An executor whose
                jobs run elsewhere hands over what there is when the process dies.
            report: takes how far the job is, from any thread.

        Returns:
            A future that ends with the attempt, also where the job's process died. An exception in it ends the
            comparison.
        """

    @abstractmethod
    def stop(self) -> None:
        """Ends every job under way and waits until its processes are gone; jobs may be submitted after it."""

    def close(self) -> None:
        """Ends every job under way and gives back what the executor holds."""
        self.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
