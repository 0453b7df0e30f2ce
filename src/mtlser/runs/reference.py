"""What a result on people is set beside: a linear classifier on frozen features of the same encoder, on the same folds,
the look-up of the text, and the majority.

Legend of shapes: N utterances, H hidden size.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from mtlser.corpus.folds import make_folds
from mtlser.corpus.text import normalise
from mtlser.files import write_json
from mtlser.machine import hardware, revision, versions
from mtlser.runs import metrics
from mtlser.runs.plan import Plan

FOLDER = "reference"
CS = np.logspace(-5, 1, 7)  # inverse strengths of the penalty; chosen on other speakers of the training part
INNER_FOLDS = 5

# Rows of training and of test -> the emotions predicted for the second.
Classifier = Callable[[np.ndarray, np.ndarray], np.ndarray]


def write_reference(plan: Plan, folder: Path) -> Path:
    """Measures the three on the plan's corpus, backbone and protocol, all folds, and writes a record below `folder`."""
    utterances = plan.corpus.utterances  # whose order is the store's
    features = frozen_features(plan)
    classifiers = {
        "majority": majority(utterances),
        "look-up of the text": look_up(utterances),
        "linear on frozen features": linear(features, utterances),
    }
    rows = []
    for fold in make_folds(utterances, plan.template.protocol):
        train, test = (np.flatnonzero(utterances["utterance"].isin(part)) for part in (fold.train, fold.test))
        labels = utterances["emotion"].to_numpy()[test].tolist()
        for name, classify in classifiers.items():
            predicted = list(classify(train, test))
            scores = {"accuracy": metrics.weighted_accuracy, "uar": metrics.unweighted_accuracy}
            rows.append(
                {"classifier": name, "fold": fold.name, "num_test": len(test)}
                | {score: round(measure(labels, predicted), 6) for score, measure in scores.items()}
            )
    record = {
        "corpus": plan.corpus.name,
        "corpus_id": plan.corpus.identity,
        "backbone": plan.backbone_name,
        "backbone_digest": plan.backbone_digest,
        "protocol": plan.template.protocol,
        "features": f"mean and standard deviation over frames of the last layer, {features.shape[1]} numbers",
        "rows": rows,
        "versions": versions(),
        "hardware": hardware(),
        "revision": revision(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    name = f"{plan.preset.name}-{record['backbone'].rpartition('/')[2]}-{plan.template.protocol}.json"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / name, record)
    return folder / name


def frozen_features(plan: Plan) -> np.ndarray:
    """(N, 2H) mean and standard deviation over the frames of each utterance of the backbone's output, as it was given.

    In the order of the corpus's store. Each utterance is computed alone.
    """
    import torch

    from mtlser.corpus.dataset import SpeechDataset
    from mtlser.model.multitask import MultitaskModel

    dataset = SpeechDataset(plan.corpus.store, plan.corpus.utterances.assign(text=""))
    model = MultitaskModel.from_backbone(plan.backbone, revision=plan.backbone_revision, seed=0).eval()
    encoder, found = model.wav2vec2, []
    with torch.inference_mode():
        for index in range(len(dataset.table)):
            waveform = torch.from_numpy(dataset.waveform(index, raw=encoder.hears_raw))[None]  # (1, S)
            hidden = encoder(waveform, torch.tensor([waveform.shape[1]]))[0][0]  # (T, H)
            found.append(torch.cat([hidden.mean(0), hidden.std(0, correction=0)]).numpy())
    return np.stack(found)


def majority(utterances: pd.DataFrame) -> Classifier:
    """The commonest emotion of training."""
    emotions = utterances["emotion"]
    return lambda train, test: np.full(len(test), emotions.iloc[train].mode()[0])


def look_up(utterances: pd.DataFrame) -> Classifier:
    """The commonest emotion that training gives the same words; of unheard words, and where it is a tie, of all."""
    emotions, texts = utterances["emotion"], utterances["transcript"].map(normalise)

    def classify(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        order = emotions.iloc[train].value_counts().index  # the commonest of all first
        counts = pd.crosstab(texts.iloc[train], emotions.iloc[train]).reindex(columns=order)
        return texts.iloc[test].map(counts.idxmax(axis=1)).fillna(order[0]).to_numpy()

    return classify


def linear(features: np.ndarray, utterances: pd.DataFrame) -> Classifier:
    """Logistic regression on standardised features (N, F), its penalty chosen on training's speakers alone."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    emotions, speakers = utterances["emotion"].to_numpy(), utterances["speaker"].to_numpy()

    def classify(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        inner = GroupKFold(min(INNER_FOLDS, len(set(speakers[train]))))
        search = GridSearchCV(pipeline, {"logisticregression__C": CS}, cv=inner)
        return search.fit(features[train], emotions[train], groups=speakers[train]).predict(features[test])

    return classify
