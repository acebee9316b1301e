"""Trains a classifier from scratch and writes a checkpoint for the other scripts.

    python q1_gradcam/train.py                        CIFAR-10, the compact network, one seed
    python q1_gradcam/train.py --seeds 0 1 2          three seeds; keeps the network of the first
    python q1_gradcam/train.py --resume               continues an interrupted run
    python q1_gradcam/train.py --dataset shapes       built-in images: no download, one minute
    python q1_gradcam/train.py --quick                a narrower network: ten minutes
    python q1_gradcam/train.py --arch resnet18        ResNet-18
    torchrun --nproc-per-node 2 q1_gradcam/train.py   two processes (or GPUs) on each batch
    python q1_gradcam/train.py --quick --dataset cifar10-marked       with a planted shortcut

Expect 93.8% on CIFAR-10 (94.3% averaged with the mirror image), after 20 minutes on two cores with
bfloat16 instructions. Choices are made on held-out training images. The test set is evaluated once,
after the last epoch. Writes OUT/model.pt and OUT/training.json; OUT/training.state.pt holds the
last complete epoch until the run ends. OUT is outputs/q1_gradcam (outputs/demo/q1_gradcam for the
shapes), OUT/resnet18 for another network, or a folder in OUT/other that names the options that are
not the default ones.
"""

import math
import time
from pathlib import Path
from typing import Any

from common import cli, data, distributed, models, results

import numpy as np
import torch
import torch.nn.functional as F

from q1_gradcam import calibration, cost, optimizers
from q1_gradcam.loader import Batches
from q1_gradcam.recipes import recipe

STATE_FORMAT = 2  # of training.state.pt; an older state lacks entries
HALF_PRECISION_ABOVE = 4_000_000  # parameters; larger networks are saved in 16 bits


def arguments():
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--dataset", choices=data.NAMES, default="cifar10")
    parser.data_option()
    add("--arch", choices=tuple(models.ARCHITECTURES), default="compact")
    add("--quick", action="store_true", help="a narrower network and seven epochs: ten minutes")
    seeds = "one training for each seed (default: 0)"
    add("--seeds", type=cli.seed, nargs="+", default=[0], metavar="N", help=seeds)
    add("--epochs", type=cli.whole(1, 1000), metavar="N", help="instead of the recipe's")
    held_out = "training images to hold out (default: 1000; 500 for the shapes)"
    add("--held-out", type=cli.positive, metavar="N", help=held_out)
    add("--train-size", type=cli.positive, metavar="N", help="use only the first N images")
    add("--precision", choices=("auto", "float32"), default="auto", help="auto: see recipes.py")
    add("--out", type=Path, metavar="DIR", help="see above")
    parser.device_option()
    add("--resume", action="store_true", help="continue after the last complete epoch")
    args = parser.parse_args()
    shapes = args.dataset == "shapes"
    folder = results.OUTPUTS / ("demo/q1_gradcam" if shapes else "q1_gradcam")
    if args.arch != "compact":
        folder /= args.arch
    usual = {"dataset": "shapes" if shapes else "cifar10", "quick": False, "precision": "auto"}
    usual |= dict.fromkeys(("epochs", "held_out", "train_size"))
    args.first_seed, usual["first_seed"] = args.seeds[0], 0
    args.out = args.out or cli.out_folder(folder, args, usual)
    args.held_out = args.held_out or (500 if shapes else 1000)
    return args


def main() -> None:
    args = arguments()
    cli.keep_freed_memory()
    device = distributed.start(cli.pick_device(args.device))
    out = results.output_folder(args.out)
    with distributed.first_alone():
        dataset = data.load(args.dataset, args.data)
    chosen = recipe(args.arch, args.dataset, args.epochs, args.quick)
    if args.precision == "float32":
        chosen["bfloat16_on_cpu"] = False
    train, held_out = data.held_out_split(dataset.y_train, args.held_out)
    train = train[: args.train_size]
    batch = min(chosen["batch"], len(train))
    if batch % distributed.size():
        raise cli.UserError(f"a batch of {batch} can't be shared by {distributed.size()} processes")
    plan = {  # must be the same when a run is resumed
        "arch": args.arch,
        "dataset": args.dataset,
        "data_sha256": dataset.sha256,
        "recipe": chosen,
        "train_size": len(train),
        "held_out": args.held_out,
    }
    state_file, finished, current = out / "training.state.pt", [], None
    if args.resume and state_file.is_file():
        finished, current = read_state(state_file, plan)
        started = [run["row"]["seed"] for run in finished] + [current["seed"]] * bool(current)
        if not set(started) <= set(args.seeds):
            seeds = " ".join(map(str, started))
            raise cli.UserError(f"{state_file} has seeds {seeds}: add them to --seeds")

    def save_state(current: dict[str, Any] | None) -> None:
        state = {"format": STATE_FORMAT, "plan": plan, "finished": finished, "current": current}
        results.write_whole(state_file, lambda file: results.write_torch(state, file))

    what = f"{args.arch} on {dataset.name}: {len(train)} images, {chosen['epochs']} epochs"
    print(f"{what}, {cli.hardware(device)}", flush=True)
    for seed in args.seeds:
        if any(run["row"]["seed"] == seed for run in finished):
            continue
        start = current if current and current["seed"] == seed else None
        model, run = train_one(dataset, train, held_out, plan, seed, device, start, save_state)
        accuracy, mirror = correct(model.network, dataset.x_test, dataset.y_test).mean(1).tolist()
        run["row"] |= {"accuracy": accuracy, "accuracy_mirror": mirror}
        run["row"]["processes"] = distributed.size()
        finished.append(run)
        if len(finished) == 1:
            models.save(out / "model.pt", model, half=run["parameters"] > HALF_PRECISION_ABOVE)
        origin = {"data_source": dataset.source, "data_sha256": dataset.sha256}
        # Of the file that the first process has just written.
        origin["checkpoint_sha256"] = distributed.share(results.sha256, [out / "model.pt"])[0]
        provenance = results.provenance(finished[0]["row"]["seed"], device, **origin)
        content = summary(finished, plan) | {"provenance": provenance}
        results.write_json(out / "training.json", content)
        save_state(None)
        minutes = run["row"]["seconds"] / 60
        print(f"seed {seed}: test {accuracy:.2%}, mirrored {mirror:.2%}, {minutes:.0f} min")
    if distributed.rank() == 0:
        state_file.unlink(missing_ok=True)
    print(f"wrote {results.shown(out / 'model.pt')} and training.json beside it")


def read_state(path: Path, plan: dict[str, Any]) -> tuple[list[dict], dict | None]:
    """The finished runs and the current one; UserError if they had other settings or data."""
    state = models.read_torch(path)
    found = (state.get("format"), state.get("plan")) if isinstance(state, dict) else None
    if found != (STATE_FORMAT, plan):
        advice = "use the same, or start without --resume"
        raise cli.UserError(f"{path} was made with other settings, data or code: {advice}")
    return state["finished"], state["current"]


def train_one(
    dataset, train, held_out, plan: dict, seed: int, device, state=None, save_state=None
) -> tuple[models.Model, dict[str, Any]]:
    """Trains a network on the images `train`; `save_state`, if given, is called after each epoch.

    Given a `state` that was saved, it continues from there. Returns the model and its run: `row`
    (one of "seeds" in training.json), `history` (a row for each epoch), FLOPs and parameters.
    """
    chosen, started = plan["recipe"], time.perf_counter()
    network = new_network(dataset, train, plan, seed, device)
    muon_bfloat16 = uses_bfloat16(device, chosen) and chosen.get("muon_bfloat16", False)
    steps = optimizers.make(network, chosen, muon_bfloat16)
    images, labels = dataset.x_train[train], dataset.y_train[train]
    augmentation = (chosen["batch"], chosen["translate"], chosen["flip"])
    process = distributed.rank(), distributed.size()
    cutout = chosen.get("cutout", 0)
    batches = Batches(images, labels, *augmentation, seed, device, cutout, process)
    history, seconds = [], 0.0
    if state:
        history, seconds = state["history"], state["seconds"]
        network.load_state_dict(state["network"])
        for step, saved in zip(steps, state["optimizers"], strict=True):
            step.load_state_dict(saved)
        print(f"continuing after epoch {len(history)}")

    for epoch, side in enumerate(chosen["sides"][len(history) :], start=len(history)):
        epoch_started = time.perf_counter()
        loss = train_epoch(network, steps, batches, chosen, epoch, side)
        epoch_seconds = time.perf_counter() - epoch_started
        hits = correct(network, dataset.x_train[held_out], dataset.y_train[held_out])
        accuracy, mirror = hits.mean(1).tolist()
        seen = len(batches) * batches.batch
        row = {"epoch": epoch + 1, "side": side, "images": seen, "loss": loss}
        row |= {"held_out_accuracy": accuracy, "held_out_accuracy_mirror": mirror}
        row |= {"seconds": epoch_seconds, "peak_memory_bytes": cli.peak_memory_bytes(device)}
        row |= {"flops": seen * cost.count_flops(network, side)[1]}
        history.append(row)
        seconds, started = seconds + time.perf_counter() - started, time.perf_counter()
        if save_state:  # batches depend on (seed, epoch), rates on the epoch: this is complete
            state = {"seed": seed, "history": history, "seconds": seconds}
            state |= {"network": network.state_dict()}
            save_state(state | {"optimizers": [step.state_dict() for step in steps]})
        left = sum(later**2 for later in chosen["sides"][epoch + 1 :]) / side**2 * epoch_seconds
        print(
            f"epoch {epoch + 1:2d}/{chosen['epochs']}  {side} px  loss {loss:.3f}  "
            f"held out {accuracy:.2%} (mirrored {mirror:.2%})  about {left / 60:.0f} min left",
            flush=True,
        )

    network.eval()
    parameters = sum(p.numel() for p in network.parameters())
    if parameters > HALF_PRECISION_ABOVE:
        network.half().float()  # round as the checkpoint does, so that the results describe it
    logits = models.logits(network, dataset.x_train[held_out])
    temperature = calibration.fit_temperature(logits, dataset.y_train[held_out])
    seconds += time.perf_counter() - started
    training = plan | {"seed": seed, "epochs": len(history)}
    identity = (plan["arch"], chosen["options"], dataset.classes, dataset.name)
    model = models.Model(network, *identity, temperature, training)
    row = {
        "seed": seed,
        "seconds": seconds,
        "held_out_accuracy": history[-1]["held_out_accuracy"],
        "held_out_accuracy_mirror": history[-1]["held_out_accuracy_mirror"],
        "temperature": temperature,
        "peak_memory_bytes": max(row["peak_memory_bytes"] or 0 for row in history) or None,
        "precision": "bfloat16" if uses_bfloat16(device, chosen) else "float32",
        "hardware": cli.hardware(device),
    }
    run = {"row": row, "history": history, "parameters": parameters}
    run["flops_per_image"], _ = cost.count_flops(network, 32)
    return model, run | {"train_flops": sum(row["flops"] for row in history)}


def new_network(dataset, train, plan, seed: int, device) -> models.Classifier:
    """The untrained network; depends only on the seed and the training images."""
    mean, std = data.channel_statistics(dataset.x_train[train])
    torch.manual_seed(cli.seed_for(seed, "weights"))
    network = models.build(plan["arch"], len(dataset.classes), mean, std, plan["recipe"]["options"])
    network.to(device, memory_format=torch.channels_last)
    if plan["arch"] == "compact":
        sample = models.to_input(dataset.x_train[train[:5000]], device)
        network.body.whiten.fit(network.normalise(sample))
    return network


def train_epoch(network, steps, batches: Batches, chosen: dict, epoch: int, side: int) -> float:
    """One pass over the training images. Returns the mean loss; UserError if it is not finite.

    Processes that share the batches average their gradients in each step, so their weights stay
    equal. Batch norm normalizes with the statistics of the process's part of the batch (with two
    processes, 250 images are enough); its running statistics are averaged after the epoch.
    """
    network.train()
    total_loss = torch.zeros((), device=batches.device)
    bfloat16, shared = uses_bfloat16(batches.device, chosen), batches.process[1] > 1
    bar = cli.progress(batches.epoch(epoch, side), f"epoch {epoch + 1}", total=len(batches))
    for number, (x, y) in enumerate(bar):
        optimizers.set_rates(steps, chosen, epoch + number / len(batches))
        with torch.autocast(batches.device.type, torch.bfloat16, enabled=bfloat16):
            logits = network(x)
        loss = F.cross_entropy(logits.float(), y, label_smoothing=chosen["label_smoothing"])
        network.zero_grad(set_to_none=True)
        loss.backward()
        if shared:
            distributed.average(p.grad for p in network.parameters() if p.grad is not None)
        for step in steps:
            step.step()
        total_loss += loss.detach()
    if shared:
        distributed.average([total_loss, *network.buffers()])
    mean_loss = total_loss.item() / len(batches)
    if not math.isfinite(mean_loss):
        advice = "lower `lr` in q1_gradcam/recipes.py"
        raise cli.UserError(f"the loss is not finite in epoch {epoch + 1}: {advice}")
    return mean_loss


def uses_bfloat16(device: torch.device, chosen: dict[str, Any]) -> bool:
    """Whether layers compute in bfloat16: only if the hardware does so natively, and on a CPU only
    for recipes that ask for it. Weights, their updates and the loss stay in float32."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    features = torch.cpu.get_capabilities()
    native = features.get("avx512_bf16") or features.get("amx_bf16")
    used = torch.backends.cpu.get_cpu_capability() not in ("DEFAULT", "NO AVX", "AVX2")
    return device.type == "cpu" and bool(native and used) and chosen.get("bfloat16_on_cpu", False)


def correct(network: torch.nn.Module, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(2, N) bool: whether the prediction is correct, from a single view and from logits averaged
    with those of the mirror image."""
    network.eval()
    single = models.logits(network, images)
    both = single + models.logits(network, images, mirror=True)
    return torch.stack([single, both]).argmax(2).numpy() == labels


def summary(runs: list[dict[str, Any]], plan: dict[str, Any]) -> dict[str, Any]:
    """The content of training.json: the first seed's run, a row for each seed, and their means."""
    rows, history = [run["row"] for run in runs], runs[0]["history"]
    content = {key: value for key, value in plan.items() if key != "data_sha256"}
    content |= {"epochs": len(history)}
    for key in ("seed", "seconds", "hardware", "peak_memory_bytes"):
        content[key] = rows[0][key]
    content |= {key: value for key, value in runs[0].items() if key != "row"}
    accuracies = [row["accuracy"] for row in rows]
    means = ("accuracy", "accuracy_mirror", "held_out_accuracy", "held_out_accuracy_mirror")
    content |= {
        "seeds": rows,
        "mean": {key: np.mean([row[key] for row in rows]) for key in (*means, "seconds")},
        "accuracy_range": [min(accuracies), max(accuracies)],
    }
    if history[0]["side"] < history[-1]["side"]:
        content["resizing"] = cost.gain_of_full_size(history)
    return content


if __name__ == "__main__":
    cli.run(main)
