"""Names, memory traffic and the account of operators: modelled, ignored on purpose, or an error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codesign.errors import InputError
from codesign.models.layers import TracedModel, Traffic
from codesign.models.tracing import trace


class Block(nn.Module):
    """A residual block with a functional activation, a module used twice, and attention written out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.norm = nn.BatchNorm2d(2)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.conv(x))
        y = self.relu(self.norm(self.conv(y)))
        scores = (y @ y.transpose(-1, -2)).softmax(-1)
        return F.relu(scores @ y + x)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(2, 3)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.blocks(x).mean((2, 3))))


class Call(nn.Module):
    """Any function of one tensor as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.fixture(scope="module")
def traced() -> TracedModel:
    return trace(Net(), (2, 4, 5))


def test_names_of_layers(traced: TracedModel) -> None:
    in_block = ("conv", "conv#2", "matmul", "matmul#2")
    assert [layer.name for layer in traced.layers] == [
        *(f"blocks.0.{name}" for name in in_block),
        *(f"blocks.1.{name}" for name in in_block),
        "head",
    ]
    assert [layer.module for layer in traced.layers[:3]] == ["blocks.0.conv", "blocks.0.conv", "blocks.0"]
    assert traced.layers[0].weights.parameter == traced.layers[1].weights.parameter == "blocks.0.conv.weight"
    assert traced.macs == 2 * (2 * 2 * 2 * 9 * 20 + 2 * (4 * 4 * 5 + 4 * 5 * 4)) + 2 * 3


def test_traffic(traced: TracedModel) -> None:
    words = 2 * 4 * 5
    first = [entry for entry in traced.traffic if entry.name.startswith("blocks.0")]
    assert first == [
        Traffic("blocks.0.relu", "activation", words, words),
        Traffic("blocks.0.norm", "batch_norm", words + 4 * 2, words),
        Traffic("blocks.0.relu#2", "activation", words, words),
        Traffic("blocks.0.softmax", "softmax", 2 * 4 * 4, 2 * 4 * 4),
        Traffic("blocks.0.add", "residual", 2 * words, words),
        Traffic("blocks.0.relu#3", "activation", words, words),
    ]
    assert traced.traffic[-1] == Traffic("mean", "pooling", words, 2)


def test_every_name_is_unique(traced: TracedModel) -> None:
    names = [entry.name for entry in (*traced.layers, *traced.traffic)]
    assert len(set(names)) == len(names)


def test_coverage_accounts_for_every_operator(traced: TracedModel) -> None:
    rows = {(entry.operator, entry.treatment): entry for entry in traced.coverage}
    assert rows["aten.conv2d", "modelled"].count == 4
    assert rows["aten.matmul", "modelled"].count == 4
    assert rows["aten.transpose", "ignored"].reason.startswith("the same words")
    assert rows["aten.dropout", "ignored"].reason == "dropout passes a tensor on unchanged in evaluation"
    assert all(entry.reason for entry in traced.coverage)
    assert not [entry for entry in traced.coverage if entry.treatment == "unsupported"]


MOVES = {
    "cat": (lambda x: torch.cat([x, x * 2], 1), Traffic("cat", "data_movement", 2 * 24, 2 * 24)),
    "pad": (lambda x: F.pad(x, (1, 2)), Traffic("pad", "data_movement", 24, 2 * 3 * 7)),
    "index": (lambda x: x[:, [1, 0], :2], Traffic("index", "data_movement", 16 + 2, 16)),
    "copy": (lambda x: x.transpose(1, 2).contiguous(), Traffic("contiguous", "data_movement", 24, 24)),
    "scalar": (lambda x: x + 1, Traffic("add", "elementwise", 24, 24)),
    "written in place": (F.relu_, Traffic("relu", "activation", 24, 24)),
    "conversion": (lambda x: x.half(), Traffic("to", "elementwise", 24, 24)),
    "topk": (lambda x: x.topk(2, -1).values, Traffic("topk", "elementwise", 24, 12)),
    "global pooling": (lambda x: F.adaptive_avg_pool2d(x, 1), Traffic("adaptive_avg_pool2d", "pooling", 24, 2)),
    "two maxima": (lambda x: torch.max(x, x * 2), Traffic("max", "elementwise", 48, 24)),
    "noise": (torch.randn_like, Traffic("randn_like", "elementwise", 24, 24)),
    "active dropout": (F.dropout, Traffic("dropout", "elementwise", 24, 24)),
}


@pytest.mark.parametrize("case", MOVES)
def test_words_moved(case: str) -> None:
    function, expected = MOVES[case]
    assert trace(Call(function), (2, 3, 4)).traffic[-1] == expected


def test_what_does_not_depend_on_the_input_costs_nothing() -> None:
    """A mask built from sizes and parameters is computed once, not for every sample."""
    traced = trace(Call(lambda x: x * torch.ones(4, 4).tril().sum(0)), (2, 3, 4))
    assert [entry.name for entry in traced.traffic] == ["mul"]
    assert {entry.operator: entry.treatment for entry in traced.coverage}["aten.tril"] == "ignored"


def test_contiguous_moves_words_only_where_it_copies() -> None:
    traced = trace(Call(lambda x: x.contiguous().mT.contiguous()), (2, 3, 4))
    assert traced.traffic == (Traffic("contiguous", "data_movement", 24, 24),)


def test_writing_into_a_constant_makes_it_depend_on_the_input() -> None:
    def embed(x: Tensor) -> Tensor:
        canvas = torch.zeros(x.shape[0], 2, 3, 4)
        canvas[:, :, :2] = x[:, :, :2]
        return canvas * 2

    assert [entry.name for entry in trace(Call(embed), (2, 3, 4)).traffic] == ["copy", "mul"]


class Volume(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(1, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.stem(x.unsqueeze(1)).mean(2)


def test_unsupported_operators_are_named_with_their_places() -> None:
    with pytest.raises(InputError) as caught:
        trace(Volume(), (3, 4, 5))
    message = str(caught.value)
    assert "aten.conv3d (a 3-D convolution) 1x in stem" in message
    assert "`ignore`: aten.conv3d" in message


@pytest.mark.parametrize("name", ["aten.conv3d", "conv3d", "aten.conv3d.default"])
def test_a_named_operator_is_left_out_and_shown(name: str) -> None:
    traced = trace(Volume(), (3, 4, 5), ignore={name})
    assert traced.layers == ()
    (row,) = (entry for entry in traced.coverage if entry.operator == "aten.conv3d")
    assert (row.treatment, row.reason, row.count) == ("ignored", "named by the user", 1)


def test_a_name_that_does_not_occur_is_an_error() -> None:
    with pytest.raises(InputError, match=r"did you mean .*aten\.conv3d"):
        trace(Volume(), (3, 4, 5), ignore={"aten.conv3"})


MIXING: dict[str, Callable[[Tensor], Tensor]] = {
    "batch statistics": lambda x: F.batch_norm(x, None, None, training=True),
    "mean over the batch": lambda x: x - x.mean(0),
    "softmax over the batch": lambda x: x.softmax(0),
    "similarity of samples": lambda x: x.flatten(1) @ x.flatten(1).T,
    "sum over samples": lambda x: torch.einsum("bchw,bchv->wv", x, x),
    "reversed batch": lambda x: x.flip(0),
    "rolled": lambda x: x.roll(1),
    "torn by a reshape": lambda x: x.flatten(1).T.reshape(x.shape[0], -1),
    "one sample": lambda x: x[0],
    "maximum of everything": lambda x: x / x.abs().max(),
    "picked samples": lambda x: x[torch.zeros(x.shape[0], dtype=torch.long)],
    "data-dependent size": lambda x: x[x > 0],
    "batch as channels": lambda x: F.avg_pool2d(x.permute(1, 2, 0, 3), 2),
}


@pytest.mark.parametrize("case", MIXING)
def test_mixing_samples_is_unsupported(case: str) -> None:
    with pytest.raises(InputError, match="must be modelled or left out by name"):
        trace(Call(MIXING[case]), (2, 3, 4))


def test_only_the_cause_is_reported() -> None:
    with pytest.raises(InputError) as caught:
        trace(Call(lambda x: (x - x.mean(0)).relu().sigmoid()), (2, 3, 4))
    got = str(caught.value.got)
    assert "aten.mean (it combines the samples of a batch into one result)" in got
    assert "sigmoid" not in got
