"""Question 1: a CIFAR-10 classifier, trained from scratch and explained with Grad-CAM."""
