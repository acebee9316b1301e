"""Code shared by both questions: data, networks, metrics, figures, results files, command lines."""

import os

# Figures are only written to files. Notebooks set a backend that may not be installed here, so this
# has to come before matplotlib is imported.
os.environ["MPLBACKEND"] = "Agg"
