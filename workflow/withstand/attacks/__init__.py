"""Adversarial perturbations of images: by gradients, and by rotation and translation."""
