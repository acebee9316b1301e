"""What the report says of the results: each sentence once, with the values it names and the condition under which it is true.

`text` is a sentence with a place for each value, `values` takes them from the results files (report/values.py), `holds` is an expression
over the same values. report/build.py checks all of them before it builds anything; the chapters show them with `#claim("name")`.
"""

from report import trust_claims
from report import values as v
from report.claim import Claim

# The inputs whose results the sentences were written about; some describe single pictures. Results of others may well say other things.
WRITTEN_ABOUT = {
    "q1_gradcam/explanations": {"checkpoint_sha256": "2b06aebb794a3dff", "data_sha256": "9202aa8393eedc94"},
    "q2_lime/images/explanations": {"weights_sha256": "866b458b3b9d777b", "data_sha256": "9202aa8393eedc94"},
    "q2_lime/text/explanations": {"svm_sha256": "e3a99e2894372331", "data_sha256": "37e5474789dfabce"},
}
NETWORK = WRITTEN_ABOUT["q1_gradcam/explanations"]["checkpoint_sha256"]


def other_inputs(found: v.Results) -> list[str]:
    """A line for each input that is not the one the sentences were written about."""
    return [
        f"{name}.json has another {key.removesuffix('_sha256')} than the one that the text was written about"
        for name, hashes in WRITTEN_ABOUT.items()
        for key, start in hashes.items()
        if name in found and not str(found[name]["provenance"].get(key)).startswith(start)
    ]


def check(found: v.Results) -> tuple[dict[str, str | None], dict[str, str]]:
    """The sentence of every claim (None where its results are missing), and by name a line for each claim that does not hold."""
    sentences, failures = {}, {}
    for claim in CLAIMS:
        try:
            values = claim.values(found)
        except v.Missing:
            sentences[claim.name] = None
            continue
        except (LookupError, TypeError, ValueError) as error:
            failures[claim.name] = (
                f"claim {claim.name!r}: its results are not as expected ({type(error).__name__}: {error})"
            )
            continue
        sentences[claim.name] = claim.text.format(**values)
        if not eval(
            claim.holds, {"min": min, "max": max, "abs": abs, "set": set, "len": len, "NETWORK": NETWORK}, values
        ):
            shown = ", ".join(f"{key}={value!r}" for key, value in values.items())
            failures[claim.name] = f"claim {claim.name!r} needs {claim.holds} but {shown}: {sentences[claim.name]!r}"
    return sentences, failures


CLAIMS = [
    # --- Question 1: the network ---
    Claim("accuracy", "The network is right on {one:.2%} of the {n:,} test pictures from a single view (95% interval {low:.2%} to {high:.2%}),"
          " and on {two:.2%} when the logits of the picture and of its mirror image are averaged.",
          v.accuracy, "low > 0.92 and two > one"),
    Claim("headline", "It has {million:.2f} million parameters and was trained from scratch in {minutes:.0f} minutes on an ordinary processor ({hardware}).",
          v.accuracy, "million < 2 and minutes < 120"),
    Claim("luck", "{luck}", v.training, "True"),
    Claim("held-out", "The {held_n:,} pictures that were kept from training had promised {held:.1%}; the test result lies within what so"
          " few pictures can tell.",
          v.accuracy, "abs(held - one) < 2 * (held * (1 - held) / held_n) ** 0.5"),
    Claim("steps", "The step to full-size pictures, in epoch {epoch}, takes the held-out accuracy from {small:.1%} to {full:.1%}, a gain"
          " of {gain:.0f} points in a single epoch.",
          v.steps, "gain > 3"),
    Claim("classes", "The weakest classes are {worst} ({worst_share:.1%}) and {second} ({second_share:.1%}), the strongest is {best}"
          " ({best_share:.1%}). The first two are also taken for each other more often than any other pair: {both} times, which is"
          " {share:.0%} of all {wrong} mistakes.",
          v.classes, "pair == {worst, second} and mirrored"),
    Claim("kinds", "{within:.0%} of the {wrong} mistakes stay among the animals or among the vehicles; if every wrong answer were equally likely, it"
          " would be {by_chance:.0%}.",
          v.kinds, "within > by_chance + 0.2"),
    Claim("calibration", "As trained the network says less than it knows: its expected calibration error is {before:.1%}. Dividing the logits"
          " by one temperature, {t:.2f}, fitted on the {held:,} held-out pictures, brings it to {after:.1%}; the mean confidence is then"
          " {mean:.1%} beside an accuracy of {accuracy:.1%}.",
          v.calibration, "after < 0.02 < before and t < 1 and abs(mean - accuracy) < 0.02"),
    Claim("unsure", "One temperature mostly suits the many sure answers: on the {n:,} pictures in bins of a mean confidence between {low:.0%} and {high:.0%} it is right on {right:.0%}"
          " and says {said:.0%}.",
          v.unsure, "0.02 < said - right < 0.12"),
    # --- Question 1: the maps ---
    Claim("dead", "None of the {maps} maps is dead, that is, zero after the ReLU.", v.wrong, "dead == 0"),
    Claim("relu", "Of the absolute mass of a map the ReLU discards {discarded:.2%} for the predicted class of the right pictures (median), but"
          " {discarded_true:.0%} for the true class of the wrong ones.",
          v.maps, "discarded < 0.01 < discarded_true"),
    Claim("area", "The part above half of the peak covers {area_right:.0%} of a picture that is classified correctly and {area_wrong:.0%} of"
          " one that is not (medians).",
          v.maps, "area_right > area_wrong + 0.03"),
    Claim("sums", "The map of the class that it says adds up to {sum_right:.2f} on right pictures and to {sum_wrong:.2f} on wrong ones, the map"
          " of the true class on these to {sum_wrong_true:.2f} (medians): a mistake is a decision on weaker evidence.",
          v.maps, "sum_right > sum_wrong + 0.5 and sum_wrong > sum_wrong_true + 0.5"),
    Claim("ring", "The outermost ring makes up {ring_cells:.0%} of the cells and holds {ring_mass:.0%} of the mass of the right pictures' maps.",
          v.maps, "ring_mass < 0.75 * ring_cells"),
    Claim("alike", "On wrong pictures the two maps have hardly anything to do with each other: their correlation over the cells has the median"
          " {alike:.2f} (quartiles {alike_low:.2f} and {alike_high:.2f}), and their peaks lie {apart:.0f} cells apart.",
          v.maps, "abs(alike) < 0.3 and apart >= 2"),
    Claim("wrong", "Of the {n} wrong pictures that were drawn, {sure} are misjudged with a confidence above {limit:.0%}; the median is {median:.0%},"
          " against {median_right:.0%} on the right ones.",
          v.wrong, "sure >= 3 and median < median_right - 0.1"),
    Claim("cost", "A map costs {ours:.2f} plain forward passes, no more than Captum's ({captum:.2f}) and far less than pytorch-grad-cam's ({package:.2f}),"
          " measured on {pictures} pictures.",
          v.cost, "ours < 1.3 and ours < captum + 0.15 and package > 2 * ours"),
    # These describe pictures, so they hold for these pictures alone.
    Claim("story-ships", "Ships are nearly always on water, and a classifier could well have learnt the water; on most of the {n} drawn here the peak lies on hull or"
          " superstructure, on one it lies on the ground below.",
          lambda r: v.drawn(r, "ship"), "first == 55 and last == 1286 and n == 10 and network == NETWORK"),
    Claim("story-cars", "Of the {n} cars most are covered whole; on two the map spares the middle, a bonnet and a row of windows, and keeps what is around it.",
          lambda r: v.drawn(r, "automobile"), "first == 6991 and last == 5048 and n == 10 and network == NETWORK"),
    Claim("story-two", "Picture {index}, a car with a tent on its roof, is taken for a truck ({confidence:.0%}): the map for truck lies where tent and car meet, the map"
          " for automobile on the car's rear and the road.",
          lambda r: v.story(r, "automobile", "truck"), "index == 6759 and network == NETWORK"),
    Claim("story-view", "Picture {index}, a frog's striped face from close by, is taken for a cat ({confidence:.0%}).",
          lambda r: v.story(r, "frog", "cat"), "index == 3446 and network == NETWORK"),
    Claim("story-shape", "Picture {index}, a boat whose sail is spread like a wing, is taken for a bird ({confidence:.0%}): the map for bird lies on sail and mast, the map for ship on"
          " hull and water.",
          lambda r: v.story(r, "ship", "bird"), "index == 8325 and network == NETWORK"),
    Claim("story-label", "Picture {index}, labelled cat, is taken for a dog ({confidence:.0%}).",
          lambda r: v.story(r, "cat", "dog", 2804), "index == 2804 and network == NETWORK"),
    Claim("captum", "The maps agree with Captum's: the largest relative difference is {off:.1g}.", v.cost, "off < 1e-5"),
    # --- Question 2: pictures ---
    Claim("recognised", "Of the {n} pictures the ImageNet model takes {right} for their class or a kind of it.", v.pictures, "right <= n / 2"),
    Claim("known", "Of {known_of} training pictures it recognised {known:.0%} with the same enlargement, so the draw is not an unlucky one.",
          v.pictures, "known < 0.5 and abs(known - right / n) < 0.3"),
    Claim("fidelity", "The linear surrogate explains {fidelity:.0%} of the variance on masks that it was not fitted to (median; from {low:.0%} to"
          " {high:.0%}), the five leading regions of different seeds overlap by {overlap:.2f}, and an explanation takes {calls:.0f} model calls.",
          v.pictures, "0.65 < fidelity < 0.9 and overlap > 0.75"),
    Claim("verdicts", "{bad} of the {n} explanations ({names}) say of themselves that they are not to be trusted.", v.pictures, "0 < bad < n"),
    Claim("settled", "Only {settled} of the {n} explanations were settled before the bound of {bound} masks; the others stopped there.",
          v.pictures, "settled < n"),
    Claim("miss", "At the unmasked picture itself the surrogate misses the model's log-odds by {miss:.2f} (median).", v.pictures, "miss > 0.3"),
    Claim("beside", "On {n} other pictures the package with its defaults reaches an in-sample fidelity of {theirs:.2f} and a top-five overlap of"
          " {theirs_overlap:.2f} (by chance {theirs_chance:.2f}) with {theirs_calls:,.0f} calls; this project a held-out fidelity of {ours:.2f} and an"
          " overlap of {ours_overlap:.2f} (by chance {ours_chance:.2f}) with {ours_calls:.0f} calls, {faster:.1f} times as fast.",
          v.beside, "ours > theirs + 0.3 and ours_overlap - ours_chance > theirs_overlap - theirs_chance + 0.1 and faster > 2"),
    Claim("seen", "For the horse, trunk and legs speak for '{horse}', but a piece of background above them is among the five leading regions, too. The"
          " airplane that is called a {airplane} is explained by its dark, elongated fuselage. The frog, called a {frog} (a mushroom), owes it to the"
          " rim of its back, while most of its body speaks against; that explanation is among those that are not to be trusted.",
          v.seen, "horse == 'sorrel' and airplane == 'polecat' and frog == 'gyromitra' and indices == {1965, 7589, 9833} and bad_frog"),
    Claim("regions", "The fewer the regions, the more faithful a linear model of them: {few:.2f} with {few_n:.0f}, {usual:.2f} with {usual_n:.0f},"
          " {many:.2f} with {many_n:.0f}.",
          v.ablation, "few > usual > many + 0.2"),
    Claim("values", "Explaining the log-odds instead of the probability raises the fidelity from {probability:.2f} to {log_odds:.2f}, local masks"
          " (GLIME) instead of fair coins from {lime:.2f} to {glime:.2f}.",
          v.ablation, "log_odds > probability + 0.15 and glime > lime + 0.15 and glime > stratified"),
    Claim("width", "The kernel width, by contrast, does nothing between {width_at} and {wide_at} (fidelity {width:.2f} and {wide:.2f}), and"
          " {narrow_at} ruins the fit ({narrow:.2f}).",
          v.ablation, "abs(width - wide) < 0.1 and narrow < width - 0.2"),
    Claim("nearest", "By fidelity alone the nearest-neighbour enlargement would have been as good a choice ({nearest:.2f} against {bicubic:.2f}); but of"
          " such pictures the model recognises {nearest_known:.0%}, of bicubic ones {bicubic_known:.0%}.",
          v.ablation, "nearest > bicubic - 0.05 and nearest_known < 0.5 * bicubic_known"),
    Claim("local", "Showing still more in every mask raises the fidelity further, to {p95:.2f}, because a smaller neighbourhood is more nearly linear,"
          " without a steadier choice of leading regions ({p95_overlap:.2f} against {p85_overlap:.2f}).",
          v.ablation, "p95 > glime and p95_overlap <= p85_overlap + 0.05"),
    # --- Question 2: posts ---
    Claim("texts", "The linear SVM reaches {svm:.1%} on the test posts (95% interval {low:.1%} to {high:.1%}), logistic regression {lr:.1%}.",
          v.texts, "low > 0.84 and svm > lr"),
    Claim("stripped", "Trained and tested on posts without headers, footers and quotes the SVM reaches {svm_s:.1%} ({low_s:.1%} to {high_s:.1%}),"
          " {drop:.0f} points less.",
          v.texts, "drop > 10"),
    Claim("search", "The four best settings of the SVM lie within {whole:.1f} points on whole posts and {bare:.1f} on stripped ones, less than the spread between"
          " folds ({whole_spread:.1f} and {bare_spread:.1f}): the choice among them is a toss.",
          v.search, "whole < whole_spread and bare < bare_spread"),
    Claim("search-edge", "On stripped posts both families take the strongest penalty that was tried (C = {svm_C} and {lr_C:.0f}): there is less text to learn from, and a still"
          " stronger one might do a little better.",
          v.search, "svm_C == svm_least and lr_C == lr_least"),
    Claim("transfer", "On stripped posts the SVM trained on whole ones, the better of the two by the usual score, gets {full_on_s:.1%}, {gap:.1f} points"
          " less than the one trained on stripped posts.",
          v.texts, "0 < gap < 5"),
    Claim("posts", "On the {n} posts that the SVM is explained on, the median held-out fidelity is {fidelity:.3f}, the overlap between seeds {overlap:.2f},"
          " and the rank correlation of LIME's weights with the true contributions {truth:.2f} (lowest {truth_low:.2f}).",
          v.posts, "fidelity > 0.98 and overlap > 0.9 and truth > 0.85"),
    Claim("post-verdicts", "Of all {all} explanations of posts (both classifiers), {bad} says of itself that it is not to be trusted.",
          v.posts, "bad == 1"),
    Claim("post-errors", "The SVM is right on {right} of the {n} posts; the rest it takes for {wrong_as}.", v.posts, "right < n and kinds == 1"),
    Claim("leak", "Of the weight of the {top} leading words, {out:.0%} lies outside the body of the post ({low:.0%} to {high:.0%}, {posts} posts);"
          " of the words themselves it is {words:.0%}.",
          v.leak, "abs(out - words) < 0.08 and words > 0.5"),
    Claim("leak-tame", "The SVM trained on stripped posts, shown the same whole posts, puts {out_s:.0%} there ({low_s:.0%} to {high_s:.0%}), {points:.0f} points less."
          " Small as it is, the difference is systematic: it has this sign in {more} of the {groups} groups (sign test, p = {p:.4f}).",
          v.leak, "0 < points < 10 and p < 0.01"),
    Claim("leak-feet", "One group stands out: in {foot}, {foot_share:.0%} of the weight lies in footers, where the median group has {foot_median:.0%}.",
          v.leak, "foot_share > 2 * foot_median and foot == 'rec.motorcycles'"),
    Claim("margins", "LIME on the margin is faithful to {margin:.3f}, on the probability only to {probability:.2f}, and its weights then agree less with"
          " the true contributions ({truth_probability:.2f} against {truth_margin:.2f}).",
          v.text_ablation, "margin > 0.99 and probability < 0.7 and truth_probability < truth_margin - 0.1"),
    Claim("same", "For the package's own masks this project's arithmetic gives the package's weights up to {same:.0e}, {ratio:.0f} times as fast; as it"
          " is used here, settling early, an explanation is {usual:.0f} times as fast.",
          v.text_ablation, "same < 1e-9 and ratio > 5 and usual > ratio"),
    *trust_claims.CLAIMS,
]  # fmt: skip
