# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own classifier, attack, defense, detector
#
# Each part of the package takes parts that you write. The code on this page runs whenever the book is built and
# is a test of the package as well. It uses the small digits that come with scikit-learn, so it needs no download
# and takes a few seconds on a laptop.
#
# The numbers here show how the pieces fit. They come from 300 small images and one short training, and say
# nothing about the four papers.

# %%
import matplotlib.pyplot as plt
import torch
from torch import nn

from washout import attacks, data
from washout.attacks import Attacked
from washout.defenses import Defended, Proxy
from washout.detectors import threshold_at_fpr
from washout.inference import logits, predict
from washout.metrics import wilson
from washout.training import fit

digits = data.digits()
test = digits.test

# %% [markdown]
# ## A classifier
#
# A classifier is any `torch.nn.Module` that takes images, `float32` in [0, 1] of shape (B, C, H, W), and returns
# logits of shape (B, K). If it wants its input normalized, normalization is its first layer. Nothing is
# registered or inherited.


# %%
class Perceptron(nn.Module):
    """Two fully connected layers; shifts [0, 1] to [-1, 1] itself."""

    def __init__(self, pixels: int, classes: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(pixels, 128), nn.ReLU(), nn.Linear(128, classes)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(2 * images - 1)


torch.manual_seed(0)
model = Perceptron(pixels=28 * 28, classes=10)
history = fit(model, digits.train, digits.validation, epochs=15, seed=0, progress=False)


def rate(hits: torch.Tensor) -> str:
    """A share with Wilson's 95 % interval."""
    low, high = wilson(int(hits.sum()), len(hits))
    return f"{hits.double().mean():.1%} [{low:.1%}, {high:.1%}]"


print("right on clean test images:", rate(predict(model, test.images) == test.labels))

# %% [markdown]
# Every registered attack now runs on it by name. `attacks.run` checks the images, works in batches, puts the
# model in evaluation mode and back, and returns the attacked images with a mask of those that fool the model.

# %%
found = attacks.run("fgsm", model, test.images, test.labels, dataset="digits", eps=0.1)
print("FGSM, eps 0.1, fools it on:", rate(found.success))

# %% [markdown]
# ## An attack
#
# An attack is a function of a model, images, labels, and settings given by keyword. It returns `Attacked`: the
# images and a boolean mask. This one tries random patterns of signs and keeps, for each image, the first that
# fools the model. It needs no gradient, so it is a fair check on defenses that hide theirs.


# %%
def random_signs(model, x, y, *, eps=0.1, tries=20, generator=None) -> Attacked:
    """Add eps times random signs, up to ``tries`` times an image."""
    images, success = x.clone(), torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for _ in range(tries):
        signs = torch.randint(0, 2, x.shape, generator=generator).to(x) * 2 - 1
        tried = (x + eps * signs).clamp(0, 1)
        with torch.no_grad():
            hit = (model(tried).argmax(1) != y) & ~success
        images[hit], success = tried[hit], success | hit
    return Attacked(images, success)


# %% [markdown]
# Wrapped in an `Attack` it runs like the built-in ones: batched, checked, and with its own defaults.

# %%
signs = attacks.Attack(
    name="random-signs",
    function=random_signs,
    norm="linf",
    source="this page",
    summary="the first of several random sign patterns that fools",
    minimal=False,
    defaults={"*": {"eps": 0.1, "tries": 20}},
    version=1,
)
generator = torch.Generator().manual_seed(0)
blind = attacks.run(signs, model, test.images, test.labels, generator=generator)
print("random signs, eps 0.1, fool it on:", rate(blind.success))

# %% [markdown]
# An attack that follows the gradient fools the model far more often than chance does at the same epsilon. If it
# ever does not, suspect the gradient before you praise the defense.

# %% [markdown]
# ## A defense
#
# A defense is a function from images to images. As a module it goes in front of the classifier, and the pair is
# a classifier again. This one sets each pixel to black or white, which removes every change that does not cross
# the middle.


# %%
class BlackOrWhite(nn.Module):
    """Each pixel goes to the nearer of 0 and 1."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.round()


defended = nn.Sequential(BlackOrWhite(), model)

print("defended, clean:", rate(predict(defended, test.images) == test.labels))
print("defended, attacked without knowing:", rate(predict(defended, found.images) == test.labels))

# %% [markdown]
# That attacker did not know the defense. The next one attacks the defended classifier itself.

# %%
naive = attacks.run("pgd", defended, test.images, test.labels, dataset="digits", eps=0.3)
print("PGD through the defense, eps 0.3, fools it on:", rate(naive.success))

# %% [markdown]
# Do not publish that number. Rounding is flat, so its gradient is zero everywhere, and PGD walked nowhere: the
# defended classifier errs about as often with no attack at all. An attacker who sees this uses a stand-in for the backward pass, here
# the identity: the forward pass is unchanged, and the gradient flows as if the defense were not there (backward
# pass differentiable approximation, {cite}`athalye2018`). `Proxy` does that for any defense, and takes a better
# stand-in than the identity as its second argument; `Defended` puts it in front of a classifier.

# %%
known = Defended(model, Proxy(BlackOrWhite()))
adaptive = attacks.run("pgd", known, test.images, test.labels, dataset="digits", eps=0.3)
# Scored on the real defense, not on the stand-in.
fooled = predict(defended, adaptive.images) != test.labels
print("PGD with a stand-in gradient, eps 0.3, fools it on:", rate(fooled))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Four rows of five digits: clean, after FGSM, after the black-or-white defense, and after the attack that knows the defense; above each digit the class it is given."}}
rows = {
    "clean": (test.images, predict(model, test.images)),
    "FGSM, 0.1": (found.images, predict(model, found.images)),
    "defended": (BlackOrWhite()(found.images), predict(defended, found.images)),
    "attacker\nknows, 0.3": (adaptive.images, predict(defended, adaptive.images)),
}
shown = (found.success & fooled).nonzero().flatten()[:5].tolist()
figure, axes = plt.subplots(len(rows), 5, figsize=(6, 5.2), layout="constrained")
for line, (name, (images, classes)) in zip(axes, rows.items(), strict=True):
    for axis, index in zip(line, shown, strict=True):
        axis.imshow(images[index, 0], cmap="gray", vmin=0, vmax=1)
        right = classes[index] == test.labels[index]
        axis.set_title(f"{int(classes[index])}", color="black" if right else "#b3261e", fontsize=10)
        axis.set_xticks([])
        axis.set_yticks([])
    line[0].set_ylabel(name, fontsize=10)
plt.show()

# %% [markdown]
# ## A detector
#
# A detector is a function from images to one score each, larger for what looks attacked. Where to draw the line
# is a separate step, made on validation images that the score is not reported on. This detector asks how far the
# defense moves the prediction, an idea known as feature squeezing {cite}`xu2018`.


# %%
def squeeze_score(images: torch.Tensor) -> torch.Tensor:
    """(B,): how far apart the softmax outputs with and without the defense are, in [0, 2]."""
    plain, squeezed = (logits(m, images).softmax(1) for m in (model, defended))
    return (plain - squeezed).abs().sum(1)


threshold = threshold_at_fpr(squeeze_score(digits.validation.images), 0.05)
print(f"threshold that flags at most 5 % of clean validation images: {threshold:.3f}")
print("clean test images flagged:", rate(squeeze_score(test.images) > threshold))
print("FGSM images flagged:", rate(squeeze_score(found.images) > threshold))

missed = (squeeze_score(adaptive.images) <= threshold) & fooled
print("attacker knows the defense, fooled and not flagged:", rate(missed))

# %% [markdown]
# The last line is what matters for a detector: images that are misclassified *and* let through. An attacker who
# also knows this detector would add its score to the loss; {doc}`methods` lists what a fair evaluation
# of your own defense should contain.
