"""Trains a classifier from scratch and writes a checkpoint that the other scripts explain.

    python q1_gradcam/train.py                            CIFAR-10, the compact network, one seed
    python q1_gradcam/train.py --seeds 0 1 2              three seeds; the first one's network is kept, whichever does best
    python q1_gradcam/train.py --seeds 1 2 --add          two more seeds beside those in OUT/training.json, whose network stays
    python q1_gradcam/train.py --resume                   go on after Ctrl-C or a power cut
    python q1_gradcam/train.py --dataset shapes           built-in pictures: no download, about a minute
    python q1_gradcam/train.py --quick                    a narrower network: ten minutes
    python q1_gradcam/train.py --quick --dataset cifar10-marked      the same with a planted shortcut, for q1_gradcam/trust.py
    python q1_gradcam/train.py --arch resnet18            a network for a GPU

Choices are made on a held-out part of the training pictures. The test set is looked at once, after the last epoch.
Writes OUT/model.pt and OUT/training.json (unusual ones in OUT/other); OUT/seed*.state.pt holds the last whole epoch until a seed is done.
"""

import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from tqdm import tqdm

from common import cli, data, models, results
from q1_gradcam import calibration, cost, optimizers
from q1_gradcam.loader import Batches
from q1_gradcam.recipes import recipe

HALF_PRECISION_ABOVE = 4_000_000  # parameters: larger networks are stored in 16 bits


def arguments():
    parser = cli.Parser(__doc__)
    parser.add_argument("--dataset", choices=data.NAMES, default="cifar10")
    parser.data_option()
    parser.add_argument("--arch", choices=tuple(models.ARCHITECTURES), default="compact")
    parser.add_argument(
        "--quick", action="store_true", help="a narrower network, seven epochs: some ten minutes"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="one training each (default: 0)",
    )
    parser.add_argument("--epochs", type=cli.positive, metavar="N", help="instead of the recipe's")
    parser.add_argument(
        "--held-out",
        type=cli.positive,
        metavar="N",
        help="pictures kept from training (default: 1000; 500 of the shapes)",
    )
    parser.add_argument(
        "--train-size", type=cli.positive, metavar="N", help="train on the first N pictures only"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="default: outputs/q1_gradcam; /ARCH for other networks",
    )
    parser.device_option()
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the last whole epoch of an interrupted run",
    )
    parser.add_argument(
        "--add",
        action="store_true",
        help="keep the seeds in OUT/training.json and their network, and add these",
    )
    args = parser.parse_args()
    args.held_out = args.held_out or (500 if args.dataset == "shapes" else 1000)
    if args.out is None:
        args.out = results.OUTPUTS / (
            "demo/q1_gradcam" if args.dataset == "shapes" else "q1_gradcam"
        )
        args.out = args.out if args.arch == "compact" else args.out / args.arch
        unusual = [
            word
            for word, is_so in (("marked", args.dataset == "cifar10-marked"), ("quick", args.quick))
            if is_so
        ]
        args.out = args.out / "other" / "-".join(unusual) if unusual else args.out
    return args


def main() -> None:
    args = arguments()
    cli.keep_freed_memory()
    device = cli.pick_device(args.device)
    out = results.output_folder(args.out)
    dataset = data.load(args.dataset, args.data)
    chosen = recipe(args.arch, args.dataset, args.epochs, args.quick)
    train, held_out = data.held_out_split(dataset.y_train, args.held_out)
    train = train[: args.train_size]

    # What has to be the same for an interrupted run to go on.
    plan = {
        "arch": args.arch,
        "dataset": args.dataset,
        "data_sha256": dataset.sha256,
        "recipe": chosen,
    }
    plan |= {"train_size": len(train), "held_out": args.held_out}
    run_file = out / "run.state.pt"
    done = finished(run_file, plan) if args.resume else []
    if args.add and not done:
        done = reported(out / "training.json", plan)
    speed = cost.matrix_product_speed(
        device, torch.bfloat16 if sixteen_bits(device, chosen) else torch.float32
    )
    where = cli.hardware(device)
    print(
        f"{args.arch} on {dataset.name}: {len(train)} pictures, {chosen['epochs']} epochs, {where}",
        flush=True,
    )

    for seed in args.seeds:
        if any(run["row"]["seed"] == seed for run in done):
            continue
        model, run = train_one(dataset, train, held_out, plan, seed, out, device, args.resume)
        run["row"] |= test_accuracy(model, dataset) | {"matrix_product_flops_per_second": speed}
        if not done:
            models.save(out / "model.pt", model, half=run["parameters"] > HALF_PRECISION_ABOVE)
        done.append(run)
        checkpoint = results.sha256(out / "model.pt")
        origin = {
            "data_source": dataset.source,
            "data_sha256": dataset.sha256,
            "checkpoint_sha256": checkpoint,
        }
        content = summary(done, plan)
        content["provenance"] = results.provenance(done[0]["row"]["seed"], device, **origin)
        results.write_json(out / "training.json", content)
        state = {"plan": plan, "done": done}
        results.write_whole(run_file, lambda file, state=state: torch.save(state, file))
        state_file(out, seed).unlink(missing_ok=True)
        row = run["row"]
        print(
            f"seed {seed}: test {row['accuracy']:.2%}, mirrored {row['accuracy_mirror']:.2%}, {row['seconds'] / 60:.0f} min"
        )
    run_file.unlink(missing_ok=True)
    print(f"wrote {results.shown(out / 'model.pt')} and training.json beside it")


def train_one(
    dataset, train, held_out, plan, seed, out, device, resume
) -> tuple[models.Model, dict[str, Any]]:
    """One training from the first epoch, or from the last whole one, to the last."""
    chosen = plan["recipe"]
    started = time.perf_counter()
    network = fresh_network(dataset, train, plan, seed, device)
    steps = optimizers.make(network, chosen)
    pictures, labels = dataset.x_train[train], dataset.y_train[train]
    batches = Batches(
        pictures, labels, chosen["batch"], chosen["translate"], chosen["flip"], seed, device
    )
    history, spent, state = [], 0.0, state_file(out, seed)
    if resume and state.is_file():
        history, spent = restore(state, plan, network, steps)
        print(f"going on after epoch {len(history)}")

    for epoch, side in enumerate(chosen["sides"][len(history) :], start=len(history)):
        epoch_started = time.perf_counter()
        loss = one_epoch(network, steps, batches, chosen, epoch, side)
        seconds = time.perf_counter() - epoch_started
        accuracy, mirrored = held_out_accuracy(network, dataset, held_out)
        seen = len(batches) * batches.batch
        row = {"epoch": epoch + 1, "side": side, "pictures": seen, "loss": loss}
        row |= {
            "held_out_accuracy": accuracy,
            "held_out_accuracy_mirror": mirrored,
            "seconds": seconds,
        }
        history.append(row | {"peak_memory_bytes": cost.peak_memory(device)})
        left = sum(later**2 for later in chosen["sides"][epoch + 1 :]) / side**2 * seconds
        print(
            f"epoch {epoch + 1:2d}/{chosen['epochs']}  {side} px  loss {loss:.3f}  held out {accuracy:.2%}"
            f" (mirrored {mirrored:.2%})  {seen / seconds:.0f} pictures/s  about {left / 60:.0f} min left",
            flush=True,
        )
        spent, started = spent + time.perf_counter() - started, time.perf_counter()
        keep(state, plan, network, steps, history, spent)

    network.eval()
    held_out_logits = models.logits(network, dataset.x_train[held_out])
    temperature = calibration.fit_temperature(held_out_logits, dataset.y_train[held_out])
    spent += time.perf_counter() - started

    training = plan | {"seed": seed, "epochs": len(history)}
    model = models.Model(
        network,
        plan["arch"],
        chosen["options"],
        dataset.classes,
        dataset.name,
        temperature,
        training,
    )
    per_image, per_step = cost.count_flops(network, chosen)
    flops = sum(per_step[epoch["side"]] * epoch["pictures"] for epoch in history)
    row = {
        "seed": seed,
        "seconds": spent,
        "held_out_accuracy": history[-1]["held_out_accuracy"],
        "held_out_accuracy_mirror": history[-1]["held_out_accuracy_mirror"],
        "temperature": temperature,
        "train_flops_per_second": flops / sum(epoch["seconds"] for epoch in history),
        "peak_memory_bytes": max(epoch["peak_memory_bytes"] or 0 for epoch in history) or None,
        "precision": "bfloat16" if sixteen_bits(device, chosen) else "float32",
        "hardware": cli.hardware(device),
    }
    run = {"row": row, "history": history, "flops_per_image": per_image, "train_flops": flops}
    return model, run | {"parameters": sum(p.numel() for p in network.parameters())}


def fresh_network(dataset, train, plan, seed: int, device) -> models.Classifier:
    """The network as it is before the first step; it depends on the seed alone."""
    mean, std = data.channel_statistics(dataset.x_train[train])
    torch.manual_seed(cli.seed_for(seed, "weights"))
    network = models.build(plan["arch"], len(dataset.classes), mean, std, plan["recipe"]["options"])
    network.to(device, memory_format=torch.channels_last)
    if plan["arch"] == "compact":
        sample = models.to_input(dataset.x_train[train[:5000]], device)
        network.body.whiten.fit(network.normalise(sample))
    return network


def one_epoch(
    network, steps, batches: Batches, chosen: dict[str, Any], epoch: int, side: int
) -> float:
    """Shows the network every batch of an epoch once. Returns the mean loss; raises UserError where it is not finite."""
    network.train()
    total_loss = torch.zeros((), device=batches.device)
    bar = tqdm(
        batches.epoch(epoch, side), total=len(batches), disable=not cli.interactive(), leave=False
    )
    for number, (x, y) in enumerate(bar):
        optimizers.set_rates(steps, chosen, epoch + number / len(batches))
        with torch.autocast(
            batches.device.type, torch.bfloat16, enabled=sixteen_bits(batches.device, chosen)
        ):
            logits = network(x)
        loss = F.cross_entropy(logits.float(), y, label_smoothing=chosen["label_smoothing"])
        network.zero_grad(set_to_none=True)
        loss.backward()
        for step in steps:
            step.step()
        total_loss += loss.detach()
        if number % 10 == 9:
            bar.set_description(f"epoch {epoch + 1}, loss {total_loss.item() / (number + 1):.3f}")
    mean_loss = total_loss.item() / len(batches)
    if not math.isfinite(mean_loss):
        raise cli.UserError(
            f"the loss became infinite in epoch {epoch + 1}: lower `lr` in q1_gradcam/recipes.py"
        )
    return mean_loss


def sixteen_bits(device: torch.device, chosen: dict[str, Any]) -> bool:
    """Whether filters and activations are multiplied in bfloat16: where the hardware does so itself, on a processor for long recipes only.

    Weights, their updates and the loss stay in 32 bits. A processor without such instructions would only be slower.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    features = getattr(torch.cpu, "get_capabilities", dict)()  # not in every version of torch
    native = features.get("avx512_bf16") or features.get("amx_bf16")
    return device.type == "cpu" and bool(native) and chosen.get("bfloat16_on_cpu", False)


def state_file(out: Path, seed: int) -> Path:
    """Where a seed's last whole epoch is kept until the seed is done."""
    return out / f"seed{seed}.state.pt"


def keep(path: Path, plan, network, steps, history, seconds: float) -> None:
    """Writes down the run as it stands after an epoch. Each epoch draws from a generator made from (seed, epoch), and the
    schedule follows from the epoch's number, so weights, optimisers and history are the whole state."""
    state = {"plan": plan, "history": history, "seconds": seconds, "network": network.state_dict()}
    state["optimisers"] = [step.state_dict() for step in steps]
    results.write_whole(path, lambda file: torch.save(state, file))


def restore(path: Path, plan, network, steps) -> tuple[list[dict[str, Any]], float]:
    """Puts a run back to where `keep` left it; returns its history and the seconds spent."""
    state = read_state(path, plan)
    network.load_state_dict(state["network"])
    for step, saved in zip(steps, state["optimisers"], strict=True):
        step.load_state_dict(saved)
    return state["history"], state["seconds"]


def finished(path: Path, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The seeds that an interrupted run has finished, in order."""
    return read_state(path, plan)["done"] if path.is_file() else []


def reported(path: Path, plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The seeds in a results file, in order; of all but the first the row alone. Refused where they had other settings or data."""
    content = results.read_json(path)
    theirs = {key: content.get(key) for key in plan} | {
        "data_sha256": content.get("provenance", {}).get("data_sha256")
    }
    if theirs != results.plain(plan):
        raise cli.UserError(
            f"{path} was made with other settings or data: use the same, or another --out, or leave out --add"
        )
    first = {
        key: content[key] for key in ("history", "flops_per_image", "train_flops", "parameters")
    }
    where = {key: content[key] for key in ("hardware", "matrix_product_flops_per_second")}
    return [first | {"row": where | row} for row in content["seeds"]]


def read_state(path: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """A file of an interrupted run; refused where that run had other settings or data."""
    state = models.read_torch(path)
    if not isinstance(state, dict) or state.get("plan") != plan:
        raise cli.UserError(
            f"{path} was made with other settings or data: use the same, or start without --resume"
        )
    return state


def held_out_accuracy(network, dataset, held_out) -> tuple[float, float]:
    """Accuracy on the held-out pictures, from a single view and averaged with the mirrored one."""
    network.eval()
    pictures, labels = dataset.x_train[held_out], torch.from_numpy(dataset.y_train[held_out])
    return accuracies(network, pictures, labels)


def test_accuracy(model: models.Model, dataset) -> dict[str, float]:
    """The one look at the test set."""
    single, mirrored = accuracies(model.network, dataset.x_test, torch.from_numpy(dataset.y_test))
    return {"accuracy": single, "accuracy_mirror": mirrored}


def accuracies(network, pictures, labels) -> tuple[float, float]:
    single = models.logits(network, pictures)
    both = single + models.logits(network, pictures, mirror=True)
    return tuple((logits.argmax(1) == labels).float().mean().item() for logits in (single, both))


def summary(done: list[dict[str, Any]], plan) -> dict[str, Any]:
    """The contents of training.json: the first seed's run, whose network is kept, then one row per seed and their mean."""
    first, rows = done[0], [run["row"] for run in done]
    means = (
        "accuracy",
        "accuracy_mirror",
        "held_out_accuracy",
        "held_out_accuracy_mirror",
        "seconds",
    )
    return {
        "arch": plan["arch"],
        "dataset": plan["dataset"],
        "parameters": first["parameters"],
        "epochs": plan["recipe"]["epochs"],
        "seconds": first["row"]["seconds"],
        "hardware": first["row"]["hardware"],
        "flops_per_image": first["flops_per_image"],
        "train_flops": first["train_flops"],
        "train_flops_per_second": first["row"]["train_flops_per_second"],
        "matrix_product_flops_per_second": first["row"]["matrix_product_flops_per_second"],
        "peak_memory_bytes": first["row"]["peak_memory_bytes"],
        "seed": first["row"]["seed"],
        "train_size": plan["train_size"],
        "held_out": plan["held_out"],
        "recipe": plan["recipe"],
        "history": first["history"],
        "seeds": rows,
        "mean": {key: sum(row[key] for row in rows) / len(rows) for key in means},
    }


if __name__ == "__main__":
    cli.run(main)
