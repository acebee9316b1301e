"""Packs what is handed in into submission.zip: everything that git tracks, as it lies on disk, and the report.

    python report/submission.py

Files are changed until the last evening, so changes that were not committed are packed too and named on stderr; so are files that git does not
know yet, because those are left out (`git add` takes them in). Hidden files and whatever .gitignore names stay out. Refused, with one line:
no report/report.pdf, no git checkout, a tracked file that is gone, a file that looks like a secret, more than 60 MB. The same files give the
same bytes.
"""

import sys
import zipfile
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from common import results, runtime

REPORT = "report/report.pdf"
LARGEST = 60_000_000  # bytes that may be handed in
FOLDER = "trust-the-map"  # what the zip unpacks to
SECRET = (
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "*.kdbx",
    "id_rsa*",
    "id_ed25519*",
    "*credentials*",
    "*secret*",
    "*password*",
)
TIME = (2000, 1, 1, 0, 0, 0)  # of every file, so that the day of packing leaves no trace
READABLE = 0o100644 << 16  # a plain file that everyone can read and its owner can change


def listed(*arguments: str) -> list[str]:
    """Paths that `git ls-files` gives, seen from the project's root."""
    return sorted(filter(None, (results.git("ls-files", "-z", *arguments) or "").split("\0")))


def hidden(name: str) -> bool:
    return any(part.startswith(".") for part in PurePosixPath(name).parts)


def contents() -> list[str]:
    """What goes into the zip, in order. Raises UserError where that can't be handed in."""
    tracked = listed()
    if not tracked:
        raise runtime.UserError(
            f"{results.ROOT} is no git checkout, and git knows what belongs into the zip: run it in a clone"
        )
    ignored = set(listed("--cached", "--ignored", "--exclude-standard"))
    names = sorted({REPORT, *tracked} - ignored)
    names = [name for name in names if not hidden(name)]
    if not (results.ROOT / REPORT).is_file():
        raise runtime.UserError(f"there is no {REPORT}: build it first")
    for problem, found in {
        "tracked by git, but not plain files on disk (git restore brings them back)": [
            name for name in names if not (results.ROOT / name).is_file() or (results.ROOT / name).is_symlink()
        ],
        "not to be handed in, by their names (git rm --cached takes them out)": [
            name for name in names if any(fnmatch(PurePosixPath(name).name.lower(), pattern) for pattern in SECRET)
        ],
    }.items():
        if found:
            raise runtime.UserError(f"{problem}: {', '.join(found)}")
    return names


def remarks(names: list[str]) -> list[str]:
    """What whoever hands it in should know: one line on each kind of doubtful file."""
    changed = {*(results.git("diff", "HEAD", "--name-only", "--relative", "-z") or "").split("\0")} & {*names}
    unknown = [name for name in listed("--others", "--exclude-standard") if name != REPORT and not hidden(name)]
    told = {"packed as on disk, though not committed": sorted(changed), "left out, because git does not know": unknown}
    return [f"{what}: {', '.join(found)}" for what, found in told.items() if found]


def pack(names: list[str], path: Path) -> Path:
    """Writes the zip, whole or not at all. Raises UserError where it is too large."""

    def write(file) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                info = zipfile.ZipInfo(f"{FOLDER}/{name}", TIME)
                info.create_system, info.external_attr, info.compress_type = 3, READABLE, zipfile.ZIP_DEFLATED
                archive.writestr(info, (results.ROOT / name).read_bytes(), compresslevel=6)
        if file.tell() > LARGEST:
            raise runtime.UserError(
                f"the zip would have {file.tell() / 1e6:.0f} MB, but {LARGEST / 1e6:.0f} are allowed: leave out large files"
            )

    return results.write_whole(path, write)


def main() -> None:
    runtime.Parser(__doc__).parse_args()
    names = contents()
    path = pack(names, results.ROOT / "submission.zip")
    for line in remarks(names):
        print(f"note: {line}", file=sys.stderr)
    print(f"wrote {results.shown(path)}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    runtime.run(main)
