import pytest
import torch

from neurocarto.summarisation.strengths import class_output


def test_a_class_of_one_output_is_its_logit_above_the_mean():
    logits = torch.tensor([[3.0, 1.0, -1.0], [0.0, 0.0, 6.0]])
    assert class_output(logits, [0]).tolist() == pytest.approx([2, -2])


def test_of_several_outputs_the_one_that_fires_counts():
    before, after = torch.tensor([[9.0, 0.0, 0.0, -9.0]]), torch.tensor([[4.0, 4.0, 0.0, -8.0]])
    assert before[:, :2].mean() > after[:, :2].mean() - 1  # their mean hardly tells the two apart
    assert class_output(before, [0, 1]).item() - class_output(after, [0, 1]).item() > 4
    level = torch.zeros(1, 4)
    assert class_output(level, [0, 1]).item() == pytest.approx(0, abs=1e-6), "at rest, however many they are"
