"""Training: the parts against closed forms, and a run that survives being killed."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from common import models, results, synthetic
from q1_gradcam import ablate, calibration, cost, loader, optimizers, recipes


def test_orthogonalise_brings_singular_values_near_one_and_keeps_the_directions():
    torch.manual_seed(0)
    for shape in ((16, 144), (64, 27)):
        matrix = torch.randn(shape)
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        matrix = (
            u @ torch.diag(torch.linspace(1, 0.1, len(v))) @ v
        )  # the largest direction ten times the smallest
        before = torch.linalg.svdvals(matrix)
        result = optimizers.orthogonalize(matrix, steps=5)
        assert ((torch.linalg.svdvals(result) - 1).abs() < 0.35).all()
        result = optimizers.orthogonalize(
            matrix
        )  # three steps, as in training: evener by far than it was
        after = torch.linalg.svdvals(result)
        assert after.max() < 1.3 and after.min() / after.max() > 3 * before.min() / before.max()
        diagonal = u.T @ result @ v.T
        assert (diagonal - torch.diag(diagonal.diagonal())).abs().max() < 1e-3


def test_muon_steps_from_renormalised_filters_along_the_orthogonal_momentum():
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(4, 3, 3, 3))
    start, gradients = p.detach().clone(), [torch.randn_like(p) for _ in range(2)]
    muon = optimizers.Muon([p], lr=0.1, momentum=0.6)
    expected, buffer = start, torch.zeros_like(start)
    for gradient in gradients:
        p.grad = gradient.clone()
        muon.step()
        buffer = 0.6 * buffer + gradient
        direction = optimizers.orthogonalize((gradient + 0.6 * buffer).reshape(4, 27)).view_as(p)
        expected = expected * 2 / expected.norm() - 0.1 * direction
    assert torch.allclose(p, expected, atol=1e-6)


def test_whitening_makes_patches_uncorrelated():
    torch.manual_seed(0)
    pictures = torch.nn.functional.avg_pool2d(
        torch.randn(50, 3, 34, 34), 3, 1
    )  # neighbours resemble each other
    layer = models.PatchWhitening()
    layer.fit(pictures, eps=0.0)
    with torch.no_grad():
        answers = layer(pictures)
    assert answers.shape == (50, 24, 32, 32)
    assert torch.allclose(answers[:, :12], -answers[:, 12:], atol=1e-5)
    flat = answers[:, :12, :-1, :-1].permute(1, 0, 2, 3).flatten(1)  # without the replicated border
    assert torch.allclose(flat @ flat.T / flat.size(1), torch.eye(12), atol=1e-3)


def test_rates_go_up_and_down_as_the_recipe_says():
    network = models.build("compact", 10, (0.5,) * 3, (0.2,) * 3, {"widths": (8, 8, 8)})
    chosen = recipes.recipe("compact", "cifar10", 10) | {"warmup": 2.0}
    both = optimizers.make(network, chosen)
    trained = {id(p) for o in both for group in o.param_groups for p in group["params"]}
    assert trained == {id(p) for p in network.parameters() if p.requires_grad}, (
        "each parameter, once"
    )

    def rates(epoch):
        optimizers.set_rates(both, chosen, epoch)
        return {group.get("name", "muon"): group["lr"] for o in both for group in o.param_groups}

    assert rates(1.0)["muon"] == pytest.approx(chosen["lr"] / 2)
    assert rates(6.0)["muon"] == pytest.approx(chosen["lr"] / 2)
    assert rates(6.0)["head"] == pytest.approx(chosen["head_lr"] * chosen["batch"] / 2)
    assert rates(10.0)["muon"] == pytest.approx(0)
    assert (
        rates(1.5)["whitening bias"] == pytest.approx(chosen["bias_lr"] * 250)
        and rates(4.0)["whitening bias"] == 0
    )


def test_rates_of_biases_and_head_are_for_the_sum_of_the_losses():
    """Two steps from the mean loss are two plain Nesterov steps, with weight decay, from the summed loss at the recipe's rates."""
    torch.manual_seed(0)
    network = models.build("compact", 10, (0.5,) * 3, (0.2,) * 3, {"widths": (8, 8, 8)}).eval()
    chosen = recipes.recipe("compact", "cifar10") | {"batch": 16}
    p = network.body.head.weight
    twin = torch.nn.Parameter(p.detach().clone())
    decay = chosen["decay_per_picture"] * 16 / chosen["head_lr"]
    plain = torch.optim.SGD(
        [twin], lr=chosen["head_lr"], momentum=chosen["momentum"], nesterov=True, weight_decay=decay
    )
    steps = optimizers.make(network, chosen)
    for _ in range(2):
        x, y = torch.rand(16, 8), torch.randint(0, 10, (16,))
        for weight, optimiser, reduction in ((p, steps[0], "mean"), (twin, plain, "sum")):
            network.zero_grad()
            twin.grad = None
            torch.nn.functional.cross_entropy(x @ weight.T, y, reduction=reduction).backward()
            optimiser.step()
    assert torch.allclose(p, twin, rtol=1e-4, atol=1e-5)


def numbered_pictures(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures that tell their number (red), row (green) and column (blue)."""
    images = np.zeros((n, 32, 32, 3), np.uint8)
    images[..., 0] = np.arange(n)[:, None, None]
    images[..., 1], images[..., 2] = np.arange(32)[:, None], np.arange(32)
    return images, np.arange(n).astype(np.uint8)


def test_batches_move_and_mirror_whole_pictures():
    images, labels = numbered_pictures(200)
    source = loader.Batches(
        images, labels, 50, translate=2, flip=True, seed=5, device=torch.device("cpu")
    )
    mirrored, seen = [], []
    for epoch in range(2):
        directions = {}
        for x, y in source.epoch(epoch, 32):
            x = (x * 255).round().long()
            assert (x[:, 0] == y[:, None, None]).all(), "a picture belongs to its label"
            columns, rows = x[:, 2, 16, 3:-3].diff(dim=1), x[:, 1, 3:-3, 16].diff(dim=1)
            assert (columns.abs() == 1).all() and (rows == 1).all(), "moved whole"
            assert ((x[:, 1, 16, 16] - 16).abs() <= 2).all()
            directions |= dict(zip(y.tolist(), (columns[:, 0] < 0).tolist(), strict=True))
        assert sorted(directions) == list(range(200)), "each picture once an epoch"
        seen.append(list(directions))
        mirrored.append(np.array([directions[k] for k in range(200)]))
    assert (mirrored[0] ^ mirrored[1]).all(), (
        "alternating flip: each picture both ways in two epochs"
    )
    assert 60 < mirrored[0].sum() < 140 and seen[0] != seen[1]


def test_an_epoch_depends_on_seed_and_number_alone():
    images, labels = numbered_pictures(100)

    def epoch(number, seed=5):
        source = loader.Batches(
            images, labels, 50, translate=2, flip=True, seed=seed, device=torch.device("cpu")
        )
        return torch.cat([x for x, _ in source.epoch(number, 24)])

    assert torch.equal(epoch(3), epoch(3)) and epoch(3).shape == (100, 3, 24, 24)
    assert not torch.equal(epoch(3), epoch(4)) and not torch.equal(epoch(3), epoch(3, seed=6))


def test_flop_count_of_the_compact_network_by_hand():
    """Multiply-adds of each layer, twice; the backward pass costs the same again for weights and for inputs, except that the
    frozen first layer needs neither, and the second no input gradient but for the whitening bias."""
    widths = (8, 16, 24)
    network = models.build("compact", 10, (0.5,) * 3, (0.2,) * 3, {"widths": widths}).eval()
    whiten = 12 * 24 * 32 * 32
    stages = 9 * (
        24 * 8 * 1024 + 8 * 8 * 256 + 8 * 16 * 256 + 16 * 16 * 64 + 16 * 24 * 64 + 24 * 24 * 64
    )
    forward = 2 * (whiten + stages + 24 * 10)
    per_image, per_step = cost.count_flops(network, {"sides": [24, 32]})
    assert per_image == forward
    assert per_step[32] == forward + 2 * 2 * (stages + 24 * 10)
    assert per_step[24] == pytest.approx(per_step[32] * (24 / 32) ** 2, rel=0.01)


def test_temperature_is_found_again():
    """Logits that are three times as sure as the labels drawn from them bear out."""
    random = torch.Generator().manual_seed(0)
    honest = 2 * torch.randn(20000, 10, generator=random)
    labels = torch.multinomial(honest.softmax(1), 1, generator=random)[:, 0].numpy()
    assert calibration.fit_temperature(3 * honest, labels) == pytest.approx(3, rel=0.05)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, False, True, True])
    # bins of a tenth: 2 pictures off by 0.45, 2 off by 0.45
    assert calibration.expected_calibration_error(confidence, correct, bins=10) == pytest.approx(
        0.45
    )
    assert calibration.reliability(confidence, correct, bins=10)["accuracy"][9] == 0.5
    assert calibration.expected_calibration_error(np.ones(3), np.ones(3, bool)) == 0


@pytest.mark.parametrize("arch", ["resnet18", "vgg16"])
def test_the_large_networks_learn_by_their_recipe(arch):
    """Twenty steps on forty pictures at a tenth of the rate: the loss falls to less than half."""
    torch.manual_seed(0)
    drawn = synthetic.make_shapes(40, seed=3)
    x, y = models.to_input(drawn.images), torch.from_numpy(drawn.labels).long()
    chosen = recipes.recipe(arch, "cifar10")
    network = models.build(arch, 10, (0.5,) * 3, (0.2,) * 3, chosen["options"])
    steps = optimizers.make(network, chosen | {"lr": chosen["lr"] / 10})
    losses = []
    for _ in range(20):
        loss = torch.nn.functional.cross_entropy(network(x), y)
        network.zero_grad()
        loss.backward()
        for step in steps:
            step.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("arch", ["resnet18", "vgg16"])
def test_the_large_networks_train_on_a_few_hundred_pictures(arch, tmp_path, script):
    done = script(
        "q1_gradcam/train.py",
        "--dataset",
        "shapes",
        "--arch",
        arch,
        "--train-size",
        256,
        "--epochs",
        1,
        "--held-out",
        100,
        "--out",
        tmp_path,
        "--device",
        "cpu",
    )
    assert done.returncode == 0, done.stderr
    model = models.load(tmp_path / "model.pt")
    assert models.logits(model.network, np.zeros((2, 32, 32, 3), np.uint8)).isfinite().all()
    parameters = results.read_json(tmp_path / "training.json")["parameters"]
    assert (tmp_path / "model.pt").stat().st_size < 2.1 * parameters, "16-bit weights"


QUICK = (
    "--dataset",
    "shapes",
    "--train-size",
    800,
    "--epochs",
    3,
    "--held-out",
    100,
    "--device",
    "cpu",
)
KILLED = """
import os, runpy, signal, sys
from q1_gradcam import loader
epoch = loader.Batches.epoch
def killed(self, number, side):
    for k, batch in enumerate(epoch(self, number, side)):
        if number == 1 and k == 3:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
        yield batch
loader.Batches.epoch = killed
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_killed_run_resumes_to_the_same_weights(tmp_path, script):
    """kill -9 in the middle of the second epoch; the resumed run ends bit for bit where an unbroken one ends."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert script("q1_gradcam/train.py", *QUICK, "--out", whole).returncode == 0
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(ROOT / "q1_gradcam/train.py"),
        *map(str, QUICK),
        "--out",
        str(broken),
    ]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (
        killed.returncode != 0
        and "epoch  1/3" in killed.stdout
        and "epoch  2/3" not in killed.stdout
    ), killed.stderr
    assert (broken / "seed0.state.pt").is_file() and not (broken / "model.pt").exists()

    other = script("q1_gradcam/train.py", *QUICK, "--train-size", 700, "--out", broken, "--resume")
    assert other.returncode == 2 and "other settings" in other.stderr
    resumed = script("q1_gradcam/train.py", *QUICK, "--out", broken, "--resume")
    assert resumed.returncode == 0 and "going on after epoch 1" in resumed.stdout, resumed.stderr
    states = [models.load(folder / "model.pt").network.state_dict() for folder in (whole, broken)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert {path.name for path in broken.iterdir()} == {"model.pt", "training.json"}
    losses = [
        [row["loss"] for row in results.read_json(folder / "training.json")["history"]]
        for folder in (whole, broken)
    ]
    assert losses[0] == losses[1]


def test_resuming_a_run_of_several_seeds(tmp_path, script):
    """Killed in the second seed: the first is not trained again. Resuming what is finished starts afresh."""
    quick = (
        "q1_gradcam/train.py",
        *QUICK[:-4],
        "--epochs",
        2,
        "--train-size",
        300,
        "--out",
        tmp_path,
        "--held-out",
        100,
    )
    command = [
        sys.executable,
        "-c",
        KILLED.replace("number == 1", "self.seed == 5 and number == 1").replace("k == 3", "k == 1"),
    ]
    command += [str(ROOT / quick[0]), *map(str, quick[1:]), "--seeds", "3", "5"]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode != 0 and "seed 3: test" in killed.stdout, killed.stderr
    first = results.sha256(tmp_path / "model.pt")
    resumed = script(*quick, "--seeds", 3, 5, "--resume")
    assert (
        resumed.returncode == 0
        and "seed 3" not in resumed.stdout
        and "seed 5: test" in resumed.stdout
    ), resumed.stderr
    found = results.read_json(tmp_path / "training.json")
    assert [row["seed"] for row in found["seeds"]] == [3, 5] and found["seed"] == 3
    assert (
        results.sha256(tmp_path / "model.pt") == first == found["provenance"]["checkpoint_sha256"]
    )
    assert found["mean"]["accuracy"] == pytest.approx(
        np.mean([row["accuracy"] for row in found["seeds"]]), rel=1e-5
    )
    afresh = script(*quick, "--seeds", 3, "--resume")
    assert "seed 3: test" in afresh.stdout and results.sha256(tmp_path / "model.pt") == first


def test_seeds_are_added_to_a_finished_training(tmp_path, script):
    """The network and the first rows stay; other settings are refused."""
    quick = (
        "q1_gradcam/train.py",
        "--dataset",
        "shapes",
        "--train-size",
        300,
        "--held-out",
        100,
        "--out",
        tmp_path,
        "--device",
        "cpu",
    )
    assert script(*quick, "--epochs", 1, "--seeds", 3).returncode == 0
    network, before = (
        (tmp_path / "model.pt").read_bytes(),
        json.loads((tmp_path / "training.json").read_text()),
    )
    refused = script(*quick, "--epochs", 2, "--seeds", 4, "--add")
    assert refused.returncode == 2 and "other settings" in refused.stderr
    assert script(*quick, "--epochs", 1, "--seeds", 3, 4, "--add").returncode == 0
    after = json.loads((tmp_path / "training.json").read_text())
    assert [row["seed"] for row in after["seeds"]] == [3, 4] and after["seeds"][0] == before[
        "seeds"
    ][0]
    assert (
        (tmp_path / "model.pt").read_bytes() == network
        and after["history"] == before["history"]
        and after["seed"] == 3
    )


def test_alternatives_are_compared_with_the_usual_recipe_picture_by_picture():
    """Usual: right on 60 of 100; the alternative on these and 20 more, which is worth 20 points."""
    right = np.zeros((3, 2, 100), bool)
    right[0, :, :60] = right[1, :, :80] = right[2, :, :58] = True
    rows = [
        {
            "choice": ablate.USUAL,
            "value": ablate.USUAL,
            "seed": 0,
            "accuracy": 0.6,
            "train_flops": 10.0,
        },
        {"choice": "batch", "value": "250", "seed": 0, "accuracy": 0.8, "train_flops": 15.0},
        {
            "choice": ablate.USUAL,
            "value": ablate.USUAL,
            "seed": 1,
            "accuracy": 0.58,
            "train_flops": 10.0,
        },
    ]
    usual, batch = ablate.compared(rows, right)
    assert (usual["lowest"], usual["highest"], usual["seeds"]) == (0.58, 0.6, 2)
    duel = batch["against_usual"]
    assert (
        duel["difference"]["mean"] == pytest.approx(0.2)
        and duel["verdict"] == "beats"
        and batch["times"] == 1.5
    )


def test_every_alternative_changes_what_the_recipe_has():
    usual = recipes.recipe("compact", "cifar10", ablate.EPOCHS) | {
        "options": {"widths": ablate.WIDTHS}
    }
    tried = list(ablate.trials(tuple(ablate.choices(ablate.EPOCHS)), ablate.EPOCHS))
    assert len({(choice, value, seed) for choice, value, _, seed in tried}) == len(tried)
    for choice, _, changes, _ in tried:
        assert all(usual.get(key) != value for key, value in changes.items()) and (
            choice == ablate.USUAL
        ) == (not changes)
        assert changes.get("sides") is None or len(changes["sides"]) == ablate.EPOCHS


def test_the_ablation_of_the_recipe_goes_on_where_it_stopped(script, tmp_path, cifar10):
    arguments = (
        "q1_gradcam/ablate.py",
        "--epochs",
        3,
        "--train-size",
        500,
        "--out",
        tmp_path,
        "--device",
        "cpu",
    )
    first = script(*arguments, "--only", "schedule")
    assert first.returncode == 0, first.stderr
    then = script(*arguments, "--resume", "--only", "schedule", "mirroring")
    assert (
        then.returncode == 0
        and "usual" not in then.stdout
        and then.stdout.count("mirroring: none") == 1
    )
    found = results.read_json(tmp_path / "ablation.json")
    assert [row["choice"] for row in found["alternatives"]] == ["usual", "schedule", "mirroring"]
    right = results.read_npz(tmp_path / "ablation.npz")["right"]
    assert right.shape == (5, 2, ablate.HELD_OUT)
    assert right[:, 0].mean(1) == pytest.approx(
        [row["accuracy"] for row in found["trainings"]], rel=1e-5
    )
    refused = script(*arguments, "--resume", "--epochs", 4)
    assert (
        refused.returncode == 2
        and "other settings" in refused.stderr
        and refused.stderr.count("\n") == 1
    )
