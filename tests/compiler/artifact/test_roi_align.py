"""RoiAlign under our name: what is changed, what a stock runtime makes of it, and the way back."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from lth_deploy.compiler.artifact.load import check_model
from lth_deploy.compiler.artifact.roi_align import fast_roi_align, has_roi_align
from lth_deploy.compiler.importing.unpacked import unpack_model
from lth_deploy.errors import ArtifactError
from tests.roi_align_models import ALIGNED, BINS, TORCHVISION, feeds, model, run


def test_a_stock_runtime_runs_it_as_the_standard_operator() -> None:
    plain = model({**ALIGNED, **BINS})
    fast = fast_roi_align(plain)
    check_model(fast)
    given = feeds(5, 8, 8)
    assert np.array_equal(run(fast, given), run(plain, given))


@pytest.mark.parametrize(
    "said",
    [{"mode": "max"}, {"sampling_ratio": -1}, {"sampling_ratio": 17}, {"output_height": 300}, {"spatial_scale": 0.0}],
    ids=str,
)
def test_what_the_kernel_does_not_compute_stays_as_it_is(said: dict[str, Any]) -> None:
    plain = model({**TORCHVISION, **BINS, **said})
    assert fast_roi_align(plain) is plain


def test_other_floats_and_older_operators_stay_as_they_are() -> None:
    for plain in (model({**ALIGNED, **BINS}, element=TensorProto.DOUBLE), model(BINS, opset=13)):
        assert fast_roi_align(plain) is plain


def test_the_standard_operator_comes_back() -> None:
    plain = model(BINS)
    fast = fast_roi_align(plain)
    assert has_roi_align(fast)
    back = unpack_model(fast)
    assert not back.functions
    assert [node.domain for node in back.graph.node] == ["", ""]
    given = feeds(5, 8, 8)
    assert np.array_equal(run(back, given), run(plain, given))


def test_a_body_that_computes_something_else_is_refused() -> None:
    fast = fast_roi_align(model({**TORCHVISION, **BINS}))
    fast.functions[0].node[0].attribute[0].ref_attr_name = "mode"
    with pytest.raises(ArtifactError, match="not the standard operator"):
        check_model(fast)


def test_attributes_that_the_kernel_refuses_are_refused_before() -> None:
    fast = fast_roi_align(model({**TORCHVISION, **BINS}))
    next(one for one in fast.graph.node[1].attribute if one.name == "output_width").i = 1 << 40
    with pytest.raises(ArtifactError, match="the kernels do not compute"):
        check_model(fast)
