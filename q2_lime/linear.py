"""A linear text classifier: TF-IDF features, one coefficient per word and class, and a temperature.

For a text in which word j occurs c_j times,

    v_j = (1 + ln c_j) idf_j if c_j > 0, else 0;  x = v / |v|_2;
    margin_k = b_k + sum_j x_j W_jk                                                          (1)

and the probabilities are softmax(margins / temperature). Word j contributes x_j W_jk to margin k.
The contributions are the ground truth for explanations: they add up to margin_k - b_k.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from common.cli import UserError, class_names, first_line
from common.results import write_npz

import numpy as np
from scipy.sparse import csr_array
from scipy.special import softmax

WORD = re.compile(r"(?u)\b\w\w+\b")  # scikit-learn's default: two or more letters or digits
FORMAT = 1
KINDS = ("svm", "logistic_regression")
ARRAYS = ("idf", "coefficients", "intercept")
ABOUT = ("kind", "classes", "temperature", "stripped", "dataset", "settings")


@dataclass(frozen=True)
class LinearModel:
    """A trained classifier with V words and K classes.

    Raises ValueError if shapes do not fit, a number is not finite, or the temperature is not above
    zero.
    """

    kind: str  # one of KINDS
    classes: tuple[str, ...]  # in the order of the margins
    vocabulary: dict[str, int]  # word -> column
    idf: np.ndarray  # (V,) inverse document frequencies
    coefficients: np.ndarray  # (V, K)
    intercept: np.ndarray  # (K,)
    temperature: float  # divides the margins before the softmax
    stripped: bool  # whether it was trained on posts without headers, footers and quotes
    dataset: str  # name of the training posts
    settings: dict  # hyperparameters chosen by cross-validation

    def __post_init__(self):
        v, k = len(self.vocabulary), len(self.classes)
        shapes = [getattr(self, name).shape for name in ARRAYS]
        if shapes != [(v,), (v, k), (k,)]:
            raise ValueError(f"shapes {shapes} do not fit {v} features and {k} classes")
        if not all(np.isfinite(getattr(self, name)).all() for name in ARRAYS):
            raise ValueError("a parameter is not finite")
        if not 0 < self.temperature < np.inf:
            raise ValueError(f"temperature {self.temperature} is not a positive number")

    def vectors(self, texts: list[str]) -> csr_array:
        """TF-IDF vectors x of equation 1, sparse (N, V). Texts without known words give zeros."""
        data, columns, ends = [], [], [0]
        for text in texts:
            words = WORD.findall(text.lower())
            known = [self.vocabulary[word] for word in words if word in self.vocabulary]
            column, count = np.unique(np.array(known, int), return_counts=True)
            value = (1 + np.log(count)) * self.idf[column]
            data.append(value / max(np.linalg.norm(value), 1e-12))
            columns.append(column)
            ends.append(ends[-1] + len(column))
        parts = (np.concatenate(data), np.concatenate(columns), ends)
        return csr_array(parts, shape=(len(texts), len(self.idf)))

    def margins(self, texts: list[str]) -> np.ndarray:
        """Margins of equation 1, (N, K)."""
        return self.vectors(texts) @ self.coefficients + self.intercept

    def probabilities(self, texts: list[str]) -> np.ndarray:
        """Class probabilities (N, K)."""
        return softmax(self.margins(texts) / self.temperature, axis=1)

    def contributions(self, text: str, words: list[str]) -> np.ndarray:
        """The contribution x_j W_jk of each of `words` to each margin, (d, K)."""
        x = np.asarray(self.vectors([text]).todense())[0]
        columns = [self.vocabulary[word] for word in words]
        return x[columns, None] * self.coefficients[columns]


def save(path: str | Path, model: LinearModel) -> Path:
    """Writes a model as a compressed `.npz` of plain arrays, coefficients in 16 bits."""
    words = sorted(model.vocabulary, key=model.vocabulary.get)
    about = {"format": FORMAT} | {name: getattr(model, name) for name in ABOUT}
    return write_npz(
        path,
        about=_bytes(json.dumps(about)),
        vocabulary=_bytes("\n".join(words)),
        idf=model.idf.astype(np.float32),
        coefficients=model.coefficients.astype(np.float16),
        intercept=model.intercept.astype(np.float64),
    )


def load(path: str | Path) -> LinearModel:
    """Reads a model written by `save`. Raises UserError if there is none or it is damaged."""
    if not Path(path).is_file():
        raise UserError(f"there is no text model {path}: train one with q2_lime/train_text.py")
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            words = file["vocabulary"].tobytes().decode().split("\n")
            arrays = {name: file[name].astype(np.float64) for name in ARRAYS}
        if about.pop("format") != FORMAT or about.pop("ngrams", 1) != 1:
            raise ValueError("unknown format")
        about["classes"] = class_names(about["classes"])
        vocabulary = {word: column for column, word in enumerate(words)}
        if len(vocabulary) < len(words):
            raise ValueError("a word occurs twice in the vocabulary")
        return LinearModel(**about, vocabulary=vocabulary, **arrays)
    except Exception as error:  # a damaged file can raise almost anything
        problem = f"{path} is damaged or not a text model ({first_line(error)})"
        raise UserError(f"{problem}: train it again with q2_lime/train_text.py") from None


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)
