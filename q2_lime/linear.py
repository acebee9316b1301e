"""A linear text classifier: TF-IDF, one coefficient for each word and class, a temperature. Trained by scikit-learn, stored as arrays.

What it computes stands here in full, so that an explanation of it can be held against the right answer. For a text in which
word j occurs c_j times,

    v_j = (1 + ln c_j) idf_j for c_j > 0, else 0;    x = v / |v|_2;    margin_k = b_k + sum_j x_j W_jk              (1)

and the probabilities are the softmax of the margins divided by the temperature (for logistic regression 1). The contribution of
word j to margin k is x_j W_jk: they add up to the margin, less the intercept.
"""

import json
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array
from scipy.special import softmax

from common.cli import UserError, first_line
from common.results import write_npz

WORD = re.compile(r"(?u)\b\w\w+\b")  # scikit-learn's default: two letters or more, in lower case
FORMAT = 1
KINDS = ("svm", "logistic_regression")


@dataclass(frozen=True)
class LinearModel:
    """A trained classifier of V words and K classes.

    Attributes:
        kind: one of KINDS.
        classes: names in the order of the margins.
        vocabulary: word (or `ngrams` words joined by blanks) -> column.
        idf: (V,); coefficients: (V, K); intercept: (K,).
        temperature: what the margins are divided by before the softmax; it changes no decision.
        ngrams: longest run of words that is a feature.
        stripped: whether it was trained on posts without headers, footers and quotes.
        dataset: name of the posts it was trained on.
        settings: what cross-validation chose.
    """

    kind: str
    classes: tuple[str, ...]
    vocabulary: dict[str, int]
    idf: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray
    temperature: float
    ngrams: int
    stripped: bool
    dataset: str
    settings: dict

    def tokens(self, text: str) -> list[str]:
        """The features of a text, in order, known or not."""
        words = WORD.findall(text.lower())
        runs = (
            words[i : i + n] for n in range(1, self.ngrams + 1) for i in range(len(words) - n + 1)
        )
        return [" ".join(run) for run in runs]

    def vectors(self, texts: list[str]) -> csr_array:
        """x of equation 1 for each text: (N, V) sparse. A text without a known word gives zeros."""
        data, columns, ends = [], [], [0]
        for text in texts:
            column, count = np.unique(
                [c for t in self.tokens(text) if (c := self.vocabulary.get(t)) is not None],
                return_counts=True,
            )
            column = column.astype(int)
            value = (1 + np.log(count)) * self.idf[column]
            data.append(value / max(np.linalg.norm(value), 1e-12))
            columns.append(column)
            ends.append(ends[-1] + len(column))
        return csr_array(
            (np.concatenate(data), np.concatenate(columns), ends), shape=(len(texts), len(self.idf))
        )

    def margins(self, texts: list[str]) -> np.ndarray:
        """(N, K), equation 1."""
        return self.vectors(texts) @ self.coefficients + self.intercept

    def probabilities(self, texts: list[str]) -> np.ndarray:
        """(N, K), rows adding up to 1."""
        return softmax(self.margins(texts) / self.temperature, axis=1)

    def contributions(self, text: str, words: list[str]) -> np.ndarray:
        """x_j W_jk for each of `words` (d, K): the right answer that an explanation of the margins should come to."""
        x = np.asarray(self.vectors([text]).todense())[0]
        columns = [self.vocabulary[word] for word in words]
        return x[columns, None] * self.coefficients[columns]


def save(path: str | Path, model: LinearModel) -> Path:
    """Writes a model as a compressed `.npz` of plain arrays; the coefficients in 16 bits, as `load` gives them back."""
    words = sorted(model.vocabulary, key=model.vocabulary.get)
    about = {"format": FORMAT, "kind": model.kind, "classes": model.classes, "ngrams": model.ngrams}
    about |= {
        "temperature": model.temperature,
        "stripped": model.stripped,
        "dataset": model.dataset,
    }
    about |= {"settings": model.settings}
    return write_npz(
        path,
        about=_bytes(json.dumps(about)),
        vocabulary=_bytes("\n".join(words)),
        idf=model.idf.astype(np.float32),
        coefficients=model.coefficients.astype(np.float16),
        intercept=model.intercept.astype(np.float64),
    )


def load(path: str | Path) -> LinearModel:
    """Reads what `save` wrote. Nothing in the file can run code.

    Raises:
        UserError: no such file; damaged; something else.
    """
    if not Path(path).is_file():
        raise UserError(f"there is no text model {path}: train one with q2_lime/train_text.py")
    try:
        with np.load(path, allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            words = file["vocabulary"].tobytes().decode().split("\n")
            arrays = {
                name: file[name].astype(np.float64) for name in ("idf", "coefficients", "intercept")
            }
        shapes = ((len(words),), (len(words), len(about["classes"])), (len(about["classes"]),))
        if (
            about.pop("format") != FORMAT
            or tuple(array.shape for array in arrays.values()) != shapes
        ):
            raise UserError(
                f"{path} is not a text model of this project: train one with q2_lime/train_text.py"
            )
        about["classes"] = tuple(about["classes"])
        return LinearModel(**about, vocabulary={word: k for k, word in enumerate(words)}, **arrays)
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        EOFError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise UserError(
            f"{path} is damaged or not a text model ({first_line(error)}): train it again"
        ) from None


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)
