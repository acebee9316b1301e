"""Which of ImageNet's 1000 classes are kinds of which CIFAR-10 class.

By meaning, from the names of the ILSVRC-2012 classes (Russakovsky et al., arXiv:1409.0575) and WordNet's hyponyms, with CIFAR-10's own
limits (Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html: automobile includes sedans and SUVs, truck only big trucks, neither
includes pickup trucks, hence no class 717). ImageNet has no deer: its closest relatives there are the three antelopes, which are
listed and said to be relatives. It has one horse, the sorrel; a zebra is not counted as one.
"""

from common.data import CIFAR10_CLASSES

KINDS: dict[str, tuple[int, ...]] = {
    "airplane": (404, 895),  # airliner, warplane
    "automobile": (407, 436, 468, 511, 609, 627, 656, 661, 751, 817),  # ambulance to sports car
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "cat": (281, 282, 283, 284, 285),
    "deer": (351, 352, 353),  # hartebeest, impala, gazelle: relatives
    "dog": tuple(range(151, 269)),
    "frog": (30, 31, 32),
    "horse": (339,),  # sorrel
    "ship": (
        403,
        472,
        484,
        510,
        554,
        576,
        625,
        628,
        724,
        780,
        814,
        833,
        871,
        914,
    ),  # aircraft carrier to yawl, watercraft all
    "truck": (555, 569, 675, 864, 867),  # fire engine, garbage truck, moving van, tow truck, trailer truck
}
RELATIVES_ONLY = ("deer",)
CIFAR_CLASS: dict[int, str] = {number: name for name, numbers in KINDS.items() for number in numbers}
assert tuple(KINDS) == CIFAR10_CLASSES and len(CIFAR_CLASS) == sum(map(len, KINDS.values()))


def meaning(number: int) -> str | None:
    """The CIFAR-10 class that an ImageNet class is a kind of, or None."""
    return CIFAR_CLASS.get(number)
