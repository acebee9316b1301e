"""LIME for any text classifier with a `predict_proba`; here, naive Bayes of scikit-learn.

python examples/lime_any_text_model.py
"""

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from common import newsgroups
from q2_lime import core, text

corpus = newsgroups.load_corpus()  # built-in posts
model = make_pipeline(CountVectorizer(), MultinomialNB()).fit(corpus.train, corpus.y_train)
post = text.read(corpus.test[0])
label = int(model.predict([post.text])[0])


def log_odds(masks):
    """Log-odds (n, 1) of the predicted class for masks (n, d) of the words."""
    p = model.predict_proba([text.without(post, mask) for mask in masks])
    return core.transform(np.log(np.maximum(p, 1e-12)), [label], "log_odds")


explanation = core.explain(log_odds, len(post.words), core.Settings(samples=500))
print(f"{corpus.classes[label]}; fidelity {explanation.fidelity[0]:.2f}")
for k in core.top_features(explanation.weights[:, 0], 5):
    print(f"{post.words[k]:16}{explanation.weights[k, 0]:+.2f}")
