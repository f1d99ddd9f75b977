"""Words that operators without multiply-accumulates move, under both fusion policies."""

from __future__ import annotations

import pytest

from codesign.models.layers import Traffic
from codesign.workloads.traffic import Fusion, MemoryTraffic, memory_traffic

WORDS = 16 * 32 * 32


@pytest.mark.parametrize(
    ("kind", "read", "written", "expected"),
    [
        ("activation", WORDS, WORDS, (0, 0)),
        ("elementwise", WORDS, WORDS, (0, 0)),
        ("elementwise", 2 * WORDS, WORDS, (WORDS, 0)),
        ("residual", 2 * WORDS, WORDS, (WORDS, 0)),
        ("elementwise", WORDS // 2, WORDS, (0, 0)),
        ("pooling", WORDS, WORDS // 4, (WORDS, WORDS // 4)),
        ("softmax", WORDS, WORDS, (WORDS, WORDS)),
        ("norm", WORDS, WORDS, (WORDS, WORDS)),
        ("data_movement", WORDS, WORDS, (WORDS, WORDS)),
    ],
)
def test_fused_operators_move_only_what_their_producer_has_not_at_hand(kind, read, written, expected):
    moved = memory_traffic(Traffic("op", kind, read, written))
    assert (moved.words_read, moved.words_written) == expected
    assert moved.words == sum(expected)
    unfused = memory_traffic(Traffic("op", kind, read, written), fusion=Fusion.UNFUSED)
    assert unfused == MemoryTraffic("op", kind, read, written)


def test_a_batch_norm_folds_into_its_producer_and_a_layer_norm_does_not():
    batch_norm = Traffic("bn", "batch_norm", WORDS + 8, WORDS)
    assert memory_traffic(batch_norm).words == 0
    assert memory_traffic(batch_norm, fusion=Fusion.UNFUSED).words == 2 * WORDS + 8
    assert memory_traffic(Traffic("ln", "norm", WORDS, WORDS)).words == 2 * WORDS


def test_traffic_grows_with_the_batch():
    pooling = Traffic("pool", "pooling", 8, 2)
    assert memory_traffic(pooling, batch=5) == MemoryTraffic("pool", "pooling", 40, 10)
    with pytest.raises(ValueError, match="batch must be at least 1"):
        memory_traffic(pooling, batch=0)


def test_fusion_is_spelled_as_in_a_config():
    assert Fusion("fused") is Fusion.FUSED
    assert str(Fusion.UNFUSED) == "unfused"
