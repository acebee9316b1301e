"""What the report's chapters on trust and on Grad-CAM against LIME say of the results; see report/claims.py."""

from common import synthetic
from evaluation import randomization
from report.claim import Claim

NAMES = {
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "hirescam": "HiResCAM",
    "layercam": "LayerCAM",
    "guided_gradcam": "Guided Grad-CAM",
    "guided_backprop": "guided backpropagation",
    "input_gradient": "the input gradient",
    "lime": "LIME",
}


def listed(names) -> str:
    """Names as a person lists them."""
    words = [NAMES.get(name, name) for name in names]
    return (
        " and ".join([", ".join(words[:-1]), words[-1]])
        if len(words) > 1
        else "".join(words) or "none"
    )


def verdicts(row: dict, measure: str) -> dict[str, str]:
    return {control: duel["verdict"] for control, duel in row[measure]["against"].items()}


def gap(row: dict, measure: str, control: str) -> dict[str, float]:
    return row[measure]["against"][control]["difference"]


def verdicts_in(content) -> int:
    """How many comparisons with a control a results file, or a part of it, holds."""
    if isinstance(content, list):
        return sum(map(verdicts_in, content))
    if not isinstance(content, dict):
        return 0
    return (content.get("verdict") in ("beats", "ties", "loses")) + sum(
        map(verdicts_in, content.values())
    )


def chance(r):
    parts = ("faithfulness", "layers", "mistakes", "shapes", "shortcut", "lime")
    return {"n": sum(verdicts_in(r[f"trust/{part}"]) for part in parts)}


def faithful(r):
    f = r["trust/faithfulness"]
    g = f["methods"]["gradcam"]
    both = {
        c: {verdicts(g, m)[c] for m in ("deletion", "insertion")}
        for c in ("random", "centre", "edges", "untrained")
    }
    return {
        "n": f["n"],
        "beaten": both,
        "del_": g["deletion"]["mean"],
        "ins": g["insertion"]["mean"],
        "random_del": -gap(g, "deletion", "random")["mean"],
        "random_ins": gap(g, "insertion", "random")["mean"],
        "untrained_del": -gap(g, "deletion", "untrained")["mean"],
        "untrained_ins": gap(g, "insertion", "untrained")["mean"],
        "centre_del": gap(g, "deletion", "centre")["mean"],
        "centre_del_low": gap(g, "deletion", "centre")["low"],
        "centre_del_high": gap(g, "deletion", "centre")["high"],
        "centre_ins": gap(g, "insertion", "centre")["mean"],
        "centre_ins_low": gap(g, "insertion", "centre")["low"],
        "centre_ins_high": gap(g, "insertion", "centre")["high"],
    }


def fills(r):
    f = r["trust/faithfulness"]
    mean, road, pairs = (
        f["methods"],
        f["other_fills"]["road"]["methods"],
        f["pixels_against_gradcam"],
    )
    return {
        "road_centre": {
            m: verdicts(road["gradcam"], m)["centre"] for m in ("deletion", "insertion")
        },
        "guided_ins": mean["guided_gradcam"]["insertion"]["mean"],
        "guided_road": road["guided_gradcam"]["deletion"]["mean"],
        "guided_road_ins": road["guided_gradcam"]["insertion"]["mean"],
        "cam_road_ins": road["gradcam"]["insertion"]["mean"],
        "pixel": mean["input_gradient"]["deletion"]["mean"],
        "cam": mean["gradcam"]["deletion"]["mean"],
        "pixel_ins": mean["input_gradient"]["insertion"]["mean"],
        "cam_ins": mean["gradcam"]["insertion"]["mean"],
        "fine_ins": mean["random_fine"]["insertion"]["mean"],
        "fine_del": mean["random_fine"]["deletion"]["mean"],
        "of_noise": {
            verdicts(mean[name], "deletion")["random"]
            for name in ("input_gradient", "guided_backprop", "guided_gradcam")
        },
        "pixel_road": road["input_gradient"]["deletion"]["mean"],
        "cam_road": road["gradcam"]["deletion"]["mean"],
        "road_low": pairs["road"]["deletion"]["difference"]["low"],
        "road_high": pairs["road"]["deletion"]["difference"]["high"],
        "pairs": {fill: pairs[fill]["deletion"]["verdict"] for fill in pairs},
        "n_road": f["other_fills"]["road"]["n"],
        "guided_drop": mean["guided_gradcam"]["average_drop"]["mean"],
        "random_drop": mean["random"]["average_drop"]["mean"],
    }


def layers(r):
    f = r["trust/layers"]
    first, *_, last = f["layers"].values()

    def score(row):
        return row["insertion"]["mean"] - row["deletion"]["mean"]

    early = list(f["layers"].values())[:2]
    kept = {
        name: row["layercam"]["rank_correlation_with_random_weights"]["mean"]
        for name, row in f["layers"].items()
    }
    return {
        "early_centre": {verdicts(row["gradcam"], "insertion")["centre"] for row in early},
        "second_random": verdicts(early[1]["gradcam"], "insertion")["random"],
        "chosen": f["chosen_by_rule"],
        "used": f["used"],
        "name": f["chosen_by_rule"].removeprefix("body."),
        "second_layercam": score(early[1]["layercam"]),
        "centre_here": {"beats": "beats", "ties": "ties with", "loses": "loses to"}[
            verdicts(last["gradcam"], "insertion")["centre"]
        ],
        "n": f["n"],
        "dead": first["gradcam"]["dead"],
        "thrown": ", ".join(
            f"{row['gradcam']['discarded']['mean']:.0%}" for row in f["layers"].values()
        ),
        "scores": ", ".join(f"{score(row['gradcam']):.2f}" for row in f["layers"].values()),
        "best": score(last["gradcam"]),
        "others": max(
            score(row["gradcam"])
            for name, row in f["layers"].items()
            if name != f["chosen_by_rule"]
        ),
        "layercam_first": score(first["layercam"]),
        "gradcam_first": score(first["gradcam"]),
        "layercam_last": score(last["layercam"]),
        "kept": kept[next(iter(kept))],
        "kept_gradcam": first["gradcam"]["rank_correlation_with_random_weights"]["mean"],
    }


def sanity(r):
    f = r["trust/sanity"]
    where = f["order"][max(0, len(f["order"]) // 2 - 1)]
    left = {name: row["cascading"][where]["ssim"]["mean"] for name, row in f["methods"].items()}
    head = {
        name: row["cascading"][f["order"][0]]["ssim"]["mean"] for name, row in f["methods"].items()
    }
    fails = [name for name, verdict in f["verdicts"].items() if verdict == "fails"]
    own = r["trust/lime"]["sanity"]
    shown = own["methods"]["lime"]["cascading"]
    ways = {
        "lime_n": own["n"],
        "lime_passes": own["verdicts"]["lime"],
        "lime_head": shown[f["order"][0]]["ssim"]["mean"],
        "lime": shown[where]["ssim"]["mean"],
        "lime_low": shown[where]["ssim"]["low"],
        "lime_chance": own["methods"]["lime"]["chance"]["other picture"]["ssim"]["mean"],
    }
    at_head = {
        name: randomization.verdict(row, f["order"][:2]) for name, row in f["methods"].items()
    }  # of two layers the upper half is the head
    late = [name for name in ("gradcam++", "layercam") if at_head[name] == "fails"]
    return ways | {
        "late": "both" if len(late) == 2 else listed(late),
        "cam_most": max(
            row["ssim"]["mean"] for row in f["methods"]["gradcam"]["cascading"].values()
        ),
        "cam_chance": f["methods"]["gradcam"]["chance"]["other picture"]["ssim"]["mean"],
        "plus_chance": f["methods"]["gradcam++"]["chance"]["other picture"]["ssim"]["mean"],
        "plus_head": head["gradcam++"],
        "plus": left["gradcam++"],
        "layercam_head": head["layercam"],
        "layercam": left["layercam"],
        "failing": set(fails),
        "fails": listed(fails),
        "guided": left["guided_backprop"],
        "guided_head": head["guided_backprop"],
        "cam": left["gradcam"],
        "cam_head": head["gradcam"],
        "chance": f["methods"]["guided_backprop"]["chance"]["other picture"]["ssim"]["mean"],
    }


def stable(r):
    f = r["trust/stability"]["methods"]
    between = r["trust/lime"]["faithfulness"]["between_seeds"]
    return {
        "change": f["gradcam"]["noise_change"]["mean"],
        "noise": f["gradcam"]["noise"]["mean"],
        "shift": f["gradcam"]["shift"]["mean"],
        "mirror": f["gradcam"]["mirror"]["mean"],
        "pixel_noise": f["input_gradient"]["noise"]["mean"],
        "pixel_shift": f["input_gradient"]["shift"]["mean"],
        "seeds": between["rank_correlation"]["mean"],
        "top": between["top_5_overlap"]["mean"],
        "n": r["trust/lime"]["faithfulness"]["n"],
        "settled": r["trust/lime"]["faithfulness"]["settled"],
        "fidelity": r["trust/lime"]["faithfulness"]["held_out_fidelity"]["mean"],
    }


def mistakes(r):
    f = r["trust/mistakes"]
    tells = {key: max(value, 1 - value) for key, value in f["tells_mistakes"].items()}
    best = max(
        (
            key
            for key in tells
            if key not in ("confidence", "average_drop", "increase", "deletion", "insertion")
        ),
        key=tells.get,
    )
    found = {
        "rho_right": f["confidence_against_faithfulness"]["correct"],
        "rho_wrong": f["confidence_against_faithfulness"]["incorrect"],
        "auc": tells["confidence"],
        "gini_auc": tells["gini"],
        "best_auc": tells[best],
        "faith_auc": tells["faithfulness"],
        "best": {
            "gini": "its sparseness",
            "discarded": "what the ReLU discards",
            "faithfulness": "its faithfulness",
            "likeness_to_runner_up": "its likeness to the runner-up's map",
        }[best],
    }
    truth = f["against_truth"]
    for place, name in (("same picture", "same"), ("another picture", "other")):
        for key in ("rank_correlation", "likeness"):
            found |= {
                f"{name}_{key}_{end}": truth[place][key][end] for end in ("mean", "low", "high")
            }
    found |= {
        "truth_n": truth["n"],
        "truth_verdicts": {
            key: row["verdict"] for key, row in truth["same_against_another"].items()
        },
    }
    for key in ("discarded", "gini", "faithfulness", "likeness_to_runner_up"):
        found |= {
            f"{key}_wrong": f["incorrect"][key]["mean"],
            f"{key}_right": f["correct"][key]["mean"],
        }
        found |= {f"{key}_{end}": f["difference"][key][end] for end in ("low", "high")}
    return found


def shapes(r):
    f, lime = r["trust/shapes"]["methods"], r["trust/lime"]["shapes"]["methods"]["lime"]
    peaks = {name: row["peak"]["mean"] for name, row in f.items() if name in NAMES}
    low = min(peaks.values())
    return {
        "cam": peaks["gradcam"],
        "low": low,
        "lowest": listed([min(peaks, key=peaks.get)]),
        "lime": lime["peak"]["mean"],
        "random": f["random"]["peak"]["mean"],
        "centre": f["centre"]["peak"]["mean"],
        "edges": f["edges"]["peak"]["mean"],
        "exact": f["gradcam"]["peak_exactly"]["mean"],
        "exact_lime": lime["peak_exactly"]["mean"],
        "exact_centre": f["centre"]["peak_exactly"]["mean"],
        "mass_verdicts": verdicts(f["gradcam"], "mass"),
        "mass_words": in_words(verdicts(f["gradcam"], "mass")),
        "mass": f["gradcam"]["mass"]["mean"],
        "mass_lime": lime["mass"]["mean"],
        "share": r["trust/shapes"]["evidence_share_of_area"],
    }


def shortcut(r):
    f, lime = r["trust/shortcut"], r["trust/lime"]["shortcut"]["methods"]["lime"]
    peaks = {name: row["peak"]["mean"] for name, row in f["methods"].items() if name in NAMES} | {
        "lime": lime["peak"]["mean"]
    }
    best = max(peaks, key=peaks.get)
    marked, twin = f["networks"]["marked"], f["networks"]["unmarked"]
    return {
        "class_": f["class"],
        "accuracy": marked["accuracy"],
        "twin": twin["accuracy"],
        "of_class": marked["accuracy_of_class"],
        "of_class_twin": twin["accuracy_of_class"],
        "taken": marked["says_class_marked"],
        "taken_twin": twin["says_class_marked"],
        "taken_clean": marked["says_class_unmarked"],
        "best": listed([best]),
        "best_peak": peaks[best],
        "cam": peaks["gradcam"],
        "missed": 1 - peaks["gradcam"],
        "guided": peaks["guided_backprop"],
        "lime": peaks["lime"],
        "guided_gradcam": peaks["guided_gradcam"],
        "pixels": peaks["input_gradient"],
        "share": f["share_of_class_marked"],
        "area": synthetic.MARK_SIDE**2 / 32**2,
        "random": f["methods"]["random"]["peak"]["mean"],
        "edges": f["methods"]["edges"]["peak"]["mean"],
        "untrained": f["methods"]["gradcam"]["peak"]["mean"]
        - gap(f["methods"]["gradcam"], "peak", "untrained")["mean"],
    }


def known(r):
    """What is found where the answer is known, and what the sanity check says of the same methods."""
    found = {f"{key}_shapes": value for key, value in shapes(r).items()} | shortcut(r)
    return found | {
        "failing": sanity(r)["failing"],
        "passing": set(r["trust/sanity"]["verdicts"]) - sanity(r)["failing"],
    }


def agree(r):
    a = r["comparison/agreement"]
    many, ten = a["many"], a["imagenet"]["summary"]
    return {
        "many": many["rank_correlation"]["mean"],
        "many_n": many["n"],
        "many_other": many["rank_correlation_control"]["mean"],
        "many_verdict": many["against_control"]["rank_correlation"]["verdict"],
        "top": many["top_overlap"]["mean"],
        "top_other": many["top_overlap_control"]["mean"],
        "top_verdict": many["against_control"]["top_overlap"]["verdict"],
        "imagenet": ten["rank_correlation"]["mean"],
        "imagenet_other": ten["rank_correlation_control"]["mean"],
        "imagenet_verdict": ten["against_control"]["rank_correlation"]["verdict"],
        "imagenet_n": len(a["imagenet"]["pictures"]),
        **{
            f"imagenet_{end}": ten["against_control"]["rank_correlation"]["difference"][end]
            for end in ("low", "high")
        },
        "lime_wins": a["imagenet"]["prefers"]["lime"],
        "cam_wins": a["imagenet"]["prefers"]["gradcam"],
        "open": a["imagenet"]["prefers"]["neither"],
        "margin": a["imagenet"]["margin"],
    }


def duel(r):
    d, lime = r["comparison/methods"], r["trust/lime"]["faithfulness"]
    found = {
        "n": d["n"],
        "fidelity": lime["held_out_fidelity"]["mean"],
        "settled": lime["settled"],
        "calls": lime["model_calls"]["mean"],
    }
    for fill, cam in (("", d["methods"]["gradcam"]), ("blur_", d["blur"]["gradcam"])):
        for measure in ("deletion", "insertion"):
            found[f"{fill}{measure}"] = {
                "beats": "beats",
                "ties": "ties with",
                "loses": "loses to",
            }[verdicts(cam, measure)["lime"]]
            found |= {
                f"{fill}{measure}_{end}": gap(cam, measure, "lime")[end]
                for end in ("mean", "low", "high")
            }
    for measure in ("deletion", "insertion"):
        found[f"lime_{measure}"] = in_words(verdicts(lime["methods"]["lime"], measure))
    return found


def in_words(by_control: dict[str, str]) -> str:
    """Verdicts by control as a person says them: "beats noise; ties with edges and the centre"."""
    names = {
        "random": "noise",
        "centre": "the bump in the middle",
        "edges": "edges",
        "untrained": "its own map on an untrained network",
    }
    parts = [
        (word, [names[c] for c in names if by_control[c] == verdict])
        for verdict, word in (("beats", "beats"), ("ties", "ties with"), ("loses", "loses to"))
    ]
    return "; ".join(f"{word} {listed(which)}" for word, which in parts if which)


CLAIMS = [
    Claim(
        "chance",
        "The results behind this chapter hold {n} such verdicts: a few will be wrong by chance alone, and none should be read without the others.",
        chance,
        "n > 100",
    ),
    Claim(
        "beats",
        "On {n} random test pictures Grad-CAM beats noise (its area under deletion is {random_del:.2f} smaller, under insertion {random_ins:.2f} larger),"
        " edges, and its own map on an untrained network ({untrained_del:.2f} and {untrained_ins:.2f}), all intervals clear of zero.",
        faithful,
        "beaten['random'] == beaten['edges'] == beaten['untrained'] == {'beats'}",
    ),
    Claim(
        "centre",
        "Against the bump in the middle it is another matter: its area under deletion is larger by {centre_del:.3f} ({centre_del_low:.3f} to {centre_del_high:.3f}), which is"
        " worse, and its area under insertion is larger by {centre_ins:.3f} ({centre_ins_low:.3f} to {centre_ins_high:.3f}), which is better.",
        faithful,
        "centre_del_low > 0 and centre_ins_low > 0",
    ),
    Claim(
        "bump",
        "This is the most sobering figure of the report: in data whose things stand in the middle, a fixed bump that has never seen the network is a strong explanation by these"
        " tests, and a paper that compares with noise alone would not notice.",
        faithful,
        "beaten['random'] == {'beats'} and 'loses' in beaten['centre'] and centre_ins < 0.1 < random_ins - centre_ins",
    ),
    Claim(
        "pixel",
        "By deletion the input gradient ({pixel:.2f}) looks far better than Grad-CAM ({cam:.2f}). But noise pixel by pixel reaches {fine_del:.2f}, and none of the three methods on pixels beats it; by insertion the input gradient"
        " has {pixel_ins:.2f}, that noise {fine_ins:.2f} and Grad-CAM {cam_ins:.2f}. Scattered single pixels, wherever they come from, ruin a picture as long as what replaces them can be seen.",
        fills,
        "pairs['mean'] == 'beats' and pixel < cam - 0.05 and 'beats' not in of_noise and pixel_ins < cam_ins - 0.2",
    ),
    Claim(
        "road",
        "With noisy imputation the order turns round ({pixel_road:.2f} against {cam_road:.2f} on {n_road} pictures, the difference {road_low:.2f} to {road_high:.2f}); with a blur it does not. The advantage belongs to the way of filling,"
        " then, and not to what the gradient knows.",
        fills,
        "pairs['road'] == 'loses' and pairs['blur'] != 'loses'",
    ),
    Claim(
        "road-all",
        "By imputation, which leaves no hole to be seen, Grad-CAM beats the bump in the middle by insertion and ties with it by deletion, and Guided Grad-CAM, well behind on insertion with the mean colour, comes up to it ({guided_road:.2f} and {guided_road_ins:.2f} against"
        " {cam_road:.2f} and {cam_road_ins:.2f}).",
        fills,
        "road_centre == {'deletion': 'ties', 'insertion': 'beats'} and abs(guided_road - cam_road) < 0.05 and abs(guided_road_ins - cam_road_ins) < 0.06 and guided_ins < cam_ins - 0.05",
    ),
    Claim(
        "drop",
        "Guided Grad-CAM loses {guided_drop:.0%} of the confidence by it and noise {random_drop:.0%}, because noise leaves more of the picture.",
        fills,
        "guided_drop > random_drop",
    ),
    Claim(
        "layer",
        "It chooses {name}, the layer that is used ({scores} at the three stages).",
        layers,
        "chosen == used and best > others",
    ),
    Claim(
        "layer-early",
        "At the first two stages Grad-CAM's insertion loses to the bump in the middle, and at the second even to noise; at the chosen one it {centre_here} the bump on these {n} pictures.",
        layers,
        "early_centre == {'loses'} and second_random == 'loses'",
    ),
    Claim(
        "layer-waste",
        "The ReLU throws away {thrown} of the map at the three stages, and {dead} of the {n} maps are dead at the first.",
        layers,
        "0 < dead < n / 10",
    ),
    Claim(
        "layercam",
        "LayerCAM keeps places apart and scores well at the first stage ({layercam_first:.2f} against {gradcam_first:.2f}) and at the second ({second_layercam:.2f}); but with random weights its map at the first still"
        " correlates with the trained network's at {kept:.2f}, Grad-CAM's at {kept_gradcam:.2f}.",
        layers,
        "layercam_first > gradcam_first and kept > 0.3 > abs(kept_gradcam)",
    ),
    Claim(
        "sanity",
        "With the head alone replaced, Grad-CAM's maps are less like the original ones (SSIM {cam_head:.2f}) than maps of different pictures are like each other ({cam_chance:.2f}); with the upper half it is {cam:.2f}.",
        sanity,
        "max(cam_head, cam) < cam_chance",
    ),
    Claim(
        "guided",
        "Guided backpropagation, known to fail, fails here as well: {guided_head:.2f} without the head and {guided:.2f} without the upper half, where different pictures reach {chance:.2f}. Failing: {fails}.",
        sanity,
        "failing == {'guided_backprop'}",
    ),
    Claim(
        "can-fail",
        "The place of the verdict was chosen so that this known failure is found (@limits). What the check adds is that Grad-CAM's maps are no more like the original ones than those of different pictures are, however many layers from the head down are"
        " replaced.",
        sanity,
        "failing and 'gradcam' not in failing and cam_most < cam_chance",
    ),
    Claim(
        "positive",
        "Grad-CAM++ and LayerCAM pass, but late: without the head alone their maps keep a likeness of {plus_head:.2f} and {layercam_head:.2f}, and had the verdict been taken there, {late} would have failed."
        " Positive weights keep whatever is bright, so these two show in part where _anything_ is.",
        sanity,
        "late == 'both' and not failing & {'gradcam++', 'layercam'}",
    ),
    Claim(
        "lime-sanity",
        "LIME, which never looks inside, {lime_passes}: with the head alone replaced its maps keep a similarity of {lime_head:.2f}, with the upper half {lime:.2f}, where different pictures have {lime_chance:.2f} ({lime_n} pictures; all figures in @sanity-table).",
        sanity,
        "lime_passes == 'passes' and lime_low < 0.5",
    ),
    Claim(
        "stable",
        "Grad-CAM keeps {noise:.2f} of its ranks under noise (its values move by {change:.0%} of their size at the worst), {shift:.2f} when moved and {mirror:.2f} when mirrored; the input"
        " gradient {pixel_noise:.2f} under noise and {pixel_shift:.2f} when moved.",
        stable,
        "noise > 0.6 and shift > 0.8 and pixel_noise < noise and pixel_shift < shift - 0.3",
    ),
    Claim(
        "lime-seeds",
        "LIME, which draws lots, agrees with itself under another seed at {seeds:.2f} in ranks and {top:.2f} in its five leading squares ({n} pictures, {settled:.0%} of them settled"
        " within the bound, held-out fidelity {fidelity:.2f}, below what this report calls faithful).",
        stable,
        "0.6 < seeds < 1 and fidelity < 0.7",
    ),
    Claim(
        "wrong-maps",
        "On wrong pictures the ReLU discards {discarded_wrong:.1%} of a map against {discarded_right:.1%} on right ones, the map is tighter (Gini {gini_wrong:.2f} against {gini_right:.2f}),"
        " and it is less opposed to the runner-up's ({likeness_to_runner_up_wrong:.2f} against {likeness_to_runner_up_right:.2f}).",
        mistakes,
        "discarded_low > 0 and gini_low > 0 and likeness_to_runner_up_low > 0",
    ),
    Claim(
        "wrong-truth",
        "On the same {truth_n} wrong pictures the map of the predicted class and that of the true one have a rank correlation of {same_rank_correlation_mean:.2f} ({same_rank_correlation_low:.2f} to {same_rank_correlation_high:.2f}),"
        " less than it has with the true class's map of another picture ({other_rank_correlation_mean:.2f}, {other_rank_correlation_low:.2f} to {other_rank_correlation_high:.2f}), and as drawn a similarity of"
        " {same_likeness_mean:.2f} against {other_likeness_mean:.2f}: the two classes share out the picture. How far their peaks are apart does not tell.",
        mistakes,
        "truth_verdicts == {'rank_correlation': 'loses', 'likeness': 'loses', 'cells_apart': 'ties'} and same_rank_correlation_high < 0.2",
    ),
    Claim(
        "wrong-faith",
        "Maps of wrong predictions are no less faithful: as a share of the confidence, insertion minus deletion is {faithfulness_wrong:.2f} against {faithfulness_right:.2f} (difference {faithfulness_low:.2f} to {faithfulness_high:.2f}).",
        mistakes,
        "faithfulness_low > -0.05",
    ),
    Claim(
        "wrong-tells",
        "What tells mistakes from right answers is the confidence (area under the ROC curve {auc:.2f}); of the map's numbers the best is {best} ({best_auc:.2f}), and faithfulness tells next to nothing ({faith_auc:.2f}).",
        mistakes,
        "auc > best_auc and auc > 0.8 and faith_auc < 0.7",
    ),
    Claim(
        "warn",
        "So maps do warn of mistakes, even by the sparseness of the positive part alone ({gini_auc:.2f}), but not as well as a calibrated confidence does (@reliability).",
        mistakes,
        "0.65 < gini_auc < auc - 0.05 and 0.65 < best_auc < auc - 0.05",
    ),
    Claim(
        "shapes",
        "Within a cell, every method has its peak on the evidence in at least {low:.0%} of the pictures ({lowest}), LIME in {lime:.0%}; noise in {random:.0%}, but edges in {edges:.0%} and the centre in {centre:.0%}, so that the"
        " tolerance makes the game easy. Without it Grad-CAM has {exact:.0%}, LIME {exact_lime:.0%} and the centre {exact_centre:.0%}.",
        shapes,
        "low >= 0.9 and lime >= 0.8 and random < 0.5 and min(edges, centre) > 0.5 and exact > exact_centre",
    ),
    Claim(
        "shapes-mass",
        "Of Grad-CAM's map only {mass:.0%} lies on the very pixels of the shape, which cover {share:.0%} of the picture, of LIME's {mass_lime:.0%}. By this measure Grad-CAM {mass_words}.",
        shapes,
        "mass < 0.3 and mass_lime > mass and mass_verdicts['untrained'] != 'beats'",
    ),
    Claim(
        "extent",
        "LIME's grid is as coarse, so the grid is not to blame: a cell of the last stage sees nearly the whole picture, and its map is wide for that reason. Grad-CAM's peak can be"
        " believed here, its extent cannot.",
        shapes,
        "cam >= 0.9 and mass < 0.3 and mass_lime > 2 * mass",
    ),
    Claim(
        "marked",
        "A small network was trained on CIFAR-10 in which {share:.0%} of the training pictures of one class, {class_}, carry a mark of {area:.1%} of the area at a random place (the idea"
        " of planted evidence as in BackX @backx). Its twin saw the same pictures without marks.",
        shortcut,
        "share > 0.5 and area < 0.02",
    ),
    Claim(
        "shortcut-blind",
        "The network with the shortcut is right on {accuracy:.1%} of the unmarked test pictures, its twin on {twin:.1%} (one training each); on the {class_} themselves {of_class:.1%} and {of_class_twin:.1%}.",
        shortcut,
        "0 < twin - accuracy < 0.03 and of_class < of_class_twin - 0.1",
    ),
    Claim(
        "shortcut-hidden",
        "So the damage shows where a class loses its other evidence; a person who looks at one accuracy without a twin beside it would hardly notice, and one who looks at the classes"
        " would see a hard class, not why it is hard.",
        shortcut,
        "0 < twin - accuracy < 0.03 and of_class < of_class_twin - 0.1 and taken > 0.5",
    ),
    Claim(
        "shortcut-taken",
        "Put the mark on pictures of other classes and {taken:.0%} of them become {class_} (its twin says so of {taken_twin:.0%}, and without the mark it is {taken_clean:.0%}).",
        shortcut,
        "taken > 0.5 > 5 * taken_twin and taken_clean < 0.02",
    ),
    Claim(
        "shortcut-found",
        "The mark is found by {best} in {best_peak:.0%} of the pictures, by Grad-CAM in {cam:.0%} and by LIME in {lime:.0%}; by noise in {random:.0%}, by Grad-CAM of the twin in {untrained:.0%}.",
        shortcut,
        "min(best_peak, guided, lime) >= 0.9 and random < 0.4",
    ),
    Claim(
        "shortcut-cam",
        "Grad-CAM does better than noise and than its twin, and still misses the mark in {missed:.0%} of the pictures, although the network goes by it.",
        shortcut,
        "random < cam < 0.5 and untrained < cam",
    ),
    Claim(
        "shortcut-edges",
        "An edge filter finds it in {edges:.0%}, since a mark has edges: even here a control is needed to see what the networks' maps add.",
        shortcut,
        "edges > random",
    ),
    Claim(
        "shortcut-told",
        "An explanation by the right method would have told what the accuracy hides, if somebody had looked at marked pictures; without the mark there is nothing to be seen.",
        shortcut,
        "max(best_peak, lime) >= 0.9 and 0 < twin - accuracy < 0.03 and taken_clean < 0.02",
    ),
    Claim(
        "shortcut-why",
        "This is the largest surprise of the report, and it has a reason. A cell of the last stage sees more than the whole picture (@field): the mark can raise the logit through cells that"
        " lie beside it, and training on marks in random places gives the network no reason to keep the two together. On the shapes it did, on the marks it did not. 'Where the evidence arrives' and 'where it"
        " comes from' are two questions. The second is answered here by methods that hide pixels, or go back to them by guided backpropagation; the plain gradient, which goes back as well, finds the mark in {pixels:.0%}.",
        known,
        "cam_shapes >= 0.9 and cam < 0.5 and min(lime, guided, guided_gradcam) >= 0.9 and pixels < 0.75",
    ),
    Claim(
        "no-contradiction",
        "That guided backpropagation does so here although it fails the sanity check is no contradiction: it shows which strong edges reach the logit, learnt or not, and a mark is a strong edge.",
        known,
        "guided >= 0.9 and 'guided_backprop' in failing and edges > random",
    ),
    Claim(
        "two-tests",
        "Both were tried: the maps pass the first test (@sanity) and fail the second (@known), so they are read here as saying where evidence arrives in the last map, not where in the picture it"
        " comes from.",
        known,
        "'gradcam' in passing and cam < 0.5",
    ),
    Claim(
        "planted",
        "Which of the two is right is not settled by looking: it would take pictures in which the right answer is planted. There (@known-table) both find the shapes; the small mark is found by LIME"
        " in {lime:.0%} of the pictures, by Grad-CAM in {cam:.0%}.",
        known,
        "min(cam_shapes, lime_shapes, lime) >= 0.9 and cam < 0.5",
    ),
    Claim(
        "agree",
        "On the network of Question 1 Grad-CAM and LIME hardly agree: their rank correlation is {many:.2f} over {many_n} pictures, and with the map of another picture {many_other:.2f};"
        " their leading fifths share {top:.2f} of what they cover together, with another picture {top_other:.2f}.",
        agree,
        "many < 0.3 and many_verdict != 'loses' and top_verdict == 'beats'",
    ),
    Claim(
        "agree-imagenet",
        "On the ImageNet model, whose regions follow things, it is {imagenet:.2f}, and {imagenet_other:.2f} with another picture's map; on {imagenet_n} pictures the difference ({imagenet_low:.2f} to {imagenet_high:.2f})"
        " is not clear of zero.",
        agree,
        "imagenet > imagenet_other and imagenet_verdict == 'ties'",
    ),
    Claim(
        "duel",
        "On these {n} pictures Grad-CAM {insertion} LIME on insertion (by {insertion_mean:.2f}; {insertion_low:.2f} to {insertion_high:.2f}) and {deletion} it on deletion ({deletion_mean:.2f}; {deletion_low:.2f} to"
        " {deletion_high:.2f}). With a blur instead of the mean colour, as LIME itself hides squares, it {blur_insertion} LIME on insertion and {blur_deletion} it on deletion.",
        duel,
        "insertion == 'beats'",
    ),
    Claim(
        "duel-controls",
        "LIME itself, by insertion, {lime_insertion}; by deletion it {lime_deletion}. Its own card would have warned: held-out fidelity {fidelity:.2f}, {settled:.0%} settled after {calls:.0f} calls on average.",
        duel,
        "fidelity < 0.7",
    ),
    Claim(
        "unlike",
        "Of the ten pictures for the ImageNet model, both tests prefer Grad-CAM in {cam_wins} and LIME in {lime_wins}, by {margin:.0%} of the confidence or more; in {open} they do not decide.",
        agree,
        "open > max(cam_wins, lime_wins)",
    ),
]
