"""The executor of this machine: what its child processes import, and how they are ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH came with Python 3.11")
def test_a_folder_called_methods_where_the_command_was_typed_is_not_imported(tmp_path: Path) -> None:
    """The installed command looks there for nothing; a child process would, if nobody kept it from that."""
    (tmp_path / "typed" / "methods").mkdir(parents=True)
    (tmp_path / "typed" / "methods" / "__init__.py").write_text("raise SystemExit('a stranger was imported')")
    script = tmp_path / "script.py"  # outside the folder, as the installed command is
    script.write_text("from bench.cli import main\nif __name__ == '__main__':\n    main()\n")
    words = "compare majority --preset smoke --k 8 --no-costs --no-energy --no-effective --no-profile".split()
    done = subprocess.run(
        [sys.executable, str(script), *words],
        capture_output=True, text=True, cwd=tmp_path / "typed", env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "[1/1] majority on synthetic" in done.stderr
