"""What the report says of the results in other places than where they are shown, and what README.md says; see report/claims.py.

Expectations and what became of them, what to use when, reasons in the tables of choices, answers in the viva.
"""

import functools

import torch

from common import models
from q1_gradcam import cost, recipes
from report import trust_claims as t
from report import values as v
from report.claim import Claim


def trusted(r):
    """What the trust chapter says of the methods, for those who have to choose one."""
    found = {f"{key}_faithful": value for key, value in t.faithful(r).items()}
    found |= {f"{key}_agree": value for key, value in t.agree(r).items()}
    return found | t.known(r) | {"passes": v.cost(r)["ours"], "bad": v.pictures(r)["bad"]}


def settling(r):
    calls = [s["model_calls"] for s in r["q2_lime/text/explanations"]["samples"]]
    fixed = r["q2_lime/text/leak"]["samples"]
    return {"sooner": sum(n < fixed for n in calls) / len(calls)}


def copy_of_the_data(r):
    training, provenance = r["q1_gradcam/training"], r["q1_gradcam/explanations"]["provenance"]
    return {
        "n": training["train_size"] + training["held_out"] + r["q1_gradcam/evaluation"]["n"],
        "data": provenance["data_sha256"],
    }


@functools.cache
def resnet18() -> tuple[float, int]:
    """Floating-point operations of its recipe for each training picture, and the side of its last map."""
    chosen = recipes.RECIPES["resnet18", "cifar10"]
    with torch.device("meta"):
        network = models.build("resnet18", 10, (0.5,) * 3, (1.0,) * 3, chosen["options"])
    sides = []
    network.get_submodule(models.ARCHITECTURES["resnet18"].layer).register_forward_hook(
        lambda *found: sides.append(found[2].shape[-1])
    )
    _, step = cost.count_flops(network, chosen)
    return sum(step[side] for side in chosen["sides"]), sides[-1]


def larger(r):
    """What training ResNet-18 would cost beside what the training here has cost."""
    training = r["q1_gradcam/training"]
    flops, side = resnet18()
    return {
        "flops": flops * training["train_size"],
        "more": flops * training["train_size"] / training["train_flops"],
        "side": side,
        "own_side": r["q1_gradcam/explanations"]["map_size"][0],
    }


CLAIMS = [
    # --- What was expected, and what was seen ---
    Claim(
        "seen-network",
        "It does; what is left stays mostly among animals or among vehicles.",
        lambda r: v.accuracy(r) | v.kinds(r),
        "low > 0.9 and within > 0.7",
    ),
    Claim(
        "seen-two-maps",
        "No. The two maps are all but uncorrelated.",
        v.maps,
        "abs(alike) < 0.2 and apart >= 2",
    ),
    Claim(
        "seen-imagenet", "No. It misses most of them.", v.pictures, "right < n / 2 and known < 0.5"
    ),
    Claim(
        "seen-near",
        "Only after three of its usual choices are changed (masks, regions, explained value), and then not for every picture.",
        lambda r: v.ablation(r) | v.pictures(r),
        "max(probability, lime, quickshift) < usual - 0.15 and 0 < bad < n",
    ),
    Claim(
        "seen-leak",
        "More, in nearly every group, but by little: by weight the leak is tame.",
        v.leak,
        "more >= 0.85 * groups and p < 0.01 and 0 < points < 10",
    ),
    Claim(
        "seen-controls",
        "Noise, edges and an untrained network: yes. A bump in the middle of the picture: by one of the two tests only.",
        t.faithful,
        "beaten['random'] == beaten['edges'] == beaten['untrained'] == {'beats'} and 'beats' in beaten['centre'] and len(beaten['centre']) == 2",
    ),
    Claim(
        "seen-shortcut",
        "The other way round, for a small mark: what fails the check finds it nearly always, Grad-CAM in less than half of the pictures.",
        t.known,
        "failing == {'guided_backprop'} and guided > 0.95 and 'gradcam' in passing and cam < 0.5",
    ),
    Claim(
        "seen-agree",
        "Hardly, on the small network; on the ImageNet model perhaps: ten pictures are too few to tell.",
        t.agree,
        "many < 0.3 and many + 0.1 < imagenet < 0.8 and imagenet_verdict == 'ties' and imagenet_n == 10",
    ),
    Claim(
        "seen-linear",
        "Nearly, if the margin is explained; not if the probability is.",
        v.text_ablation,
        "truth_margin > 0.85 and truth_probability < truth_margin - 0.1",
    ),
    # --- What to use when ---
    Claim(
        "use-gradcam",
        "To see _roughly where_ in a whole data set the evidence arrives: Grad-CAM at the last stage. It costs about one forward pass ({passes:.2f}) and passes the sanity check. Its halo must not be"
        " read as evidence, and in data whose things stand in the middle it has to be shown beside a bump in the middle.",
        trusted,
        "passes < 1.3 and 'gradcam' in passing and mass_shapes < 0.3 and centre_ins_faithful < 0.1",
    ),
    Claim(
        "use-lime",
        "To see _which part_ of a picture or a text the answer hangs on, and for models whose inside is closed: LIME, with the card. Without held-out fidelity and a second seed it should not be shown.",
        trusted,
        "min(lime, lime_shapes) >= 0.9 and bad > 0",
    ),
    Claim(
        "use-both",
        "To look for a _shortcut_ that is small: LIME, or Guided Grad-CAM, which joins a sharp map that fails the sanity check (@sanity-plot) with a coarse one that passes it; not Grad-CAM alone.",
        trusted,
        "min(lime, guided_gradcam) >= 0.9 and cam < 0.5 and 'guided_backprop' in failing and {'gradcam', 'guided_gradcam'} <= passing",
    ),
    Claim(
        "use-not",
        "Guided backpropagation alone: not as evidence of what was learnt, however sharp it looks.",
        trusted,
        "'guided_backprop' in failing",
    ),
    # --- Limits ---
    Claim(
        "copy",
        "About a hundred of its {n:,} pictures, nearly all ships, were only to be had as JPEG and differ slightly from the official pixels. The accuracy on ships cannot move by more than the two dozen"
        " of them that are in the test set; the others are training pictures.",
        copy_of_the_data,
        "data.startswith(DATA) and n == 6 * 10**4",
    ),
    # --- Reasons in the tables of choices ---
    Claim(
        "why-regions",
        "follow the things; fewer are more faithful, but of {few_n:.0f}, {top} leaders say little; a grid is about as faithful, and blind",
        v.ablation,
        "few > usual and abs(grid - usual) < 0.1 and few_n < 2 * top",
    ),
    Claim(
        "why-fill",
        "the most faithful; grey and black are themselves visible objects",
        v.ablation,
        "mean == max(fills.values()) and max(fills['grey'], fills['black']) < mean - 0.05",
    ),
    Claim(
        "why-enlarging",
        "the most recognised by the model (@ablation), which counts for more than fidelity",
        v.ablation,
        "bicubic_known == max(known.values())",
    ),
    Claim(
        "why-sampler",
        "the most faithful, see the caution at @ablation",
        v.ablation,
        "glime == max(samplers.values())",
    ),
    Claim(
        "why-share",
        "more locality is more faithful but no steadier",
        v.ablation,
        "p95 > glime > p70 and p95_overlap <= p85_overlap + 0.05",
    ),
    Claim(
        "why-ridge", "a strong penalty shrinks what is there", v.ablation, "strong < penalty - 0.05"
    ),
    Claim(
        "why-log-odds",
        "probabilities saturate; log-odds are nearly linear in what is shown",
        v.ablation,
        "log_odds > probability + 0.15 and log_odds > 0.7",
    ),
    Claim(
        "why-text-sampler",
        "the most faithful; the truth is met alike by all",
        v.text_ablation,
        "samplers[0] == max(samplers) and max(samplers_truth) - min(samplers_truth) < 0.05",
    ),
    Claim(
        "why-text-share",
        "the same share as for pictures; on posts it hardly matters",
        v.text_ablation,
        "max(shares) - min(shares) < 0.02 and max(shares_truth) - min(shares_truth) < 0.05",
    ),
    Claim(
        "why-text-masks",
        "a fixed number only for the leak meter; explanations settle, mostly below it",
        settling,
        "sooner > 0.6",
    ),
    Claim(
        "why-text",
        "For a model that is nearly linear in the mask most choices do not matter; what is explained does.",
        v.text_ablation,
        "rest > 0.95 and rest_truth > 0.85 and probability < 0.7 and truth_probability < 0.8",
    ),
    # --- Viva ---
    Claim(
        "fill-turns",
        "Noise pixel by pixel does as well by that test, and noisy imputation turns the order round (@fills): the advantage belongs to the fill.",
        t.fills,
        "pairs['mean'] == 'beats' and 'beats' not in of_noise and pairs['road'] == 'loses'",
    ),
    Claim(
        "share",
        "The share of regions shown decides between a faithful answer to a small question ({p95:.2f}) and a poorer one to a large question ({p70:.2f}; @ablation).",
        v.ablation,
        "p95 > glime + 0.05 > p70 + 0.1",
    ),
    Claim(
        "larger",
        "By its recipe it takes {more:.0f} times the arithmetic in training, better done on a graphics card, and its last map of {side} by {side} cells is coarser.",
        larger,
        "more > 5 and side < own_side",
    ),
    Claim(
        "newsgroups",
        "Names, hosts and signatures are among the leading words of some posts (@telling), but in sum hardly more weight lies outside the body than there are words (@leak). The reason for the fall of accuracy"
        " is mostly lost text.",
        lambda r: v.posts(r) | v.leak(r),
        "outside >= 3 and {'infante', 'optilink'} <= makers and abs(out - words) < 0.08 and points < 10",
    ),
    # --- README.md ---
    Claim(
        "readme-leak",
        "What LIME finds in the posts is less of a scandal than the LIME paper's example: of the weight of the leading words {out:.0%} lies outside the body, of the words themselves {words:.0%}."
        " Trained on whole posts the SVM puts more there in {more} of the {groups} groups, but only {points:.0f} points more. What stands in headers and quotes can be to the point (a subject line, the question that is"
        " answered) or not (a poster's name, a motorcycle club's number in a signature).",
        v.signatures,
        "abs(out - words) < 0.08 and more >= 0.85 * groups and 0 < points < 10 and foot == 'rec.motorcycles' and 'dod' in signed",
    ),
    Claim(
        "readme-trust",
        "What the [trust figures](outputs/trust) say: by deletion and insertion Grad-CAM does better than noise, edges and its own map on an untrained network, but a fixed bump in the middle of the picture"
        " comes close to it, and by deletion is better. Guided backpropagation fails the sanity check.",
        trusted,
        "beaten_faithful['random'] == beaten_faithful['edges'] == beaten_faithful['untrained'] == {'beats'} and centre_del_low_faithful > 0 and centre_ins_faithful < 0.1 and 'guided_backprop' in failing",
    ),
    Claim(
        "readme-mark",
        "And where the network was made to rely on a small mark ([figure](outputs/trust/shortcut.png)), Grad-CAM points at it in {cam:.0%} of the pictures, LIME in {lime:.0%} and Guided Grad-CAM in"
        " {guided_gradcam:.0%}: its cells see more than the whole picture, and say where evidence arrives, not where it comes from.",
        trusted,
        "cam < 0.5 and min(lime, guided_gradcam) >= 0.9 and cam_shapes >= 0.9",
    ),
    Claim(
        "readme-agree",
        "[Side by side](outputs/comparison/imagenet.png), Grad-CAM and LIME agree less than one would like.",
        trusted,
        "many_agree < 0.3 and imagenet_agree < 0.8",
    ),
]

# What README.md says of the results, paragraph by paragraph; report/glance.py writes it.
README = (("readme-leak",), ("readme-trust", "readme-mark", "readme-agree"))
