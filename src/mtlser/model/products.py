"""Linear layers and convolutions, each computed as costs least on this processor.

torch hands a product of matrices to one library and a convolution to another (on x86: MKL and oneDNN), and which of
them is faster depends on the processor. Every function here gives what the plain layer gives; what each choice saved is
in the chapter on cost.

Shapes follow the legend in `mtlser.model.multitask`, and N is the number of frames of all utterances together.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FOURIER_SAMPLES = 256  # of one transform: twice the 128 frames of wav2vec2-base's positional filters
FOURIER_FRAMES = 600  # fewer frames are convolved faster than the filters are transformed


def convolves() -> bool:
    """Whether this machine's CPU computes float32 faster as convolutions than as products of matrices."""
    return torch.backends.cpu.get_cpu_capability() == "AVX512"


def _in_own_precision(hidden: Tensor) -> bool:
    """Whether a CPU computes with this tensor as it is."""
    return hidden.device.type == "cpu" and not torch.is_autocast_enabled("cpu")


def multiplies(hidden: Tensor) -> bool:
    """Whether convolutions of this tensor are computed as products of matrices: in full precision on other CPUs."""
    return _in_own_precision(hidden) and not convolves()


def uses_fourier(hidden: Tensor) -> bool:
    """Whether a long convolution of (N, H) is computed by Fourier transforms."""
    return multiplies(hidden) and len(hidden) >= FOURIER_FRAMES


def linear(layer: nn.Linear, hidden: Tensor) -> Tensor:
    """The layer's product: (N, H) -> (N, H').

    In float32 on a CPU with AVX-512 as a convolution of width 1, which oneDNN computes: on the processor of the book's
    records it took half of the time of the library behind torch's matrix product, forward and backward. With AVX2
    alone it took up to twice as long.
    """
    if not (_in_own_precision(hidden) and hidden.dtype == torch.float32 and convolves()):
        return layer(hidden)
    image = hidden[None, None].permute(0, 3, 1, 2)  # (1, H, 1, N), in memory with channels last
    return F.conv2d(image, layer.weight[:, :, None, None], layer.bias).permute(0, 2, 3, 1).flatten(0, 2)


def taps(layer: nn.Conv1d) -> Tensor:
    """The layer's filters in the order of `convolve_frames`: (C', C, K) -> (K, C, C')."""
    return layer.weight.permute(2, 1, 0).contiguous()


def convolve_frames(hidden: Tensor, filters: Tensor, bias: Tensor | None, stride: int) -> Tensor:
    """A convolution along time of one utterance, without padding: (T, C), filters (K, C, C') of `taps` -> (T', C').

    As products of matrices, with nothing copied: with a stride of s, s frames that follow each other in memory are one
    row, and a filter is as many products as it has such rows. With AVX2 the layers of wav2vec2-base took 15 to 35% less
    time than as convolutions.
    """
    convolved = _FrameProducts.apply(hidden.contiguous(), filters, stride)
    return convolved if bias is None else convolved + bias


class _FrameProducts(torch.autograd.Function):
    """`convolve_frames` and its gradient, written out so that the gradient copies nothing either."""

    @staticmethod
    def forward(ctx, hidden: Tensor, filters: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(hidden, filters)
        ctx.stride = stride
        num_frames = (len(hidden) - len(filters)) // stride + 1
        convolved = hidden.new_zeros(num_frames, filters.shape[2])
        for rows, part in _rows(hidden, filters, stride, num_frames):
            convolved.addmm_(rows, part)
        return convolved

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        (hidden, filters), gradient = ctx.saved_tensors, gradient.contiguous()
        of_hidden, of_filters = torch.zeros_like(hidden), torch.zeros_like(filters)
        for rows, of_part in _rows(hidden, of_filters, ctx.stride, len(gradient)):
            of_part.addmm_(rows.T, gradient)
        for of_rows, part in _rows(of_hidden, filters, ctx.stride, len(gradient)):
            of_rows.addmm_(gradient, part.T)
        return of_hidden, of_filters, None


def _rows(hidden: Tensor, filters: Tensor, stride: int, num_frames: int) -> Iterator[tuple[Tensor, Tensor]]:
    """At most `stride` taps at a time, a view (taps · C, C') of (K, C, C'), and what they see, a view (T', taps · C).

    The rows of a view of (T, C) don't overlap, so that it can also be added to.
    """
    num_channels = hidden.shape[1]
    for start, part in zip(range(0, len(filters), stride), filters.split(stride), strict=True):
        shape = (num_frames, len(part) * num_channels)
        yield hidden[start:].as_strided(shape, (stride * num_channels, 1)), part.flatten(0, 1)


def convolve_by_fourier(hidden: Tensor, layer: nn.Conv1d) -> Tensor:
    """A padded convolution in groups with stride 1, such as the positional one: (T, H) -> (T', H').

    By transforms of overlapping blocks ("overlap-save"), in which each group is one small product at each frequency:
    for wav2vec2-base's 128 taps a twenty-fifth of the operations, and on a CPU with AVX2 a third of the time for 2,000
    frames, gradients included.
    """
    (num_taps,), (padding,), num_groups = layer.kernel_size, layer.padding, layer.groups
    num_frames = len(hidden) + 2 * padding - num_taps + 1
    size = max(FOURIER_SAMPLES, 2 * num_taps)
    hop = size - num_taps + 1  # frames of a block that no wrapping reaches
    num_blocks = -(-num_frames // hop)
    after = (num_blocks - 1) * hop + size - padding - len(hidden)
    blocks = F.pad(hidden, (0, 0, padding, after)).unfold(0, size, hop)  # (blocks, H, size)
    spectra = torch.fft.rfft(blocks).unflatten(1, (num_groups, -1))  # (blocks, groups, in, frequencies)
    filters = torch.fft.rfft(layer.weight, n=size).unflatten(0, (num_groups, -1))  # (groups, out, in, frequencies)
    products = torch.einsum("bgif,goif->bgof", spectra, filters.conj())
    convolved = torch.fft.irfft(products, n=size)[..., :hop]  # (blocks, groups, out, hop)
    convolved = convolved.permute(0, 3, 1, 2).flatten(2).flatten(0, 1)[:num_frames]  # (T', H')
    return convolved if layer.bias is None else convolved + layer.bias
