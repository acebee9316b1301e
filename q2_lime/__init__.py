"""Question 2: LIME, written out, on an ImageNet model and on linear text classifiers."""
