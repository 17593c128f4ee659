"""washout: defenses of image classifiers against adversarial images, reproduced and tested."""

__version__ = "0.1.0"
