"""The zip that is handed in: the same bytes each time, what belongs there and nothing else, and that it runs when unpacked."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest
from conftest import ROOT
from PIL import Image

from common import results, runtime
from report import submission

FAST_TEST = "tests/test_results.py"


def git(folder, *arguments):
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A checkout of its own with the files of this one as they are on disk, and a stand-in for a report that is not there yet."""
    names = results.git("ls-files", "-z")
    if names is None:
        if os.environ.get("CI"):
            pytest.fail("CI has to have a git checkout")
        pytest.skip("not a git checkout: nothing to pack from")
    copy = tmp_path_factory.mktemp("checkout")
    for name in names.strip("\0").split("\0"):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    if not (copy / submission.REPORT).exists():
        (copy / submission.REPORT).write_bytes(b"%PDF-1.7")
    git(copy, "init", "-q")
    git(copy, "add", "-A")
    git(copy, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "all")
    return copy


@pytest.fixture
def checkout(template):
    yield template
    git(template, "reset", "-q", "--hard")
    git(template, "clean", "-qfdx")


def run(folder, *arguments):
    """Runs a Python command in `folder`, with the code that lies there."""
    environment = os.environ | {"PYTHONPATH": str(folder), "CI": "true"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


@pytest.fixture
def make(checkout, monkeypatch, capsys):
    """Packs the checkout, as the script does it: exit status and what it printed. In this process, which saves loading PyTorch."""
    monkeypatch.setattr(results, "ROOT", checkout)
    monkeypatch.setattr(sys, "argv", ["submission.py"])

    def call() -> tuple[int, str, str]:
        status = 0
        try:
            runtime.run(submission.main)
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def refused(make, checkout):
    """Packs the checkout, which has to fail with one line and leave nothing: that line."""

    def call() -> str:
        status, out, line = make()
        assert (status, out) == (2, "") and not list(checkout.glob("submission.zip*"))
        assert line.startswith("error: ") and line.count("\n") == 1
        return line

    return call


def test_the_same_bytes_twice_and_what_is_in_them(checkout, make):
    path = checkout / "submission.zip"
    status, out, notes = make()
    assert status == 0 and out.startswith("wrote ") and notes == ""
    before = path.read_bytes()
    (checkout / "README.md").touch()
    (checkout / "Makefile").chmod(0o600)
    assert make()[0] == 0 and path.read_bytes() == before
    assert len(before) < submission.LARGEST
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert len({(info.date_time, info.external_attr) for info in archive.infolist()}) == 1
        names = [name.removeprefix("trust-the-map/") for name in archive.namelist()]
    tracked = git(checkout, "ls-files").splitlines()
    assert names == sorted(name for name in tracked if not name.startswith("."))
    expected = {
        "README.md",
        "Makefile",
        "requirements.txt",
        "requirements-test.txt",
        "pyproject.toml",
        FAST_TEST,
        submission.REPORT,
    }
    expected |= {"outputs/index.html", "outputs/q1_gradcam/model.pt", "outputs/q2_lime/text/svm.npz", "q2_lime/core.py"}
    assert expected <= {*names} and not any(name.startswith(("data/", ".")) or ".zip" in name for name in names)


def test_ignored_and_unknown_files_stay_out_and_changes_go_in(checkout, make):
    for name in ("data/cifar10.npz", "outputs/q2_lime/text/own/letter.json", ".venv/python", "outputs/x.state.pt"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_bytes(b"mine")
    git(checkout, "add", "--force", "data/cifar10.npz")  # tracked by mistake
    (checkout / "new.py").write_text("")
    (checkout / ".env").write_text("")
    (checkout / "README.md").write_text("the last evening\n")
    (checkout / "Makefile").write_text("all:\n")
    git(checkout, "add", "Makefile")
    status, _, notes = make()
    assert status == 0 and notes.splitlines() == [
        "note: packed as on disk, though not committed: Makefile, README.md",
        "note: left out, because git does not know: new.py",
    ]
    with zipfile.ZipFile(checkout / "submission.zip") as archive:
        assert archive.read("trust-the-map/README.md") == b"the last evening\n"
        names = archive.namelist()
    assert not any(
        part in name for name in names for part in ("cifar10.npz", "letter", ".venv", "new.py", ".env", "state")
    )


def test_what_is_refused(checkout, refused, monkeypatch, tmp_path):
    report = checkout / submission.REPORT
    report.rename(tmp_path / "report.pdf")
    assert "there is no report/report.pdf" in refused()
    shutil.copy(tmp_path / "report.pdf", report)
    (checkout / "common/data.py").unlink()
    assert "not plain files on disk" in (line := refused()) and line.endswith("common/data.py\n")
    git(checkout, "reset", "-q", "--hard")
    (checkout / "common/deploy.pem").write_text("")
    git(checkout, "add", "common/deploy.pem")
    assert "not to be handed in" in refused()
    git(checkout, "reset", "-q", "--hard")
    monkeypatch.setattr(submission, "LARGEST", 2_000_000)
    assert "but 2 are allowed" in refused()


def test_unpacked_elsewhere_it_runs(checkout, make, tmp_path):
    assert make()[0] == 0
    with zipfile.ZipFile(checkout / "submission.zip") as archive:
        archive.extractall(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["trust-the-map"]
    home = tmp_path / "trust-the-map"
    where = run(home, "-c", "from common import results; print(results.__file__, results.git('rev-parse', 'HEAD'))")
    assert where.stdout.split() == [str(home / "common/results.py"), "None"], where.stderr
    done = run(home, "q1_gradcam/explain.py", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: "), done.stderr
    shutil.copy(ROOT / "outputs/q1_gradcam/figures/worked_example.png", home / "picture.png")
    done = run(home, "q1_gradcam/explain.py", "--image", "picture.png")
    assert done.returncode == 0 and "picture.png looks like: " in done.stdout, done.stderr
    with Image.open(home / "outputs/q1_gradcam/own/picture.png") as figure:
        assert min(figure.size) > 200 and len(figure.getcolors(figure.width * figure.height)) > 100
    (home / "letter.txt").write_text("The shuttle reached its orbit; NASA is pleased with the launch.")
    done = run(home, "q2_lime/explain_text.py", "--text", "letter.txt")
    assert done.returncode == 0 and "svm: sci.space" in done.stdout, done.stderr
    done = run(home, "-m", "pytest", "-p", "no:cacheprovider", FAST_TEST)
    assert done.returncode == 0 and "passed" in done.stdout, done.stdout
    before = (home / submission.REPORT).read_bytes()
    done = run(home, "report/build.py")
    assert done.returncode == 0, done.stderr
    assert (home / submission.REPORT).read_bytes() == before, (
        f"the report of today is another one: run make report\n{done.stdout}"
    )
    done = run(home, "report/submission.py")
    assert done.returncode == 2 and "is no git checkout" in done.stderr and len(done.stderr.splitlines()) == 1
