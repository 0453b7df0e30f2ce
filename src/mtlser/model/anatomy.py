"""One utterance inside the model: its shapes, what pooling makes of its length, and what its neighbour does to it.

Shapes follow the legend in `mtlser.model.multitask`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import Wav2Vec2Config

from mtlser import paper
from mtlser.config import EMOTIONS, SAMPLE_RATE_HZ
from mtlser.corpus.audio import normalise_waveform, read_audio
from mtlser.corpus.text import encode, normalise
from mtlser.model.losses import cross_entropy
from mtlser.model.multitask import MultitaskModel


def waveform(path: str | Path) -> Tensor:
    """An audio file -> (S,), as the model takes it. Raises AudioError for a file that can't be read."""
    return torch.from_numpy(normalise_waveform(read_audio(path)))


def _by_length(utterances: pd.DataFrame) -> pd.DataFrame:
    seconds = utterances["end_seconds"] - utterances["start_seconds"]
    return utterances.loc[seconds.sort_values(kind="stable").index]


def short_middle_long(utterances: pd.DataFrame) -> tuple[Tensor, ...]:
    """Waveforms (S,) of the shortest, the median and the longest of a corpus."""
    return tuple(waveform(_by_length(utterances)["wav"].iloc[row]) for row in (0, len(utterances) // 2, -1))


def middle_rows(utterances: pd.DataFrame, count: int) -> pd.DataFrame:
    """`count` rows of a corpus from the median length upwards."""
    return _by_length(utterances).iloc[len(utterances) // 2 :].head(count)


def batch(waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Waveforms (S,) each -> (B, S) with zeros after each end, and lengths (B,)."""
    return pad_sequence(list(waveforms), batch_first=True), torch.tensor([len(samples) for samples in waveforms])


def architecture(configs: Mapping[str, Wav2Vec2Config]) -> pd.DataFrame:
    """The sizes that the paper gives beside those of each configuration: columns what, section, paper, then the keys.

    A backbone has no emotion head yet; it gets this book's number of emotions.
    """
    table = pd.DataFrame(
        {"what": what, "section": section, "paper": size} for what, (size, section) in paper.ARCHITECTURE.items()
    )
    return table.assign(**{name: table["what"].map(_sizes(config)) for name, config in configs.items()})


def _sizes(config: Wav2Vec2Config) -> dict[str, int | str]:
    return {
        "convolutional blocks": len(config.conv_kernel),
        "channels of each": ", ".join(map(str, sorted(set(config.conv_dim)))),
        "transformer blocks": config.num_hidden_layers,
        "hidden dimension": config.hidden_size,
        "characters": config.vocab_size,
        "emotions": getattr(config, "num_emotions", len(EMOTIONS)),
    }


@torch.no_grad()
def stages(model: MultitaskModel, samples: Tensor) -> pd.DataFrame:
    """Every stage of one utterance (S,) alone: columns stage, symbol (the paper's), legend, size, parameters."""
    waveforms, lengths = batch([samples])
    encoder = model.wav2vec2
    features, frame_lengths = encoder.convolve(waveforms, lengths)
    projected, _ = encoder.feature_projection(features)
    hidden = encoder.forward_features(features, frame_lengths)
    pooled = model.pool(hidden, frame_lengths)
    rows = [
        ("waveform", "x", "B, S", waveforms, None),
        ("convolutions", "", "B, T, C", features, encoder.feature_extractor),
        ("projection", "", "B, T, H", projected, encoder.feature_projection),
        ("transformer: the features", "z", "B, T, H", hidden, encoder.encoder),
        (f"pooling, {model.config.pooling}", "ẑ", "B, H", pooled, None),
        ("emotion head: emotion logits", "c", "B, E", model.emotion_head(pooled), model.emotion_head),
        ("CTC head: character logits", "y", "B, T, V", model.ctc_head(hidden), model.ctc_head),
    ]
    return pd.DataFrame(
        {"stage": stage, "symbol": symbol, "legend": legend, "size": " × ".join(map(str, tensor.shape)),
         "parameters": sum(parameter.numel() for parameter in module.parameters()) if module else 0}
        for stage, symbol, legend, tensor, module in rows
    )  # fmt: skip


def pooling(models: Mapping[str, MultitaskModel], waveforms: Sequence[Tensor]) -> pd.DataFrame:
    """The same utterances, each alone, under the poolings "sum" and "mean" of otherwise equal models.

    Columns: seconds, frames, then for each pooling the largest emotion logit (logit_…) and the norm of the
    cross-entropy's gradient at the encoder (gradient_…, label neutral). One row per utterance.
    """
    rows = []
    for samples in waveforms:
        row = {"seconds": len(samples) / SAMPLE_RATE_HZ}
        for name, model in models.items():
            emotion_logits, _, frame_lengths = model(*batch([samples]))
            loss = cross_entropy(emotion_logits, torch.tensor([0])).sum()
            gradients = torch.autograd.grad(loss, model.encoder_parameters(), allow_unused=True)
            norm = torch.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm()
            row |= {"frames": int(frame_lengths), f"logit_{name}": float(emotion_logits.detach().abs().max()),
                    f"gradient_{name}": float(norm)}  # fmt: skip
        rows.append(row)
    return pd.DataFrame(rows)


@torch.no_grad()
def beside(models: Mapping[str, MultitaskModel], samples: Tensor, neighbour: Tensor) -> pd.DataFrame:
    """How an utterance (S,) changes when a batch of two holds `neighbour` as well: one row per model.

    Columns: encoder_padding (the key of `models`), frames (that pooling counts in the batch), and the relative change
    of its features z over its own frames and of the pooled vector ẑ: norm of the difference over norm alone.
    """
    rows = []
    for name, model in models.items():
        alone, pooled_alone, _ = _features(model, [samples])
        hidden, pooled, frames = _features(model, [samples, neighbour])
        changes = _change(alone[0], hidden[0, : alone.shape[1]]), _change(pooled_alone[0], pooled[0])
        rows.append((name, int(frames[0]), *changes))
    return pd.DataFrame(rows, columns=["encoder_padding", "frames", "features_change", "pooled_change"])


def neighbours(models: Mapping[str, MultitaskModel], samples: Tensor, seconds: Sequence[float]) -> pd.DataFrame:
    """`beside` for silent neighbours that are longer by each of `seconds`; column seconds. Only their length counts."""
    tables = []
    for more in seconds:
        silence = torch.zeros(len(samples) + round(more * SAMPLE_RATE_HZ))
        tables.append(beside(models, samples, silence).assign(seconds=more))
    return pd.concat(tables, ignore_index=True)


def _features(model: MultitaskModel, waveforms: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Waveforms (S,) each -> z (B, T, H), ẑ (B, H), frames (B,) that pooling counts."""
    hidden, frame_lengths = model.wav2vec2(*batch(waveforms))
    return hidden, model.pool(hidden, frame_lengths), frame_lengths


def _change(before: Tensor, after: Tensor) -> float:
    return float((after - before).norm() / before.norm())


def loss_inputs(model: MultitaskModel, utterances: pd.DataFrame) -> dict[str, Tensor]:
    """Rows of a corpus, as one batch through the model -> the tensors that `losses.multitask_loss` takes."""
    emotion_logits, ctc_logits, frame_lengths = model(*batch([waveform(path) for path in utterances["wav"]]))
    targets = [torch.tensor(encode(normalise(text)), dtype=torch.long) for text in utterances["transcript"]]
    return {
        "emotion_logits": emotion_logits,
        "ctc_logits": ctc_logits,
        "frame_lengths": frame_lengths,
        "labels": torch.tensor([EMOTIONS.index(emotion) for emotion in utterances["emotion"]]),
        "targets": pad_sequence(targets, batch_first=True),
        "target_lengths": torch.tensor([len(target) for target in targets]),
    }
