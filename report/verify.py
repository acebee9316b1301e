"""Checks explanations: whether their files are as they were written, and whether they come out again.

    python report/verify.py                          everything below outputs
    python report/verify.py outputs/q1_gradcam       one folder and those in it
    python report/verify.py --sample 5               five explanations of each folder, drawn by seed, instead of all

For each folder with a receipt (receipts.json, which the explaining scripts write) it says

1. which of the receipt's files (figures, results) are missing or changed, and whether checkpoint and data are those it was made from;
2. what is different from then: code, versions, device. This decides one thing, how equal is equal. On the same processor with the same
   code and versions results have to be the same bit for bit: arrays every bit, numbers in JSON to the 6 digits that are kept. Elsewhere
   numbers may differ by 1e-4 of themselves, values of an array by 1e-4 of the largest: sums of 32-bit numbers (each good to 6e-8) come out in
   another order there, and what that does grows through the layers; a GPU does not promise the same bits at all;
3. which explanations, drawn and computed again from the stored seed, are not the same.

Exit status 0: all the same; 1: something differs; 2: it could not be checked (no folder, no receipt, no data). Pictures on which LIME was run
take longest, some 10 to 20 seconds each on two CPU cores; 20newsgroups and CIFAR-10 are downloaded where they are not in --data.
"""

import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from common import memory, receipts, results, runtime
from report import again, differences

TOLERANCE = 1e-4


def arguments():
    parser = runtime.Parser(__doc__)
    add = parser.add_argument
    add("folders", nargs="*", type=Path, default=[results.OUTPUTS], metavar="FOLDER", help="default: outputs")
    add("--sample", type=runtime.positive, metavar="N", help="explanations of each folder (default: all)")
    add("--seed", type=int, default=0, metavar="N", help="of the draw for --sample (default: 0)")
    add("--verbose", action="store_true", help="a line for each explanation")
    parser.data_option("the data are or go")
    add("--device", metavar="NAME", help="auto, cpu, cuda or mps (default: the one of then where there is one)")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    memory.keep_freed()
    folders = [folder for given in args.folders for folder in with_explanations(given)]
    for folder in folders:
        receipts.read(folder)  # a folder without its receipt is told before any work is spent
    good = [check(folder, args) for folder in dict.fromkeys(folders)]
    sys.exit(0 if all(good) else 1)


def with_explanations(folder: Path) -> list[Path]:
    """The folders with explanations, or with the receipt of some, from `folder` on down."""
    if not folder.is_dir():
        raise runtime.UserError(f"there is no folder {folder}")
    found = {path.parent for name in ("explanations.json", receipts.NAME) for path in folder.rglob(name)}
    if not found:
        raise runtime.UserError(f"there are no explanations in {folder}: run a script that explains first")
    return sorted(found)


def check(folder: Path, args: Namespace) -> bool:
    """Checks one folder, says what came out, and returns whether all is the same."""
    started, name = time.perf_counter(), results.shown(folder)
    receipt, asked = receipts.read(folder)
    asked.data = args.data
    script, made_from = again.script(receipt["script"], asked), receipt["made_from"]
    faults = receipts.changed(folder, receipt["files"])
    weights = {
        results.shown(path): made_from.get(key) for key, path in again.checkpoints(receipt["script"], asked).items()
    }
    bad_weights = receipts.changed(Path(), weights)
    samples, origin = read_explanations(folder / "explanations.json")
    for fault in [*faults, *bad_weights]:
        print(f"{name}: {fault}")
    if bad_weights or samples is None:
        print(f"{name}: nothing made again, as there is nothing to make it from or to compare it with")
        return False

    device = device_for(args.device, origin["device"])
    work = script.make(asked, device)
    other = [key.removesuffix("_sha256") for key, digest in work.made_from.items() if digest != made_from.get(key)]
    for key in other:
        print(f"{name}: the {key} are not those that the explanations were made from")
    if len(samples) != work.n:
        print(f"{name}: explanations.json has {len(samples)} explanations, but {work.n} are drawn")
    if "weights" in other:
        return False
    others = other_than_then(origin, device)
    if others:
        print(f"{name}: not as it was then: {'; '.join(others)}")
    tolerance = 0.0 if not others and device.type == "cpu" else TOLERANCE
    all_same = compare_all(name, work, samples, folder / "explanations.npz", tolerance, args, started)
    return all_same and not faults and not other and len(samples) == work.n


def compare_all(name: str, work: again.Work, samples: list, file: Path, tolerance: float, args, started: float) -> bool:
    """Makes explanations again, one by one, says which are not the same, and returns whether all are."""
    chosen = choose(min(len(samples), work.n), args.sample, args.seed)
    arrays, sizes = read_arrays(file), []
    for k in tqdm(chosen, disable=not runtime.interactive(), leave=False):
        found, its_arrays = work.sample(k)
        differ = list(differences.differences(results.plain(found), samples[k]))
        for key, array in its_arrays.items():
            differ += differences.of_arrays(array, pick(arrays, key), key if isinstance(key, str) else key[0])
        sizes.append(max((size for _, size in differ), default=0.0))
        if args.verbose or sizes[-1] > tolerance:
            what = " ".join(str(found[key]) for key in ("model", "true", "index") if key in found)
            said = [f"{text} (off by {size:.0e})" if np.isfinite(size) else text for text, size in differ[:3]]
            said += [f"and {len(differ) - 3} more"] if len(differ) > 3 else []
            print(f"{name}: {what}: {'; '.join(said) or 'the same'}")
    equal, same = sizes.count(0.0), sum(size <= tolerance for size in sizes)
    exactly = "bit for bit" if arrays else "to the last digit written"
    how = f", {exactly}" if equal == same else f", {equal} of them {exactly}, the others within {tolerance:.0e}"
    took = f"{time.perf_counter() - started:.0f} seconds"
    print(f"{name}: {same} of {len(chosen)} the same{how if same else ''} ({took})")
    return same == len(chosen)


def device_for(name: str | None, then: str) -> torch.device:
    """The device asked for; else that of then, where this machine has one."""
    if name:
        return runtime.pick_device(name)
    try:
        return runtime.pick_device(then)
    except runtime.UserError:
        return runtime.pick_device("auto")


def other_than_then(origin: dict, device: torch.device) -> list[str]:
    """What is not as it was when the explanations were made, in words."""
    now = results.provenance(0, device)
    pairs = [(key, then, now["versions"].get(key)) for key, then in origin["versions"].items()]
    pairs += [(key, origin[key], now[key]) for key in ("device", "hardware")]
    others = [f"{key} {then}, now {new}" for key, then, new in pairs if then != new]
    return others + [key for key, digest in origin["code"].items() if results.CODE_AT_START.get(key) != digest]


def choose(n: int, wanted: int | None, seed: int) -> list[int]:
    """Which explanations to make again: all, or as many as wanted, at random by seed."""
    if wanted is None or wanted >= n:
        return list(range(n))
    return sorted(np.random.default_rng(runtime.seed_for(seed, "verify")).permutation(n)[:wanted].tolist())


def read_explanations(path: Path) -> tuple[list | None, dict]:
    """The explanations in a results file and its provenance; None where it can't be read or lacks them."""
    try:
        stored = results.read_json(path)
        samples, origin = stored["samples"], stored["provenance"]
        origin["versions"].items(), origin["code"].items(), origin["device"], origin["hardware"]
    except (runtime.UserError, AttributeError, LookupError, TypeError):
        return None, {}
    return (samples, origin) if isinstance(samples, list) else (None, {})


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file, or none where it can't be read, which its hash tells already."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception:  # what it raises depends on which byte is wrong
        return {}


def pick(arrays: dict[str, np.ndarray], key: str | tuple[str, int]) -> np.ndarray | None:
    """An array by its name, or one row of it by name and number."""
    if isinstance(key, str):
        return arrays.get(key)
    name, k = key
    return arrays[name][k] if name in arrays and k < len(arrays[name]) else None


if __name__ == "__main__":
    runtime.run(main)
