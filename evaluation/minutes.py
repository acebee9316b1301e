"""Time and memory of the commands in README.md's table of the questions, and of the report.

    python evaluation/minutes.py        an hour on two otherwise idle cores
    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 python evaluation/minutes.py
                                        the same without AVX-512 and bfloat16 instructions

The commands run with the committed models, with --out in a temporary folder. Writes
OUT/minutes_CAPABILITY.json, for example minutes_avx2.json. OUT is outputs/evaluation.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import cli, results

import torch

TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node=2"]
COMMANDS = {  # as in README.md -> the scripts that it runs
    "python q1_gradcam/evaluate.py": [["q1_gradcam/evaluate.py"]],
    "python q1_gradcam/explain.py": [["q1_gradcam/explain.py"]],
    "python q2_lime/explain_text.py": [["q2_lime/explain_text.py"]],
    "python q2_lime/explain.py": [["q2_lime/explain.py"]],
    "make trust": [[*TORCHRUN, "evaluation/run.py"], ["evaluation/compare.py"]],
    "python report/build.py": [["report/build.py"]],
}


def main() -> None:
    parser = cli.Parser(__doc__)
    parser.data_option("CIFAR-10, 20newsgroups and weights")
    parser.add_argument("--out", type=Path, default=results.OUTPUTS / "evaluation", metavar="DIR")
    args = parser.parse_args()
    out = results.output_folder(args.out)
    rows = {command: measured(command, args.data.absolute()) for command in COMMANDS}
    content: dict[str, Any] = {
        "commands": rows,
        "minutes": sum(row["seconds"] for row in rows.values()) / 60,
        "peak_memory_bytes": max(row["peak_memory_bytes"] or 0 for row in rows.values()),
        "provenance": results.provenance(0, torch.device("cpu")),
    }
    capability = torch.backends.cpu.get_cpu_capability().lower()
    path = results.write_json(out / f"minutes_{capability}.json", content)
    print(f"wrote {results.shown(path)}")


def measured(command: str, data: Path) -> dict[str, Any]:
    """Seconds of a command, the largest memory recorded in its results, and the seconds of each
    step that wrote a results file of its own."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        for script in COMMANDS[command]:
            options = ["--data", str(data), "--out", folder]
            if script == ["report/build.py"]:
                options = ["--out", f"{folder}/report.pdf"]
            environment = os.environ | ({"OMP_NUM_THREADS": "1"} if len(script) > 1 else {})
            call = [sys.executable, *script, *options]
            if subprocess.run(call, cwd=cli.ROOT, env=environment).returncode:
                raise cli.UserError(f"{' '.join(script)} stopped, see above")
        seconds = time.monotonic() - start
        origins = {
            path.stem: results.read_json(path)["provenance"]
            for path in sorted(Path(folder).rglob("*.json"))
        }
    print(f"{command}: {seconds / 60:.1f} minutes", flush=True)
    peaks = [origin["peak_memory_bytes"] or 0 for origin in origins.values()]
    return {
        "seconds": seconds,
        "peak_memory_bytes": max(peaks, default=None),
        "steps": {name: origin["seconds"] for name, origin in origins.items()},
    }


if __name__ == "__main__":
    cli.run(main)
