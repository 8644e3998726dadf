"""The corruptions of ImageNet-C as functions of (images, severity, sample ids, seed)."""
