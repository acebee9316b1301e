"""Training: its parts against closed forms and torch's optimizers, and interrupted runs."""

from common import models, results

import numpy as np
import pytest
import torch
from conftest import call

from q1_gradcam import ablate, calibration, cost, ladder, loader, optimizers, recipes, train

MEAN, STD = (0.5,) * 3, (0.2,) * 3


def test_orthogonalize_moves_singular_values_towards_one_and_keeps_the_vectors():
    torch.manual_seed(0)
    for shape in ((16, 144), (64, 27)):
        u, _, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
        matrix = u @ torch.diag(torch.linspace(1, 0.1, len(v))) @ v
        before = torch.linalg.svdvals(matrix)
        five = torch.linalg.svdvals(optimizers.orthogonalize(matrix, steps=5))
        assert ((five - 1).abs() < 0.35).all()
        result = optimizers.orthogonalize(matrix)  # three steps, as in training
        after = torch.linalg.svdvals(result)
        assert after.max() < 1.3 and after.min() / after.max() > 3 * before.min() / before.max()
        diagonal = u.T @ result @ v.T
        assert (diagonal - torch.diag(diagonal.diagonal())).abs().max() < 1e-3


def test_muon_by_hand():
    """Two steps: renormalize the filters, then follow the orthogonalized Nesterov momentum."""
    torch.manual_seed(0)
    p = torch.nn.Parameter(torch.randn(4, 3, 3, 3))
    expected, buffer = p.detach().clone(), torch.zeros(4, 3, 3, 3)
    muon = optimizers.Muon([p], lr=0.1, momentum=0.6)
    for _ in range(2):
        gradient = torch.randn_like(p)
        p.grad = gradient.clone()
        muon.step()
        buffer = 0.6 * buffer + gradient
        direction = optimizers.orthogonalize((gradient + 0.6 * buffer).reshape(4, 27)).view_as(p)
        expected = expected * 2 / expected.norm() - 0.1 * direction
    assert torch.allclose(p, expected, atol=1e-6)


def test_whitening_makes_patches_uncorrelated():
    torch.manual_seed(0)
    images = torch.nn.functional.avg_pool2d(torch.randn(50, 3, 34, 34), 3, 1)  # correlated pixels
    layer = models.PatchWhitening()
    layer.fit(images, eps=0.0)
    with torch.no_grad():
        output = layer(images)
    assert output.shape == (50, 24, 32, 32)
    assert torch.allclose(output[:, :12], -output[:, 12:], atol=1e-5)
    flat = output[:, :12, :-1, :-1].permute(1, 0, 2, 3).flatten(1)  # without the replicated border
    assert torch.allclose(flat @ flat.T / flat.size(1), torch.eye(12), atol=1e-3)


def test_learning_rates_follow_the_schedule():
    network = models.build("compact", 10, MEAN, STD, {"widths": (8, 8, 8)})
    chosen = recipes.recipe("compact", "cifar10", 10) | {"warmup": 2.0}
    both = optimizers.make(network, chosen)
    trained = {id(p) for o in both for group in o.param_groups for p in group["params"]}
    assert trained == {id(p) for p in network.parameters() if p.requires_grad}

    def rates(epoch):
        optimizers.set_rates(both, chosen, epoch)
        return {group.get("name", "muon"): group["lr"] for o in both for group in o.param_groups}

    assert rates(1.0)["muon"] == pytest.approx(chosen["lr"] / 2)
    assert rates(6.0)["muon"] == pytest.approx(chosen["lr"] / 2)
    assert rates(6.0)["head"] == pytest.approx(chosen["head_lr"] * chosen["batch"] / 2)
    assert rates(10.0)["muon"] == pytest.approx(0)
    assert rates(1.5)["whitening bias"] == pytest.approx(chosen["bias_lr"] * 250)
    bias = network.body.whiten.bias
    assert bias.requires_grad and rates(4.0)["whitening bias"] == 0 and not bias.requires_grad


def test_learning_rates_of_biases_and_head_are_for_summed_losses():
    """Two steps on the mean loss equal two steps of torch's SGD on the sum at the recipe's rate."""
    torch.manual_seed(0)
    network = models.build("compact", 10, MEAN, STD, {"widths": (8, 8, 8)}).eval()
    chosen = recipes.recipe("compact", "cifar10") | {"batch": 16}
    p = network.body.head.weight
    twin = torch.nn.Parameter(p.detach().clone())
    options = {"lr": chosen["head_lr"], "momentum": chosen["momentum"], "nesterov": True}
    decay = chosen["decay_per_image"] * 16 / chosen["head_lr"]
    plain = torch.optim.SGD([twin], weight_decay=decay, **options)
    steps = optimizers.make(network, chosen)
    for _ in range(2):
        x, y = torch.rand(16, 8), torch.randint(0, 10, (16,))
        for weight, optimizer, reduction in ((p, steps[0], "mean"), (twin, plain, "sum")):
            network.zero_grad()
            twin.grad = None
            torch.nn.functional.cross_entropy(x @ weight.T, y, reduction=reduction).backward()
            optimizer.step()
    assert torch.allclose(p, twin, rtol=1e-4, atol=1e-5)


def batches(n: int, seed: int = 5) -> loader.Batches:
    """Batches of images that contain their number (red), row (green) and column (blue)."""
    images = np.zeros((n, 32, 32, 3), np.uint8)
    images[..., 0] = np.arange(n)[:, None, None]
    images[..., 1], images[..., 2] = np.arange(32)[:, None], np.arange(32)
    labels, cpu = np.arange(n).astype(np.uint8), torch.device("cpu")
    return loader.Batches(images, labels, 50, translate=2, flip=True, seed=seed, device=cpu)


@pytest.mark.parametrize("translate", [0, 2, 4])
def test_translated_images_are_crops_of_reflected_ones(translate):
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), np.uint8)
    labels, cpu = np.arange(30).astype(np.uint8), torch.device("cpu")
    source = loader.Batches(images, labels, 30, translate, flip=False, seed=1, device=cpu)
    x, y = next(source.epoch(0, 32))
    padded = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    padded = torch.nn.functional.pad(padded, (translate,) * 4, "reflect")[y] / 255
    places = [(r, c) for r in range(2 * translate + 1) for c in range(2 * translate + 1)]
    crops = torch.stack([padded[:, :, r : r + 32, c : c + 32] for r, c in places])
    assert (crops == x).flatten(2).all(2).sum(0).tolist() == [1] * 30


def test_batches_translate_and_flip_whole_images():
    source = batches(200)
    flipped, orders = [], []
    for epoch in range(2):
        by_label = {}
        for x, y in source.epoch(epoch, 32):
            x = (x * 255).round().long()
            assert (x[:, 0] == y[:, None, None]).all(), "an image belongs to its label"
            columns, rows = x[:, 2, 16, 3:-3].diff(dim=1), x[:, 1, 3:-3, 16].diff(dim=1)
            assert (columns.abs() == 1).all() and (rows == 1).all(), "moved as a whole"
            assert ((x[:, 1, 16, 16] - 16).abs() <= 2).all()
            by_label |= dict(zip(y.tolist(), (columns[:, 0] < 0).tolist(), strict=True))
        assert sorted(by_label) == list(range(200)), "each image once per epoch"
        orders.append(list(by_label))
        flipped.append(np.array([by_label[k] for k in range(200)]))
    assert (flipped[0] ^ flipped[1]).all(), "each image both ways in two epochs"
    assert 60 < flipped[0].sum() < 140 and orders[0] != orders[1]
    first, again, other = (
        next(iter(b.epoch(3, 24)))[0] for b in (source, batches(200), batches(200, 6))
    )
    assert torch.equal(first, again) and not torch.equal(first, other), "depends on the seed only"


def test_flop_count_by_hand():
    """Two FLOPs per multiply-add. The backward pass costs twice the forward pass, except for the
    frozen first layer."""
    network = models.build("compact", 10, MEAN, STD, {"widths": (8, 16, 24)}).eval()
    whiten = 12 * 24 * 32 * 32
    stages = 24 * 8 * 1024 + 8 * 8 * 256 + 8 * 16 * 256 + (16 * 16 + 16 * 24 + 24 * 24) * 64
    forward = 2 * (whiten + 9 * stages + 24 * 10)
    step = forward + 2 * 2 * (9 * stages + 24 * 10)
    assert cost.count_flops(network, 32) == (forward, step)
    assert cost.count_flops(network, 24)[1] == pytest.approx(step * (24 / 32) ** 2, rel=0.01)
    network.body.whiten.bias.requires_grad_(False)  # no gradient flows into the first stage
    assert cost.count_flops(network, 32) == (forward, step - 2 * 9 * 24 * 8 * 1024)


def test_the_temperature_of_overconfident_logits_is_found():
    random = torch.Generator().manual_seed(0)
    calibrated = 2 * torch.randn(20000, 10, generator=random)
    labels = torch.multinomial(calibrated.softmax(1), 1, generator=random)[:, 0].numpy()
    assert calibration.fit_temperature(3 * calibrated, labels) == pytest.approx(3, rel=0.05)


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    correct = np.array([True, False, True, True])
    diagram = calibration.reliability(confidence, correct, bins=10)
    assert diagram["accuracy"][9] == 0.5 and diagram["confidence"][5] == pytest.approx(0.55)
    # Two bins of two images, each off by 0.45.
    assert calibration.expected_calibration_error(diagram) == pytest.approx(0.45)
    perfect = calibration.reliability(np.ones(3), np.ones(3, bool))
    assert calibration.expected_calibration_error(perfect) == 0


SMALL = ("--dataset", "shapes", "--held-out", 100, "--device", "cpu", "--train-size", 300)


@pytest.mark.slow
def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path, monkeypatch):
    """Interrupted in the second epoch of the second seed, it equals an uninterrupted run."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    options = (*SMALL, "--epochs", 2, "--seeds")
    assert call(train, *options, 5, "--out", whole).returncode == 0
    train_epoch, train_one, state = train.train_epoch, train.train_one, {}

    def interrupted(network, steps, batches, chosen, epoch, side):
        if batches.seed == 5 and epoch == 1:
            raise KeyboardInterrupt
        return train_epoch(network, steps, batches, chosen, epoch, side)

    def remembered(*arguments):  # model.pt has the network of the first seed
        model, run = train_one(*arguments)
        state.update(model.network.state_dict())
        return model, run

    with monkeypatch.context() as patch:
        patch.setattr(train, "train_epoch", interrupted)
        assert call(train, *options, 3, 5, "--out", broken).returncode == 130
    other = call(train, *options, 3, 5, "--train-size", 200, "--out", broken, "--resume")
    assert other.returncode == 2 and "other settings" in other.stderr
    other = call(train, *options, 5, "--out", broken, "--resume")
    assert other.returncode == 2 and "has seeds 3 5" in other.stderr
    with monkeypatch.context() as patch:
        patch.setattr(train, "STATE_FORMAT", train.STATE_FORMAT + 1)
        other = call(train, *options, 3, 5, "--out", broken, "--resume")
        assert other.returncode == 2 and "other settings, data or code" in other.stderr
    monkeypatch.setattr(train, "train_one", remembered)
    resumed = call(train, *options, 3, 5, "--out", broken, "--resume")
    assert resumed.returncode == 0 and "continuing after epoch 1" in resumed.stdout, resumed.stderr
    assert "seed 3" not in resumed.stdout
    expected = models.load(whole / "model.pt").network.state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert {path.name for path in broken.iterdir()} == {"model.pt", "training.json"}
    row, again = (results.read_json(f / "training.json")["seeds"][-1] for f in (whole, broken))
    for key in ("held_out_accuracy", "accuracy", "accuracy_mirror", "temperature"):
        assert again[key] == row[key]


def test_alternatives_are_compared_with_the_baseline_image_by_image():
    """Baseline: 60 of 100 correct; the alternative: these and 20 more, that is, 20 points."""
    correct = np.zeros((3, 2, 100), bool)
    correct[0, :, :60] = correct[1, :, :80] = correct[2, :, :58] = True
    baseline = {"choice": "baseline", "value": "baseline"}
    rows = [
        baseline | {"seed": 0, "accuracy": 0.6},
        {"choice": "batch", "value": "250", "seed": 0, "accuracy": 0.8},
        baseline | {"seed": 1, "accuracy": 0.58},
    ]
    first, batch = ablate.compare(rows, correct)
    assert (first["lowest"], first["highest"], first["seeds"]) == (0.58, 0.6, 2)
    assert batch["against_baseline"]["difference"]["mean"] == pytest.approx(0.2)
    assert batch["against_baseline"]["verdict"] == "beats"


def test_batch_norm_scales_have_no_weight_decay():
    network = models.build("resnet18", 10, MEAN, STD, {})
    sgd, _ = optimizers.make(network, recipes.recipe("resnet18", "cifar10"))
    decay = {id(p): group["weight_decay"] for group in sgd.param_groups for p in group["params"]}
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all(decay[id(m.weight)] == 0 and decay[id(m.bias)] > 0 for m in norms)


def test_the_ladder_compares_a_recipe_with_the_one_before_on_the_seeds_that_both_have():
    first, second = list(ladder.recipes())[:2]
    recipes = ladder.recipes()

    def training(name, seed, accuracy):
        row = {"recipe": recipes[name], "seed": seed, "accuracy": accuracy}
        return row | {"accuracy_mirror": accuracy, "train_flops": 1e15, "seconds": 60.0}

    rows = ladder.summary(
        [training(first, 0, 0.90), training(first, 1, 0.94), training(second, 1, 0.95)]
    )
    assert [row["name"] for row in rows] == [first, second]
    a = rows[0]["accuracy"]
    assert (a["lowest"], a["highest"], a["gain"]) == (0.90, 0.94, None)
    assert rows[1]["accuracy"]["gain"] == pytest.approx(0.01) and rows[1]["seeds"] == [1]


def test_bfloat16_only_where_pytorch_uses_it(monkeypatch):
    """A processor may have the instructions, and an environment variable forbid them."""
    cpu, chosen = torch.device("cpu"), {"bfloat16_on_cpu": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    for name, used in (("AVX512", True), ("AVX2", False), ("DEFAULT", False)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda name=name: name)
        assert train.uses_bfloat16(cpu, chosen) == used
        assert not train.uses_bfloat16(cpu, {})
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert not train.uses_bfloat16(cpu, chosen)
