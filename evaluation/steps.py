"""Minutes and peak memory of the commands of `make report`, on one or more processors.

    python evaluation/steps.py                    of the results in outputs/
    python evaluation/steps.py ../COPY/outputs    and of those that another processor wrote

Reads what results files record about the runs that wrote them. To imitate a processor with older
instructions, run `make report` in a copy of the project with ATEN_CPU_CAPABILITY=avx2 and
ONEDNN_MAX_CPU_ISA=AVX2 in the environment. Writes OUT/steps.json. OUT is outputs/evaluation.
"""

from pathlib import Path
from typing import Any

from common import cli, results

import torch

FOLDERS = ("q1_gradcam", "q2_lime/images", "q2_lime/text", "evaluation")
STEPS = (  # ends of commands
    "q1_gradcam/evaluate.py",
    "q1_gradcam/explain.py",
    "q2_lime/explain.py",
    "q2_lime/explain_text.py",
    "evaluation/run.py",
    "evaluation/compare.py",
)


def main() -> None:
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("folders", nargs="*", type=Path, metavar="DIR", help="outputs of other processors")
    add("--out", type=Path, default=results.OUTPUTS / "evaluation", metavar="DIR")
    args = parser.parse_args()
    folders = results.OUTPUTS, *args.folders
    rows = [row for folder in folders for step in STEPS for row in costs(folder, step)]
    for row in rows:
        minutes, memory = row["seconds"] / 60, row["peak_memory_bytes"] / 1e9
        print(f"{row['hardware']}: {row['command']}: {minutes:.1f} min, {memory:.1f} GB")
    content = {"rows": rows, "provenance": results.provenance(0, torch.device("cpu"))}
    print(f"wrote {results.shown(results.write_json(args.out / 'steps.json', content))}")


def costs(outputs: Path, ends: str | tuple[str, ...]) -> list[dict[str, Any]]:
    """Seconds and peak memory of each command that wrote results below `outputs` and ends so."""
    runs: dict[tuple[str, str], set] = {}
    for path in sorted(path for folder in FOLDERS for path in (outputs / folder).glob("*.json")):
        with results.reading(path):
            origin = results.read_json(path)["provenance"]
            if origin["command"].endswith(ends):
                run = runs.setdefault((origin["command"], origin["hardware"]), set())
                # A set, because files that are written at the same time record the same.
                run.add((origin["seconds"], origin["peak_memory_bytes"] or 0))
    rows = []
    for (command, hardware), run in runs.items():
        seconds, memory = zip(*run, strict=True)
        row = {"command": command, "hardware": hardware, "seconds": sum(seconds)}
        rows.append(row | {"peak_memory_bytes": max(memory)})
    return rows


if __name__ == "__main__":
    cli.run(main)
