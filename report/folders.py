"""Which files of a folder nobody answers for, and whether what a training says of itself fits what lies beside it."""

from pathlib import Path

from common import receipts, results
from common.runtime import UserError
from q1_gradcam.train import HALF_PRECISION_ABOVE

# Left by scripts without a receipt: checkpoints and what their training says (checked below), states of it, trials; a user's own things; what is
# made from the results to be read by people.
LEFT_OUT = ("model.pt", "training.json", "narrow.json", receipts.NAME, "index.html", "report.pdf")
LEFT_OUT_FOLDERS = ("own", "html", "gallery")
TIPPED = 1e-3  # of the test pictures, on another machine or with weights stored in 16 bits


def below(folder: Path) -> list[Path]:
    """The folders with receipts, from `folder` on down. Raises UserError where there are none."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}")
    found = sorted(path.parent for path in folder.rglob(receipts.NAME))
    if not found:
        raise UserError(f"there is no {receipts.NAME} in {folder} or below it: run a script that writes results first")
    return found


def faults(folder: Path, with_receipts: list[Path]) -> list[str]:
    """A line for each file from `folder` on down that no receipt answers for, and for each training that does not fit.

    A file is answered for by the receipts of the nearest folder above it that has some.
    """
    answered = {there: _answered(there) for there in with_receipts}
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name in ("training.json", "model.pt"):
            lines += [f"{results.shown(path.parent)}: {fault}" for fault in _training(path)]
        owner = next((parent for parent in path.parents if parent in answered), None)
        if owner is None and not _left_out(path.relative_to(folder)):
            lines.append(f"{results.shown(path)} has no receipt")
        elif owner and path.relative_to(owner).as_posix() not in answered[owner]:
            if not _left_out(path.relative_to(owner)):
                lines.append(f"{results.shown(path)} has no receipt")
    return lines


def _answered(folder: Path) -> set[str]:
    return {name for receipt in receipts.read(folder).values() for name in receipt.files}


def _left_out(path: Path) -> bool:
    """Whether a file, seen from the folder with receipts, is one that needs none."""
    hidden = any(part.startswith(".") for part in path.parts)
    half_written = path.suffix == ".part" or path.name.endswith(".state.pt")
    folders = set(LEFT_OUT_FOLDERS) & set(path.parts[:-1])
    return hidden or half_written or bool(folders) or path.name in LEFT_OUT


def _training(path: Path) -> list[str]:
    """What of a checkpoint, what its training says, and its evaluation does not fit; told at training.json, or where that is missing."""
    if path.name == "model.pt":
        return [] if path.with_name("training.json").is_file() else ["model.pt has no training.json beside it"]
    try:
        said = results.read_json(path)
        origin, first = said["provenance"], said["seeds"][0]
        found = receipts.changed(path.parent, {"model.pt": origin["checkpoint_sha256"]})
        lines = [f"model.pt is not the one that training.json is about ({found[0]})"] if found else []
        if not path.with_name("evaluation.json").is_file():
            return lines
        measured = results.read_json(path.with_name("evaluation.json"))
        same = receipts.made(origin)["made_with"]["hardware"] == measured["provenance"]["hardware"]
        off = 0.0 if same and said["parameters"] <= HALF_PRECISION_ABOVE else TIPPED
        for key in ("accuracy", "accuracy_mirror"):
            if not abs(first[key] - measured[key]) <= off:
                lines.append(f"training.json says {key} {first[key]}, evaluation.json {measured[key]}")
        return lines
    except (UserError, LookupError, TypeError, AttributeError) as error:
        return [f"training.json or evaluation.json can't be read as its script writes it ({error})"]
