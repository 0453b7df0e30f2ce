"""The released code's training step, rebuilt from its description (the audit's differences 4, 5, 11, 15 and 22).

A baseline of the speed measurements and nothing else: 4 micro-batches of 2 in the order they come, padded without an
attention mask, gradient checkpointing, eager attention, mean pooling, a loop over parameters in AdamW.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import Wav2Vec2Model

from mtlser.config import EMOTIONS, RunConfig

MICRO_BATCH = 2  # utterances


class ReleasedStep:
    """Model and optimiser of the released code. `fp16` needs a GPU, whose gradients are then scaled."""

    def __init__(self, backbone: str, config: RunConfig, device: torch.device, fp16: bool = False) -> None:
        self.config, self.device, self.fp16 = config, device, fp16
        self.encoder = Wav2Vec2Model.from_pretrained(backbone, attn_implementation="eager").to(device).train()
        self.encoder.activation_checkpointing_enable()
        size, characters = self.encoder.config.hidden_size, self.encoder.config.vocab_size
        self.heads = nn.ModuleList([nn.Linear(size, len(EMOTIONS)), nn.Linear(size, characters)]).to(device)
        self.parameters = [*self.encoder.parameters(), *self.heads.parameters()]
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.learning_rate, weight_decay=config.weight_decay, foreach=False
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=fp16)

    def step(self, waveforms: Sequence[Tensor], labels: Tensor, targets: Sequence[Tensor]) -> None:
        """One optimiser step on the utterances of an effective batch: waveforms (S,), labels (B,), targets (L,)."""
        self.optimizer.zero_grad()
        for start in range(0, len(waveforms), MICRO_BATCH):
            part = slice(start, start + MICRO_BATCH)
            share = len(waveforms[part]) / len(waveforms)
            self.scaler.scale(share * self._loss(waveforms[part], labels[part], targets[part])).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.config.max_gradient_norm, foreach=False)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _loss(self, waveforms: Sequence[Tensor], labels: Tensor, targets: Sequence[Tensor]) -> Tensor:
        padded = pad_sequence(list(waveforms), batch_first=True).to(self.device)  # (B, S)
        with torch.autocast(self.device.type, torch.float16) if self.fp16 else nullcontext():
            hidden = self.encoder(padded).last_hidden_state  # (B, T, H)
            emotion_logits, ctc_logits = self.heads[0](hidden.mean(dim=1)), self.heads[1](hidden)
        ctc = F.ctc_loss(
            ctc_logits.float().log_softmax(-1).transpose(0, 1),  # (T, B, V)
            pad_sequence(list(targets), batch_first=True).to(self.device),
            torch.full((len(waveforms),), hidden.shape[1]),
            torch.tensor([len(target) for target in targets]),
            reduction="sum",
            zero_infinity=True,
        )
        return F.cross_entropy(emotion_logits.float(), labels.to(self.device)) + self.config.alpha * ctc
