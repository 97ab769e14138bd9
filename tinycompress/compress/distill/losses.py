"""Losses: tasks, distillation, label smoothing. Everything a recipe can name (METHODS B2.3, B2.4, B6.1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional


def soft_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T²·KL(softmax(teacher/T) ‖ softmax(student/T)), mean over the batch; logits [batch, classes].

    The factor T² keeps the gradient's size when T changes.
    """
    log_student = functional.log_softmax(student / temperature, dim=-1)
    log_teacher = functional.log_softmax(teacher / temperature, dim=-1)
    divergence = functional.kl_div(log_student, log_teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


@dataclass(frozen=True)
class Distillation:
    """alpha · T²·KL(teacher ‖ student) + (1 − alpha) · task loss.

    Defaults are Hinton's for 10 to 12 classes; alpha 0.95 and T 10 for 100 and more; alpha 1 and T 1 is the patient
    teacher, which drops the labels. For outputs that are no logits (regression, autoencoder) the soft term is the mean
    squared difference to the teacher's output.
    """

    alpha: float = 0.9
    temperature: float = 4.0

    def __call__(self, student: Tensor, teacher: Tensor, task_loss: Tensor, *, are_logits: bool = True) -> Tensor:
        if are_logits:
            soft = soft_divergence(student, teacher, self.temperature)
        else:
            soft = functional.mse_loss(student, teacher)
        return self.alpha * soft + (1.0 - self.alpha) * task_loss


def matched_smoothing(teacher: Tensor) -> float:
    """Label smoothing ε whose targets have the teacher's mean confidence: the honest control of a teacher.

    Smoothed targets give the true class 1 − ε + ε/K; teacher [samples, classes] are logits.
    """
    classes = teacher.shape[-1]
    confidence = float(functional.softmax(teacher, dim=-1).amax(-1).mean())
    return float(min(1.0, max(0.0, (1.0 - confidence) * classes / (classes - 1))))


def cross_entropy(output: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Classification loss of logits [batch, classes] and labels [batch]."""
    return functional.cross_entropy(output, target, label_smoothing=smoothing)


def mean_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Regression and reconstruction loss; the target has as many values as the output."""
    return functional.mse_loss(output, target.reshape(output.shape).to(output.dtype))
