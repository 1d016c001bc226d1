"""An executor as an author writes one, in one file: a subprocess for each job, in a folder that nobody else sees."""

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import Attempt, Executor
from bench.progress import Progress


class Subprocesses(Executor):
    """Two subprocesses at once; what they leave comes back as bytes, as from a machine without common files."""

    name = "subprocesses"
    capacity = 2

    def __init__(self):
        self._threads = ThreadPoolExecutor(self.capacity)
        self._children = []

    def submit(self, job, folder, report):
        return self._threads.submit(self._do, job.model_dump_json(), report)

    def _do(self, job, report):
        with tempfile.TemporaryDirectory() as place:
            file, out = Path(place, "job.json"), Path(place, "out")
            file.write_text(job)
            with self.start([str(file), str(out), "--progress"]) as child:
                self._children.append(child)
                for line in child.stdout:
                    if (progress := Progress.of_line(line)) is not None:
                        report(progress)
            files = {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}
            return Attempt.of_exit(child.returncode, files)

    def start(self, arguments):
        words = [sys.executable, "-m", "bench.grid.worker", *arguments]
        # It imports nothing from the folder that the command was typed in (Python 3.11 and newer).
        environment = {**os.environ, "PYTHONSAFEPATH": "1"}
        return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def stop(self):
        self._threads.shutdown(cancel_futures=True, wait=False)
        for child in self._children:
            child.terminate()
        self._threads.shutdown()
        self.__init__()
