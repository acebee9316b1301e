"""Checks results: whether their files are as they were written, and whether explanations and summaries come out again.

    python report/verify.py                          everything below outputs
    python report/verify.py outputs/q1_gradcam       one folder and those in it
    python report/verify.py --sample 5               five explanations of each folder, drawn by seed, instead of all

Scripts leave receipts (receipts.json) beside their results: what was asked for, what it was made from and with, and every file's hash. This says

1. which files are missing, changed, or there without a receipt; whether checkpoint and data are those of then; whether training.json fits them;
2. what is different from then: code, versions, device. This decides one thing, how equal is equal, and the line that says so names it. On the same
   processor with the same code and versions results have to be the same bit for bit: arrays every bit, numbers in JSON to the 6 digits that are
   kept. Elsewhere numbers may differ by 1e-4 of themselves, values of an array by 1e-4 of the largest: sums of 32-bit numbers (each good to
   6e-8) come out in another order there, and what that does grows through the layers; a GPU does not promise the same bits at all. Accuracies
   and counts may differ by 2e-3 there, as a picture between two classes may tip;
3. which explanations, drawn and computed again from the stored seed, are not the same; and which summaries: accuracies are measured again, medians
   and counts taken again over the explanations, means, intervals and verdicts of the trust tests over the scores picture by picture;
4. what is not made again (benchmarks, ablations, the scores of the trust tests), and the command that would. Its files are compared with their
   hashes alone: whoever changes file and receipt together is not found out there.

Exit status 0: all the same; 1: something differs; 2: it could not be checked (no folder, no receipts, no data). Pictures on which LIME was run
take longest, some 10 to 20 seconds each on two CPU cores; 20newsgroups and CIFAR-10 are downloaded where they are not in --data.
"""

import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from common import memory, receipts, results, runtime
from common.reading import reading
from common.receipts import Receipt
from report import again, asked, differences, folders
from report.work import TOLERANCE, Work

MOST = 3  # files with other code that are named


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
    faults, work = [], {}
    for given in args.folders:
        found = folders.below(given)
        faults += folders.faults(given, found)
        for folder in found:  # what is no receipt is told before any work is spent
            work[folder.resolve()] = [
                (folder, receipt, asked.of(receipt, folder, args.data)) for receipt in receipts.read(folder).values()
            ]
    for fault in dict.fromkeys(faults):
        print(fault, flush=True)
    good = [check(*each, args) for receipts_there in work.values() for each in receipts_there]
    sys.exit(0 if all(good) and not faults else 1)


def check(folder: Path, receipt: Receipt, given: Namespace, args: Namespace) -> bool:
    """Checks what one receipt answers for, says what came out, and returns whether all is the same."""
    name = f"{results.shown(folder)}: {receipt.key}"

    def say(text: str) -> None:
        print(f"{name}: {text}", flush=True)

    faults = [*receipts.changed(folder, receipt.files), *other_origins(folder, receipt)]
    sources = {
        results.shown(path): receipt.made_from.get(key) for key, path in again.sources(receipt.key, given).items()
    }
    bad_sources = receipts.changed(Path(), sources)
    for fault in [*faults, *bad_sources]:
        say(fault)
    not_here = f"not made again here (run {receipt.command})"
    as_written = f"{len(receipt.files)} files as written" if len(receipt.files) > 1 else "1 file as written"
    as_written = "" if faults else f"{as_written}; "
    if receipt.key not in again.MAKERS:
        say(as_written + not_here)
        return not faults and not bad_sources
    if bad_sources:
        say("nothing made again, as there is nothing to make it from")
        return False

    device = device_for(args.device, receipt.made_with["device"])
    work = again.MAKERS[receipt.key](given, device)
    if not work.files:
        say(as_written + not_here)
        return not faults
    others = [key.removesuffix("_sha256") for key, now in work.made_from.items() if now != receipt.made_from.get(key)]
    for key in others:
        say(f"the {key} are not those that this was made from")
    if "weights" in others:
        return False
    tolerance, why = how_equal(receipt, device, work)
    say(why)
    same = [compare_samples(say, folder, receipt, work, tolerance > 0, args)] if work.n else []
    for file, make in work.files.items():
        if file in work.slow and args.sample:
            say(f"{file}: left out with --sample")
        elif file not in receipt.files:
            say(f"{file} is not in its receipt")
            same.append(False)
        else:
            same.append(compare_file(say, folder / file, make, tolerance))
    if work.rest:
        say(f"{work.rest}: {not_here}")
    return all(same) and not faults and not others


def other_origins(folder: Path, receipt: Receipt) -> list[str]:
    """A line for each results file of a receipt whose own provenance is not the receipt's."""
    lines = [] if receipt.command.split()[1:2] == [receipt.script] else [f"the receipt is of {receipt.command}"]
    for name in receipt.files:
        if not name.endswith(".json") or not (folder / name).is_file():
            continue
        try:
            origin = results.read_json(folder / name)["provenance"]
            said = receipts.made(origin) | {"command": origin["command"]}
        except (runtime.UserError, AttributeError, LookupError, TypeError):
            lines.append(f"{name} does not say where it comes from")
            continue
        differ = [key.replace("_", " ") for key, value in said.items() if value != getattr(receipt, key)]
        if differ:
            lines.append(f"{name} says something else of {' and '.join(differ)} than the receipt")
    return lines


def how_equal(receipt: Receipt, device: torch.device, work: Work) -> tuple[float, str]:
    """How far numbers of results files may be off, and why, in words."""
    others = other_than_then(receipt.made_with, device)
    if not others and device.type == "cpu":
        return 0.0, "has to be the same bit for bit: code, versions and processor are those of the receipt"
    others = others or [f"a {device.type} device does not promise the same bits"]
    return work.loose, f"may be off by {work.loose:.0e}, since it is not as it was then: {'; '.join(others)}"


def other_than_then(made_with: dict[str, Any], device: torch.device) -> list[str]:
    """What is not as it was when the results were made, in words."""
    now = results.provenance(0, device)
    pairs = [(key, then, now["versions"].get(key)) for key, then in made_with["versions"].items()]
    pairs += [(key, None, new) for key, new in now["versions"].items() if key not in made_with["versions"]]
    pairs += [(key, made_with[key], now[key]) for key in ("device", "hardware")]
    others = [f"{key} {then}, now {new}" for key, then, new in pairs if then != new]
    code = [key for key, digest in made_with["code"].items() if results.CODE_AT_START.get(key) != digest]
    more = f" and {len(code) - MOST} more files" if len(code) > MOST else ""
    return others + ([f"other code in {', '.join(code[:MOST])}{more}"] if code else [])


def compare_samples(say, folder: Path, receipt: Receipt, work: Work, elsewhere: bool, args: Namespace) -> bool:
    """Makes explanations again, one by one, says which are not the same, and returns whether all are."""
    samples = read_samples(folder / "explanations.json")
    if samples is None:
        say("no explanation made again, as there is nothing to compare it with")
        return False
    if len(samples) != work.n:
        say(f"explanations.json has {len(samples)} explanations, but {work.n} are drawn")
    figures = {str(sample.get("figure")) for sample in samples if isinstance(sample, dict)}
    unlisted = sorted(figures - receipt.files.keys())
    for figure in unlisted:
        say(f"{figure} is not in its receipt")
    tolerance = TOLERANCE if elsewhere else 0.0
    chosen = choose(min(len(samples), work.n), args.sample, args.seed)
    arrays, sizes = read_arrays(folder / "explanations.npz"), []
    for k in tqdm(chosen, disable=not runtime.interactive(), leave=False):
        found, its_arrays = work.sample(k)
        differ = list(differences.differences(results.plain(found), samples[k]))
        for key, array in its_arrays.items():
            differ += differences.of_arrays(array, pick(arrays, key), key if isinstance(key, str) else key[0])
        sizes.append(max((size for _, size in differ), default=0.0))
        if args.verbose or sizes[-1] > tolerance:
            what = " ".join(str(found[key]) for key in ("model", "true", "index") if key in found)
            say(f"{what}: {differences.in_words(differ) or 'the same'}")
    same = sum(size <= tolerance for size in sizes)
    how = in_words(sizes, tolerance, "bit for bit" if arrays else "to the last digit written") if same else ""
    say(f"{same} of {len(chosen)} explanations the same{how}")
    return same == len(chosen) and len(samples) == work.n and not unlisted


def compare_file(say, path: Path, make, tolerance: float) -> bool:
    """Makes again what a results file says, but for its explanations, says what differs, and returns whether all is the same."""
    try:
        stored = results.read_json(path)
        with reading(path):
            found = results.plain(make(stored))
            apart = {"provenance", "samples"} - found.keys()  # the explanations are compared one by one
            said = {key: value for key, value in stored.items() if key not in apart}
    except runtime.UserError as error:
        say(f"{path.name} not made again: {error}")
        return False
    differ = list(differences.differences(found, said))
    size = max((size for _, size in differ), default=0.0)
    if size > tolerance:
        say(f"{path.name}: {differences.in_words(differ)}")
        return False
    say(f"{path.name} the same{in_words([size], tolerance, 'to the last digit written')}")
    return True


def in_words(sizes: list[float], tolerance: float, exactly: str) -> str:
    """How far what is the same is the same."""
    equal, same = sizes.count(0.0), sum(size <= tolerance for size in sizes)
    if equal == same:
        return f", {exactly}"
    return (
        f", {equal} of them {exactly}, the others within {tolerance:.0e}"
        if len(sizes) > 1
        else f" within {tolerance:.0e}"
    )


def device_for(name: str | None, then: str) -> torch.device:
    """The device asked for; else that of then, where this machine has one."""
    if name:
        return runtime.pick_device(name)
    try:
        return runtime.pick_device(then)
    except runtime.UserError:
        return runtime.pick_device("auto")


def choose(n: int, wanted: int | None, seed: int) -> list[int]:
    """Which explanations to make again: all, or as many as wanted, at random by seed."""
    if wanted is None or wanted >= n:
        return list(range(n))
    return sorted(np.random.default_rng(runtime.seed_for(seed, "verify")).permutation(n)[:wanted].tolist())


def read_samples(path: Path) -> list | None:
    """The explanations in a results file; None where it can't be read or lacks them."""
    try:
        samples = results.read_json(path)["samples"]
    except (runtime.UserError, LookupError, TypeError):
        return None
    return samples if isinstance(samples, list) else None


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
