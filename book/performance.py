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
# # Performance
#
# What the book costs in time and money: each step by itself, beside other libraries, and all of it. The tables
# are drawn from stored benchmarks (`benchmarks/results/`) and from the times that stored rows keep; nothing is
# timed while the site is built. The price is a parameter.

# %% tags=["parameters"]
price: float = 3.0  # US dollars per GPU hour

# %% tags=["remove-input"]
from washout import performance
from washout.performance import pictures, views

growth = performance.benchmark("growth")
book = performance.entries()

# %% [markdown]
# ## Each step
#
# Attacks run on a small residual network (ResNet-8), the VAE on patches of 16 × 16 pixels. The images are pieces of
# photographs, so that K-means and total variation have real work; the networks' weights are random, which costs the
# same. How time grows is given as a power: 1 for images says that twice as many take twice as long, 2 for the side
# says that time grows as the number of pixels. K-means goes on until its centers rest, which on larger images may
# take more rounds.

# %% tags=["remove-input"]
views.show_steps(growth)

# %% tags=["remove-input"] mystnb={"image": {"alt": "Time against the number of images, both logarithmic: a line for each attack and defense, named at its end, beside a dotted line along which twice the images take twice as long. PGD and DeepFool lie highest."}, "figure": {"name": "fig-growth-images", "caption": "More images: a line as steep as the dotted one doubles with them. A line ends where the next point would take too long."}}
pictures.growing(growth, "images", 1, "in proportion", "images of 32 × 32 pixels", "time")

# %% tags=["remove-input"] mystnb={"image": {"alt": "Time for an image against its side in pixels, both logarithmic: a line for each attack and defense, named at its end, beside a dotted line that grows as the number of pixels. PGD and DeepFool lie highest."}, "figure": {"name": "fig-growth-size", "caption": "Larger images: a line as steep as the dotted one grows as the number of pixels."}}
pictures.growing(growth, "size", 2, "as the pixels", "side in pixels", "time for an image")

# %% [markdown]
# ## One gradient
#
# Attacks ask a network for one thing again and again: the loss's gradient in the image. *images/s* is how fast they
# get it; on a CPU they lay the channels of a pixel side by side in memory for that. Columns marked × are other ways of
# running the network, and how many times as fast they are: in bfloat16; compiled by `torch.compile`, which *pays after*
# so many gradients; on a GPU also as a CUDA graph. The attacks use none of them: bfloat16 turns the sign of the
# gradient in the share of pixels in the last column, and FGSM, BIM and PGD take nothing but the sign; compiling needs a
# compiler, and pays only for rows that ask for more gradients than that.

# %% tags=["remove-input"]
views.show_gradients(performance.benchmark("gradients"))

# %% [markdown]
# ## Beside other libraries
#
# The same network, images and settings, in one run and in turns. A library is told the same numbers, and keeps its
# own rule for giving up; the second table says what each found. Where it says so, time is the processor time of one
# thread, which other work on the machine does not change. torchattacks' DeepFool goes image by image and stops
# on the boundary itself, where the class often has not changed yet; its Carlini-Wagner has no search for the constant
# and cannot move pixels that are exactly 0 or 1. ART's searches the length of each step. The benchmark's head says
# more.

# %% tags=["remove-input"]
views.show_peers(performance.benchmark("attacks_vs_peers"))

# %% [markdown]
# JSMA, K-means and total variation have benchmarks of their own. scikit-image has no mask for dropped pixels, and does
# less work in a whole solve. scikit-learn and scikit-image know no GPU: beside one, they work on the processor of the
# same machine.

# %% tags=["remove-input"]
views.show_beside()

# %% [markdown]
# ## Spreading rows
#
# Two workers of one thread each against one on rows that train a small network (*result*: how many times as fast);
# rows that sleep, by eight workers (the share of time beyond the rows' own); `python -m washout status` of a large
# store (seconds). *rows, s* runs from the first row's begin to the last row's end, and the first two results are
# taken from it; *command, s* is the whole command, with the workers' start and end, which cost the same however many
# rows there are. *limit* is what we ask for. Then what is left after `kill -9` of any process of a run, when another
# run has come to its end in the same store: no row may be lost, stored twice or half-written.

# %% tags=["remove-input"]
views.show_spreading()
views.show_kills()

# %% [markdown]
# ## The whole book
#
# Minutes are those of the rows themselves, summed, as if one came after the other. Training is listed separately: a network
# is trained by the first row that needs it, or before. What waits for a row of its kind to be timed has no estimate.

# %% tags=["remove-input"]
views.show_costs(book, price)

# %% tags=["remove-input"]
views.show_outstanding(book)

# %% [markdown]
# ## 10,000 images in 24 hours
#
# Chapter 2's paper attacked 1,000 random test images of each dataset: all 10,000 took more than 24 hours, on a machine
# that it does not name. Here are the hours that its four attacks and its defenses take for 10,000, from the rows of
# that chapter, on the device that they were computed on. Where a row is about fewer images, its time is scaled by
# their number, as the first figure suggests; loading data and networks is scaled along, so that the defenses' hours
# are too many rather than too few. Training is left out, and so is, from the sum, the short Carlini-Wagner, which
# takes fewer steps. Which network was attacked stands beside the hours: the paper's, on CIFAR-10, is a DenseNet.

# %% tags=["remove-input"]
views.show_full_test_set(book)
