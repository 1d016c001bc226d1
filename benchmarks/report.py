"""How long does a report of 10,000 runs take, and how much memory?

    python -m benchmarks.report --records 10000

It reads made-up records from disk in a fresh process, as `bench report` does, and writes all tables and the page. The
exit code is 1 beyond 10 seconds of wall clock or 1 GB of resident memory, imports included, or 6 MB of page. Making
the records is not timed and takes longer. The limits are for an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.records import many, profile

TABLES_AND_PAGE = ("markdown", "latex", "csv", "json", "html")
LIMIT_S, LIMIT_BYTES = 10.0, 1_000_000_000


def main() -> None:
    """Makes records, reports on them, says what it took; exit code 1 beyond a limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--figures", action="store_true", help="draw the SVG figures too, beyond the limits")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _report(options.child, figures=options.figures)
        return
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        make(out, options.records)
        command = [sys.executable, "-m", "benchmarks.report", "--child", str(out)]
        began = time.perf_counter()
        answer = subprocess.run(
            command + ["--figures"] * options.figures,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=600,
        )
        wall_s = time.perf_counter() - began
        figures = json.loads(answer.stdout.splitlines()[-1])
        page_bytes = (out / "report.html").stat().st_size
    for step, seconds in figures["steps_s"].items():
        print(f"{step:<28} {seconds:6.2f} s")
    print(f"{'whole process':<28} {wall_s:6.2f} s   (limit {LIMIT_S:g} s)")
    peak_mb = figures["peak_bytes"] / 1e6
    print(f"{'peak resident memory':<28} {peak_mb:6.0f} MB  (limit {LIMIT_BYTES / 1e6:.0f} MB)")
    print(f"{'report.html':<28} {page_bytes / 1e6:6.2f} MB  (limit 6 MB)")
    beyond = wall_s > LIMIT_S or figures["peak_bytes"] > LIMIT_BYTES or page_bytes > 6_000_000
    sys.exit(int(beyond and not options.figures))


def make(out: Path, count: int) -> None:
    """Writes so many records and a profile of their model."""
    runs = out / "runs"
    runs.mkdir(parents=True)
    for record in many(count):
        (runs / f"{record.digest}.json").write_text(record.as_json(), "utf-8")
    (out / "profiles").mkdir()
    (out / "profiles" / "minilm-l6.json").write_text(profile().model_dump_json(), "utf-8")


def _report(out: Path, *, figures: bool) -> None:
    """The child: all steps, their seconds, and the process's high-water mark."""
    steps: dict[str, float] = {}
    began = time.perf_counter()
    from bench.records.store import read_records
    from reports.report import write

    steps["import bench.records.store"], began = time.perf_counter() - began, time.perf_counter()
    records = read_records(out)
    steps[f"read {len(records)} records"], began = time.perf_counter() - began, time.perf_counter()
    write(records, out, formats=[*TABLES_AND_PAGE, *(["svg"] if figures else [])])
    steps["tables and page"] = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"steps_s": steps, "peak_bytes": peak}))


if __name__ == "__main__":
    main()
