"""What a stage scores on patients that it is not trained on, while it is trained."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from slicewise.evaluation.metrics import auroc, weighted_log_loss
from slicewise.package import Calibration, probabilities_from_logits
from slicewise.task import Task


def score_logits(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int8], task: Task) -> dict[str, float]:
    """Returns weighted log loss and areas under the ROC curve of uncalibrated logits.

    Args:
        logits: Shape (slices, labels).
        labels: 0, 1 or -1 for unknown, shape (slices, labels).
        task: Names, weights and order of the labels.
    """
    probabilities = probabilities_from_logits(logits, Calibration.identity(len(task.labels)), task.any_index)
    scores = {"weighted_log_loss": weighted_log_loss(probabilities, labels, np.asarray(task.loss_weights))}
    for index, name in enumerate(task.label_names):
        scores[f"auroc_{name}"] = auroc(probabilities[:, index], labels[:, index])
    return scores
