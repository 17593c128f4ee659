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
# # Washing out adversarial noise
#
# *Four defenses of image classifiers, reproduced.*
#
# A classifier reads a digit correctly. Someone changes its pixels a little, in a direction computed from the
# classifier itself, and the answer turns wrong, while a person still sees the same digit. Four papers propose a
# remedy: wash the noise out before classifying, or notice that the image was tampered with.
#
# This book runs those papers again from their text. It puts every printed number beside the one that came out,
# with its uncertainty, and says by [one written rule](methods.md#the-verdict-on-a-number) whether they agree. It
# also looks at what the papers leave out: the price on clean images, and the attacker who knows the defense.
#
# ## The game

# %% tags=["remove-input"]
from importlib import import_module

import pandas as pd
from IPython.display import display

from washout import chapters, figures, papers, report
from washout.chapters import chapter3 as ch
from washout.chapters import counted
from washout.study import Missing

p = ch.check_parameters(ch)
study, mnist = p.study, p.dataset


def rows(table, **more):
    """Chapter 3's stored rows for the paper's three attacks."""
    return study.table(table, [ch.about(mnist, 0, attack=name, **more) for name in ch.MAIN])


# %% tags=["remove-input"] mystnb={"image": {"alt": "A handwritten digit that the classifier reads rightly; the small change that the fast gradient sign method makes to its pixels; the sum of both, which a person still reads and the classifier misreads; below it, whether chapter 3's detector calls it adversarial."}}
example = rows(ch.EXAMPLES)[0]
if isinstance(example, Missing):
    report.not_computed("an attacked digit", example.command)
else:
    found = example.values
    fooled = [i for i, said in enumerate(found["predicted"]) if said != found["label"][i]]
    first = fooled[0]
    caught = bool(found["flagged"][first])
    display(
        figures.game(
            study.images(found["clean"])[first],
            study.images(found["images"])[first],
            label=str(found["label"][first]),
            prediction=str(found["predicted"][first]),
            verdict="adversarial" if caught else "clean",
            attack="FGSM",
            caught=caught,
        )
    )

# %% [markdown]
# Of chapter 3's examples, one digit of each class from MNIST {cite}`mnist` (CC BY-SA 3.0), the first that the fast
# gradient sign method turns into an error. White in the middle panel is no change. Whoever defends has to
# answer two questions: *what is on the image*, and *did someone interfere*. Answering "attacked" to everything would
# stop every attack and be useless, so each chapter counts both kinds of mistakes.
#
# ## The scorecard so far
#
# How many of a paper's printed numbers and claims came out the same. Numbers of a classifier or dataset other than the
# paper's are *not comparable*. Those that could not have come out otherwise do not count; the second table lists them.

# %% tags=["remove-input"]
used = []


def of(paper: papers.Paper) -> list:
    """The paper's verdicts; all "not computed" where no chapter runs it yet."""
    name = f"chapter{paper.chapter}"
    if name in chapters.NAMES:
        found, rows_ = import_module(f"washout.chapters.{name}.score").score(study.of(name))
        used.extend(rows_)
        return found
    own = [number for id_, number in paper.numbers.items() if id_.startswith(paper.key)]
    return [
        *(report.verdict(number, None, None) for number in own),
        *(report.judge(claim, None, None) for claim in paper.claims.values()),
    ]


known = [papers.load(name) for name in papers.names()]
names = {paper.key: " & ".join(who.split()[-1] for who in paper.authors) for paper in known}
card = report.scorecard({f"{paper.chapter} {names[paper.key]}": of(paper) for paper in known})
report.show(
    card.set_index("chapter").T.rename_axis("verdict").reset_index(),
    caption="How many numbers (first four lines) and claims (next three) got each verdict, by chapter",
    name="scorecard",
    rows=used,
    data=card,
)

# %% tags=["remove-input"]
report.show(
    pd.DataFrame(counted.uncounted()),
    caption="Numbers and claims that the scorecard leaves out",
    name="scorecard-left-out",
)

# %% [markdown]
# **Limits.** What is shown so far was computed on two CPU cores: samples of the test images, networks that are smaller
# or trained for fewer epochs than some of the papers', one seed except in chapter 3. {doc}`status` lists the rows that
# wait for a GPU. Rates come with intervals for the draw of images; they do not speak of another training. The papers'
# attackers do not know the defense; at the end of each chapter ours do.

# %% [markdown]
# ## The four papers

# %% tags=["remove-input"]
report.show(
    pd.DataFrame(
        {
            "": paper.chapter,
            "paper": paper.title,
            "what it does": paper.summary,
            "here": f"chapter {paper.chapter}"
            if f"chapter{paper.chapter}" in chapters.NAMES
            else "not computed",
        }
        for paper in known
    ),
    caption="What each chapter reproduces",
    name="papers",
)

# %% [markdown]
# ## Where to go
#
# - **To see what came out:** {doc}`chapter1`, {doc}`chapter2`, {doc}`chapter3` and {doc}`chapter4`, from the paper's claims to the attacker who
#   knows.
# - **To judge how it was done:** {doc}`methods`, with the rule for verdicts and a checklist of what was evaluated;
#   {doc}`status` says what was computed, where and when.
# - **To cite it:** `CITATION.cff` in the project's root; cite the paper that you compare with, too.
# - **To use it:** {doc}`custom` puts your own classifier, attack or defense in; {doc}`api/index` documents every
#   function.
#
# Each page that is a notebook can be downloaded from the button at its top, and each table as CSV from the link
# below it. In a clone of the project, `make book` builds these pages from stored rows, and
#
# ```
# papermill book/chapter3.ipynb out.ipynb -p attack bim
# ```
#
# runs the chapter for one attack; papermill wants the second name for its output.
