"""Rows are computed with whole float32 convolutions, whatever the device would do."""

import torch

from washout.inference import exact
from washout.study import Study, Table


def precision() -> str:
    return getattr(torch.backends.cudnn, "conv").fp32_precision  # noqa: B009


def test_rows_are_computed_with_whole_convolutions(tmp_path):
    table = Table("t", lambda spec, study: {"precision": precision()}, lambda spec, study: {})
    study = Study("chapter1", profile="smoke", progress=False, results=tmp_path, device="cpu")
    before = precision()
    assert study.row(table, {"seed": 0}).values["precision"] == "ieee"
    assert precision() == before


def test_the_setting_comes_back_after_an_error():
    before = precision()
    try:
        with exact():
            raise RuntimeError
    except RuntimeError:
        pass
    assert precision() == before
