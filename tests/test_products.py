"""Each way of computing a layer against the layer, with gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlser.model import products

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12}
every_dtype = pytest.mark.parametrize("dtype", TOLERANCES)


def assert_same(found: Tensor, expected: Tensor, inputs: list[Tensor], tolerance: float | None = None) -> None:
    """Values, and gradients of a random weighting with respect to the inputs.

    `tolerance`: relative to the largest of each; None takes torch's own for each element.
    """
    weight = torch.randn_like(expected)
    gradients = [torch.autograd.grad((output * weight).sum(), inputs) for output in (found, expected)]
    for own, its in zip((found, *gradients[0]), (expected, *gradients[1]), strict=True):
        largest = float(its.detach().abs().max())
        torch.testing.assert_close(own, its, **({} if tolerance is None else {"rtol": 0, "atol": tolerance * largest}))


@pytest.mark.parametrize("convolves", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 7])
def test_a_layer_s_product_is_the_layer_s_with_its_gradients(monkeypatch, rows, bias, convolves):
    monkeypatch.setattr(products, "convolves", lambda: convolves)
    torch.manual_seed(0)
    layer, hidden = nn.Linear(12, 5, bias=bias), torch.randn(rows, 12, requires_grad=True)
    found = products.linear(layer, hidden)
    assert found.is_contiguous()
    assert_same(found, layer(hidden), [hidden, *layer.parameters()])


def test_a_product_is_a_convolution_where_avx_512_is_and_a_convolution_a_product_elsewhere(monkeypatch):
    monkeypatch.setattr(products, "FOURIER_FRAMES", 10)
    for capability, expected in (("AVX512", True), ("AVX2", False), ("DEFAULT", False)):
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda found=capability: found)
        assert products.convolves() is expected
        assert products.multiplies(torch.zeros(9, 2)) is not expected
        assert products.uses_fourier(torch.zeros(10, 2)) is not expected
        assert not products.uses_fourier(torch.zeros(9, 2))


def test_under_autocast_and_on_a_gpu_the_layers_compute_themselves(monkeypatch):
    monkeypatch.setattr(products, "convolves", lambda: False)
    layer, hidden = nn.Linear(12, 5), torch.randn(7, 12)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(products.linear(layer, hidden), layer(hidden))
        assert not products.multiplies(hidden)
    assert not products.multiplies(torch.empty(7, 12, device="meta"))


@every_dtype
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (2, 2), (10, 5), (7, 3), (1, 2), (4, 1)])
@pytest.mark.parametrize("more", [0, 1, 20, 23])
def test_a_convolution_as_products_of_frames(dtype, bias, kernel, stride, more):
    torch.manual_seed(0)
    layer = nn.Conv1d(4, 6, kernel, stride, bias=bias, dtype=dtype)
    hidden = torch.randn(kernel + more, 4, dtype=dtype, requires_grad=True)
    found = products.convolve_frames(hidden, products.taps(layer), layer.bias, stride)
    assert_same(found, layer(hidden.T[None])[0].T, [hidden, *layer.parameters()], TOLERANCES[dtype])


def test_frames_may_lie_in_memory_as_they_like():
    layer, hidden = nn.Conv1d(4, 6, 3, 2, bias=False), torch.randn(4, 30)
    found = products.convolve_frames(hidden[:, 5:].T, products.taps(layer), None, 2)
    torch.testing.assert_close(found, layer(hidden[None, :, 5:])[0].T)


def test_the_written_gradient_is_the_numerical_one():
    hidden, filters = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((9, 2), (3, 2, 4)))
    assert torch.autograd.gradcheck(lambda *inputs: products.convolve_frames(*inputs, None, 2), (hidden, filters))


@every_dtype
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("kernel", [128, 19, 6, 1, 300])
@pytest.mark.parametrize("frames", [1, 129, 130, 700])  # 129 fit into one block of the transform with 128 taps
def test_a_convolution_by_fourier_transforms(dtype, groups, kernel, frames):
    torch.manual_seed(0)
    layer = nn.Conv1d(6, 6, kernel, padding=kernel // 2, groups=groups, dtype=dtype)
    hidden = torch.randn(frames, 6, dtype=dtype, requires_grad=True)
    found = products.convolve_by_fourier(hidden, layer)
    assert_same(found, layer(hidden.T[None])[0].T, [hidden, *layer.parameters()], TOLERANCES[dtype])


def test_a_constant_is_weighted_by_the_sum_of_the_filter_and_less_at_both_ends():
    layer = nn.Conv1d(1, 1, 5, padding=2, bias=False)
    nn.init.ones_(layer.weight)
    found = products.convolve_by_fourier(torch.ones(400, 1), layer)[:, 0]
    expected = F.pad(torch.full((394,), 5.0), (3, 3))
    expected[[0, 1, 2, -3, -2, -1]] = torch.tensor([3.0, 4.0, 5.0, 5.0, 4.0, 3.0])
    torch.testing.assert_close(found, expected)
