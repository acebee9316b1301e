"""LIME for any function of parts that can be there or missing; here, the price of a car.

python examples/lime_any_function.py
"""

from q2_lime import core

PARTS = ("engine", "wheels", "radio", "seats")


def price(masks):
    """Values (n, 1) for masks (n, 4) bool: an engine without wheels, or the reverse, is useless."""
    engine, wheels, radio, seats = masks.T.astype(float)
    return (8000 * engine * wheels + 300 * radio + 500 * seats)[:, None]


explanation = core.explain(price, len(PARTS), core.Settings())
for k in core.top_features(explanation.weights[:, 0], len(PARTS)):
    print(f"{PARTS[k]:8}{explanation.weights[k, 0]:+8.0f}")
print(f"fidelity {explanation.fidelity[0]:.2f}, {explanation.model_calls} calls")
