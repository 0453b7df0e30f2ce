"""Encoder, pooling, emotion head and CTC head (section 3.1, Figure 1), and the legend of shapes.

Legend, used by every function on tensors in this package:

====== ===========================================================================================
letter is
====== ===========================================================================================
B      utterances of a batch
S      samples of the longest waveform, at 16 kHz
T      frames of the longest utterance (20 ms each in wav2vec2-base, 40 ms in the pocket backbone)
C      channels of the convolutional encoder's output
H      hidden size, the paper's d
V      characters
L      characters of the longest transcript
E      emotions, the paper's C
====== ===========================================================================================
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from mtlser.config import EMOTIONS
from mtlser.corpus.text import ALPHABET
from mtlser.model.backbone import BackboneError, find_backbone, read_config, read_tensors, read_weights, write_model
from mtlser.model.encoder import Encoder

OTHER_ENCODERS = {"wavlm": "WavLM", "whisper": "Whisper"}  # modules, imported when needed, and their encoders
POOLINGS = ("sum", "mean")
HEADS = {"num_emotions": len(EMOTIONS), "emotions": list(EMOTIONS), "vocab_size": len(ALPHABET)}  # of every model
# Names that rates have in configurations of transformers; each has some of them.
DROPOUTS = (
    "dropout", "hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout", "final_dropout"
)  # fmt: skip
LAYERDROPS = ("layerdrop", "encoder_layerdrop")


class MultitaskModel(nn.Module):
    """x -> (c, y): emotion logits c = h(Σ z_i) and character logits y = g(z), where z = f_theta(x).

    `config` carries, besides the encoder's fields, `pooling` ("sum": section 3.1; "mean": over the utterance's own
    frames, as released), `num_emotions` and `encoder_padding` (see `Encoder`).
    """

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        config.pooling = getattr(config, "pooling", "sum")
        config.num_emotions = getattr(config, "num_emotions", len(EMOTIONS))
        config.encoder_padding = getattr(config, "encoder_padding", "exact")
        if config.pooling not in POOLINGS:
            raise ValueError(f"config.pooling is {config.pooling!r}; choose one of {', '.join(POOLINGS)}")
        self.config = config
        self.wav2vec2 = make_encoder(config)  # f_theta
        self.dropout = nn.Dropout(config.final_dropout)
        self.emotion_head = nn.Linear(config.hidden_size, config.num_emotions)  # h_phi
        self.ctc_head = nn.Linear(config.hidden_size, config.vocab_size)  # g_phi
        self.detaches_ctc = False  # a control: CTC then trains its head alone
        self.initialise_heads(None)

    def initialise_heads(self, generator: torch.Generator | None) -> None:
        """Weights normal with `config.initializer_range`, biases zero, as transformers does; from one generator."""
        with torch.no_grad():
            for head in (self.emotion_head, self.ctc_head):
                head.weight.normal_(0.0, self.config.initializer_range, generator=generator)
                head.bias.zero_()

    def forward(
        self, waveforms: Tensor, waveform_lengths: Tensor, mask_time: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Waveforms (B, S), lengths (B,) in samples, mask (B, T) -> logits (B, E), logits (B, T, V), frames (B,).

        Each waveform has zero mean and unit variance over its own samples (`corpus.audio.normalise_waveform`), or lies
        in [-1, 1] where the encoder `hears_raw`, and has zeros after its end. `mask_time`: see `encoder.time_mask`.
        Lengths may stay on the CPU, which saves a GPU synchronisations. Source: section 3.1.
        Raises ValueError for an utterance that is too short for one frame.
        """
        return self._heads(*self.wav2vec2(waveforms, waveform_lengths, mask_time))

    def forward_features(
        self, features: Tensor, frame_lengths: Tensor, mask_time: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """All after the convolutions: features (B, T, C), lengths (B,), mask (B, T) -> the same three as `forward`."""
        return self._heads(self.wav2vec2.forward_features(features, frame_lengths, mask_time), frame_lengths)

    def _heads(self, hidden: Tensor, frame_lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden (B, T, H), lengths (B,) -> the three of `forward`.

        The two heads and the pooling run in float32 also under autocast: a sum over frames gives logits in the
        hundreds, where bfloat16 has steps of one half.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = self.dropout(hidden.to(self.ctc_head.weight.dtype))
            emotion_logits = self.emotion_head(self.pool(hidden, frame_lengths))  # (B, E)
            return emotion_logits, self.ctc_head(hidden.detach() if self.detaches_ctc else hidden), frame_lengths

    def pool(self, hidden: Tensor, frame_lengths: Tensor) -> Tensor:
        """Over time: hidden (B, T, H), lengths (B,) -> (B, H).

        "sum" is section 3.1's Σ z_i; "mean" is the released code's, here over the utterance's own frames.
        """
        valid = self.wav2vec2.valid_frames(frame_lengths, hidden)
        if valid is not None:
            hidden = hidden.masked_fill(~valid[..., None], 0.0)
        total = hidden.sum(dim=1)  # (B, H)
        if self.config.pooling == "sum":
            return total
        return total / frame_lengths.to(total.device)[:, None]

    def freeze_convolutions(self) -> None:
        """Stops training the convolutional encoder; the projection after it stays trainable."""
        self.wav2vec2.freeze_convolutions()

    def encoder_parameters(self) -> list[nn.Parameter]:
        """theta, as far as it is trained: all trainable parameters outside the two heads."""
        return [parameter for parameter in self.wav2vec2.parameters() if parameter.requires_grad]

    @classmethod
    def from_backbone(
        cls,
        path_or_hub_name: str | Path,
        *,
        revision: str | None = None,
        pooling: str = "sum",
        encoder_padding: str = "exact",
        dropout: float | None = None,
        layerdrop: float | None = None,
        pretrained: bool = True,
        seed: int,
    ) -> MultitaskModel:
        """A pretrained backbone with fresh heads, which depend on `seed` alone; all else too if not `pretrained`.

        `path_or_hub_name`: "pocket-backbone", a folder with config.json and weights, or a name on the hub with its
        `revision`. `dropout` sets every dropout, `layerdrop` LayerDrop; None keeps the backbone's own.
        Raises BackboneError, which names missing or unexpected keys, or what to fetch and where to put it.
        """
        backbone = find_backbone(path_or_hub_name, revision)
        config = read_config(backbone.config)
        config.update({"pooling": pooling, "encoder_padding": encoder_padding, **HEADS})
        rates = dict.fromkeys(DROPOUTS, dropout) | dict.fromkeys(LAYERDROPS, layerdrop)
        config.update({name: rate for name, rate in rates.items() if rate is not None and hasattr(config, name)})
        if not pretrained:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                return cls(config)
        model = cls._without_weights(config, backbone.config)
        _load(model.wav2vec2, read_weights(backbone), backbone.weights)
        for head in (model.emotion_head, model.ctc_head):
            head.to_empty(device="cpu")
        model.initialise_heads(torch.Generator().manual_seed(seed))
        return model

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> MultitaskModel:
        """A model that `save_pretrained` wrote. Raises BackboneError for a folder that isn't one or has other heads."""
        path, weights = Path(folder) / "config.json", Path(folder) / "model.safetensors"
        if not path.is_file() or not weights.is_file():
            raise BackboneError(f"{folder} is not a trained model: it needs config.json and model.safetensors")
        config = read_config(path)
        for name, value in HEADS.items():
            if (found := getattr(config, name, value)) != value:
                raise BackboneError(f"{path}: {name} is {found}, where this book's models have {value}")
        model = cls._without_weights(config, path)
        _load(model, read_tensors(weights), weights)
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes model.safetensors and config.json into the folder, each whole; the configuration comes last."""
        write_model(Path(folder), self.state_dict(), self.config)

    @classmethod
    def _without_weights(cls, config: PreTrainedConfig, path: Path) -> MultitaskModel:
        """The modules alone: no time on random weights that are replaced at once, no draw from torch's generator.

        Raises BackboneError that names the file of a configuration that no module can have.
        """
        try:
            with torch.device("meta"), torch.random.fork_rng(devices=[]):
                return cls(config)
        except Exception as error:  # of torch and of transformers, whatever each thinks of such a number
            raise BackboneError(f"{path} describes no model that can be built: {error}") from error


def make_encoder(config: PreTrainedConfig) -> nn.Module:
    """The padding-exact encoder of an architecture, with random weights: `Encoder`, or one with its interface."""
    if config.model_type not in OTHER_ENCODERS:
        return Encoder(config)
    return getattr(import_module(f"mtlser.model.{config.model_type}"), OTHER_ENCODERS[config.model_type])(config)


def _load(module: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Assigns weights by name, in float32.

    Raises BackboneError that names what is missing, unexpected, misshapen or not finite.
    """
    # Copies: a memory-mapped file has its own alignment, and sums then differ in the last bit from a resumed run's.
    copies = {name: tensor.float().clone() for name, tensor in weights.items()}
    try:
        module.load_state_dict(copies, assign=True)
    except RuntimeError as error:
        raise BackboneError(f"{source} does not fit its config.json. {error}") from error
    if broken := [name for name, tensor in copies.items() if not tensor.isfinite().all()]:
        raise BackboneError(f"{source} is damaged: weights that are not finite in {', '.join(broken)}")
