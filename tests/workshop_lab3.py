"""Answers to lab 3's exercises that are wrong, and what the check says of each."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


def mean_over_frames(hidden, frame_lengths):
    return torch.stack([row[:length].mean(dim=0) for row, length in zip(hidden, frame_lengths, strict=True)])


def heads(
    *, name="ctc_head", size=None, swap=False, pooled=False, softmax=False, mean=mean_over_frames, flat=False, one=False
):
    """A TwoHeads with a mistake."""

    class TwoHeads(nn.Module):
        def __init__(self, encoder, hidden_size, num_emotions=4, num_characters=32):
            super().__init__()
            self.encoder = encoder
            self.emotion_head = nn.Linear(hidden_size, num_emotions)
            setattr(self, name, nn.Linear(hidden_size, size or num_characters))

        def forward(self, features, frame_lengths):
            hidden = self.encoder.forward_features(features, frame_lengths)
            emotion_logits = self.emotion_head(mean(hidden, frame_lengths))
            ctc_logits = getattr(self, name)(mean(hidden, frame_lengths) if pooled else hidden)
            if softmax:
                ctc_logits = ctc_logits.log_softmax(-1)
            if one:
                return emotion_logits
            if flat:
                return emotion_logits, ctc_logits.flatten()
            return (ctc_logits, emotion_logits) if swap else (emotion_logits, ctc_logits)

    return TwoHeads


def ctc(*, log=True, dim=-1, reduction="sum", whole=True, divide=True, sign=1, probabilities=False):
    """A ctc_loss with a mistake."""

    def ctc_loss(logits, frame_lengths, targets, target_lengths):
        log_probs = logits.log_softmax(dim) if log else logits
        log_probs = log_probs.exp() if probabilities else log_probs
        frames = frame_lengths if whole else torch.full_like(frame_lengths, logits.shape[1])
        loss = F.ctc_loss(log_probs.transpose(0, 1), targets, frames, target_lengths, reduction=reduction)
        return sign * loss / (len(targets) if divide and reduction == "sum" else 1)

    return ctc_loss


def losses(model, batch):
    emotion_logits, ctc_logits = model(batch.inputs, batch.input_lengths)
    both = ctc()(ctc_logits, batch.input_lengths, batch.targets, batch.target_lengths)
    return F.cross_entropy(emotion_logits, batch.labels), both


def stepping(*, clear=True, clip=True, backward=True, move=True, weight=None, returned=True, norm=1.0, late=False):
    """A step with a mistake."""

    def step(model, optimizer, batch, alpha):
        if clear:
            optimizer.zero_grad()
        ce, both = losses(model, batch)
        loss = ce + (alpha if weight is None else weight) * both
        if backward:
            loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), norm)
        if late:
            optimizer.zero_grad()
        if move:
            optimizer.step()
        return loss.item() if returned else 0.5

    return step


def pulling(*, everywhere=False, power=1, swap=False, weight=1.0, cosine=None):
    """A pull with a mistake."""

    def pull(model, batch):
        chosen = list(model.parameters() if everywhere else model.encoder.parameters())
        ce, both = (
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, chosen, retain_graph=True,
                                                                materialize_grads=True)])
            for loss in losses(model, batch)
        )  # fmt: skip
        angle = F.cosine_similarity(ce, both, dim=0).item() if cosine is None else cosine
        norms = [ce.norm().item() ** power, weight * both.norm().item() ** power]
        return (*(reversed(norms) if swap else norms), angle)

    return pull


# exercise -> (the work that its check is given, what the message has to say)
WRONG = {
    "two_heads": [
        ((heads(pooled=True),), "was given the pooled frames"),
        ((heads(size=4),), "should map 3 values to 5; it maps 3 to 4"),
        ((heads(swap=True),), "in the wrong order"),
        ((heads(name="character_head"),), "should be called self.ctc_head"),
        ((heads(softmax=True),), "no softmax, no pooling"),
        ((heads(mean=lambda hidden, lengths: hidden.mean(dim=1)),), "from `mean_over_frames`, as before"),
        ((heads(flat=True),), "the shapes should be"),
        ((heads(one=True),), "should return two things"),
        ((lambda *arguments: 3,), "should make a torch module"),
    ],
    "ctc_loss": [
        ((ctc(log=False),), "log_softmax over the characters first"),
        ((ctc(reduction="mean"),), "divided by its number of characters"),
        ((ctc(divide=False),), "not divided by their number"),
        ((ctc(whole=False),), "padding was counted"),
        ((ctc(dim=1),), "over the frames"),
        ((ctc(sign=-1),), "sign is turned round"),
        ((ctc(probabilities=True),), "without its logarithm"),
        ((ctc(reduction="none"),), "should be one number"),
        ((lambda logits, *rest: F.ctc_loss(logits, *rest),), "raises|shape"),
    ],
    "total_loss": [
        ((lambda e, labels, both, alpha: alpha * F.cross_entropy(e, labels) + both,), "not the cross-entropy"),
        ((lambda e, labels, both, alpha: (1 - alpha) * F.cross_entropy(e, labels) + alpha * both,), "1 − alpha"),
        ((lambda e, labels, both, alpha: F.cross_entropy(e, labels) + both,), "alpha is missing"),
        ((lambda e, labels, both, alpha: F.cross_entropy(e.softmax(-1), labels) + alpha * both,), "two softmaxes"),
        ((lambda e, labels, both, alpha: F.cross_entropy(e, labels, reduction="sum") + alpha * both,), "their mean"),
        ((lambda e, labels, both, alpha: alpha * both,), "CTC's part alone"),
        ((lambda e, labels, both, alpha: alpha * both * F.cross_entropy(e, labels),), "were multiplied"),
        ((lambda e, labels, both, alpha: torch.tensor(7.0),), "is it F.cross_entropy"),
    ],
    "step": [
        ((stepping(clear=False),), "begin with optimizer.zero_grad"),
        ((stepping(clip=False),), "full length"),
        ((stepping(backward=False),), "no parameter has moved"),
        ((stepping(move=False),), "no parameter has moved"),
        ((stepping(late=True),), "no parameter has moved"),
        ((stepping(weight=1.0),), "alpha had no effect"),
        ((stepping(weight=0.0),), "CTC had no effect"),
        ((stepping(returned=False),), "return its loss as a number"),
        ((stepping(norm=0.1),), "in this order"),
        ((stepping(clear=False, clip=False),), "full length|neither cleared"),
    ],
    "pull": [
        ((pulling(everywhere=True),), "the encoder's alone"),
        ((pulling(power=2),), "square of CE's norm"),
        ((pulling(swap=True),), "are exchanged"),
        ((pulling(weight=0.1),), "CTC's norm, before alpha"),
        ((pulling(cosine=2.0),), "the cosine is"),
        ((lambda model, batch: 1.0,), "should|three numbers"),
    ],
}
