"""Evaluates explanation methods on the committed networks, beside baselines.

    python evaluation/run.py                           everything, an hour on two cores
    torchrun --nproc-per-node 2 evaluation/run.py      the same in two processes: half an hour
    python evaluation/run.py --only stability shapes   some experiments
    python evaluation/run.py --images 100              fewer images: faster, wider intervals
    python evaluation/run.py --skip lime               without LIME: faster

    faithfulness   does the probability of the class follow the map? random test images
    layers         the same at each stage of the network, on held-out training images
    idsds          does the logit fall as the map predicts? network fine-tuned on missing patches
    randomization  do maps change when weights are replaced by noise?
    stability      do maps stay the same under noise, shifts and mirroring?
    mistakes       do Grad-CAM's maps of wrong predictions differ from those of correct ones?
    shapes         do maps point at the ground truth of the built-in images?
    shortcut       do maps point at a mark that networks have learned to rely on?
    networks       do the maps of two networks agree?
    overview       some of the methods on six images, drawn side by side

All experiments cover the methods of evaluation/explainers.py (LIME on fewer images, because it is
slow), except layers (CAM methods), mistakes and networks (Grad-CAM) and overview (some). Writes
OUT/EXPERIMENT.json and figures; scores of each image in OUT/faithfulness.npz. OUT is
outputs/evaluation, or a folder in outputs/evaluation/other if options differ from the defaults.
The networks of `shapes` and `shortcut` are read from OUT or outputs/evaluation; docs/evaluation.md
says how they were trained.
"""

from pathlib import Path

from common import cli, data, distributed, models, results
from common.figures import save
from common.statistics import control_false_discoveries

from evaluation import experiments, figures, ground_truth, idsds, mistakes, overview
from evaluation.experiments import OUT
from evaluation.explainers import EXPLAINERS, methods

MODEL = results.OUTPUTS / "q1_gradcam/model.pt"
EXPERIMENTS = {  # name -> function, number of images
    "faithfulness": (experiments.faithfulness, 500),
    "idsds": (idsds.idsds, 500),
    "layers": (experiments.layers, 200),
    "randomization": (experiments.randomization_test, 60),
    "stability": (experiments.stability, 100),
    "mistakes": (mistakes.mistakes, 300),
    "shapes": (ground_truth.shapes, 300),
    "shortcut": (ground_truth.shortcut, 300),
    "networks": (mistakes.networks, 500),
    "overview": (overview.overview, 6),
}


def main() -> None:
    parser = cli.Parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, default=MODEL, metavar="FILE", help="default: that of Question 1")
    parser.data_option()
    names = tuple(EXPERIMENTS)
    add("--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names))
    add("--images", type=cli.positive, metavar="N", help="at most N in each experiment")
    able = [key for key in methods() if key not in ("gradcam", "gradcam++", "input_gradient")]
    add("--skip", nargs="+", choices=able, default=[], metavar="NAME", help="leave methods out")
    add("--seed", type=cli.seed, default=0, metavar="N", help="random seed (default: 0)")
    add("--out", type=Path, metavar="DIR", help="see above")
    parser.device_option()
    args = parser.parse_args()
    args.model = args.model.absolute()  # as MODEL is
    if args.images == 1:
        parser.error("--images 1: an interval needs at least two")
    if args.model != MODEL and set(args.only) <= {"shapes", "shortcut"}:
        parser.error("--model: shapes and shortcut have networks of their own, in OUT")
    defaults = {"model": MODEL, "images": None, "skip": [], "seed": 0}
    args.out = args.out or cli.out_folder(OUT, args, defaults)
    cli.keep_freed_memory()
    for key in args.skip:
        del EXPLAINERS[key]
    device = distributed.start(cli.pick_device(args.device))
    model = models.load(args.model, device)
    out = results.output_folder(args.out)
    needs = [name for name in ("shortcut", "networks", "overview") if name in args.only]
    if needs and model.dataset == "shapes":
        raise cli.UserError(f"only for CIFAR-10 networks: {', '.join(needs)} (see --only)")
    with distributed.first_alone():
        dataset = data.load(model.dataset, args.data, len(model.classes))
    setup = experiments.Setup(model, dataset, args.seed, out, device)
    for name in args.only:
        experiment, n = EXPERIMENTS[name]
        content = experiment(setup, min(args.images or n, n))
        hashes = {"data_sha256": dataset.sha256, "checkpoint_sha256": results.sha256(args.model)}
        hashes |= content.pop("hashes", {})
        origin = results.provenance(args.seed, device, data_source=dataset.source, **hashes)
        control_false_discoveries(content)
        results.write_json(out / f"{name}.json", content | {"provenance": origin})
        if name in figures.PLOTS:
            save(figures.PLOTS[name](content), out / f"{name}.svg")
        print(f"wrote {results.shown(out / name)}.json", flush=True)


if __name__ == "__main__":
    cli.run(main)
