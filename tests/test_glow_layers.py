"""The layers of Glow against their formulas, autograd's volumes and another library."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.autograd.functional import jacobian

from glow_cases import images, shaken
from washout.models.glow_layers import ActNorm, Coupling, InvertibleConv, Step


def test_a_step_is_the_formula():
    step, x = shaken(Step(4, 5)).double(), images(3, 4).double()
    y = (x + step.norm.bias.view(-1, 1, 1)) * step.norm.log_scale.exp().view(-1, 1, 1)
    y = torch.einsum("dc,bchw->bdhw", step.mix.matrix(), y)
    first, second = y[:, :2], y[:, 2:]
    h = first
    for layer, boost in ((step.coupling.wide, 1), (step.coupling.deep, 1), (step.coupling.last, 3)):
        h = F.conv2d(h, layer.weight, layer.bias, padding=layer.weight.shape[-1] // 2)
        h = h * (boost * layer.log_scale).exp().view(-1, 1, 1)
        h = h if boost == 3 else F.relu(h)
    second = (second + h[:, :2]) * torch.sigmoid(h[:, 2:] + 2)
    torch.testing.assert_close(step(x)[0], torch.cat([first, second], 1))


@pytest.mark.parametrize("make", [ActNorm, InvertibleConv, lambda c: Coupling(c, 6)])
def test_each_layer_knows_its_volume_and_its_inverse(make):
    torch.manual_seed(0)
    layer, x = shaken(make(4), 0.3), 2 * images(2, 4, 3) - 1
    y, log_det = layer(x)
    matrix = jacobian(lambda v: layer(v[None])[0].flatten(), x[1]).view(36, 36)
    expected = torch.linalg.slogdet(matrix.double())[1].float()
    torch.testing.assert_close(log_det.expand(2)[1], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(layer.inverse(y), x, rtol=0, atol=1e-5)


def test_the_convolution_starts_as_a_rotation():
    torch.manual_seed(0)
    mix = InvertibleConv(24)
    matrix = mix.matrix()
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(24), rtol=0, atol=1e-5)
    assert abs(mix.log_s.sum()) < 1e-5
    assert sorted(mix.permutation.argmax(1).tolist()) == list(range(24))


@pytest.mark.filterwarnings("ignore:torch.lu is deprecated")
def test_a_step_is_that_of_normflows():
    """Its blocks lead from latents to data: their inverse is our step."""
    flows = pytest.importorskip("normflows").flows
    torch.manual_seed(0)
    step, x = shaken(Step(6, 5), 0.3), 2 * images(4, 6, 4) - 1
    block = flows.GlowBlock(6, 5)
    coupling, mix, norm = block.flows
    with torch.no_grad():
        norm.data_dep_init_done.fill_(1)
        norm.s.copy_(-step.norm.log_scale.view_as(norm.s))
        norm.t.copy_(-step.norm.bias.view_as(norm.t))
        for ours, theirs in (("lower", mix.L), ("upper", mix.U), ("log_s", mix.log_S)):
            theirs.copy_(getattr(step.mix, ours))
        mix.sign_S.copy_(step.mix.sign)
        mix.P.copy_(step.mix.permutation)
        layers = [m for m in coupling.modules() if isinstance(m, torch.nn.Conv2d)]
        net = step.coupling
        for theirs, layer in zip(layers, (net.wide, net.deep, net.last), strict=True):
            scale = (layer.boost * layer.log_scale).exp()
            weight, bias = layer.weight * scale.view(-1, 1, 1, 1), layer.bias * scale
            if layer is net.last:  # it subtracts the shift, and takes turns of shift and scale
                weight[:3], bias[:3] = -weight[:3], -bias[:3]
                turns = torch.arange(6).view(2, 3).T.flatten()
                weight, bias = weight[turns], bias[turns]
            theirs.weight.copy_(weight)
            theirs.bias.copy_(bias)
    found, log_det = step(x)
    expected, expected_log_det = block.inverse(x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(log_det, expected_log_det, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(step.inverse(found), block(expected)[0], rtol=1e-4, atol=1e-5)
