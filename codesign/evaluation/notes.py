"""The assumptions that every reader of a record must know, in the record itself (docs/assumptions.md has them all)."""

from __future__ import annotations

from codesign.config import EvaluateConfig
from codesign.data.images import ImageSet
from codesign.evaluation.threats import threat_notes

__all__ = ["notes"]


_DEFENSE_NOTES = (
    "A defended model is attacked once in every gradient mode, and with images made on its undefended base; an image "
    "counts as robust if it stands all of them. Its base is attacked as asked.",
    "On an ordinary array a defended layer is three products one after the other, the exact one in full, k filled up "
    "with zeros to a multiple of 16; the arithmetic of rounding and selection is not modelled there. On a dual-module "
    "design projection, approximate product, selection and the exact product of essential neurons overlap; the sizes "
    "of the shipped one are the project's own choice, not published ones.",
)


def notes(config: EvaluateConfig, images: ImageSet, *, defended: bool) -> tuple[str, ...]:
    """What holds for the numbers of this run.

    Args:
        defended: whether a model has a defence around it.
    """
    fused = (
        "Batch norms and activations are fused into the layer before them; "
        if config.fusion == "fused"
        else "No operator is fused into another; "
    )
    masked = len(images) if config.mask_images is None else min(config.mask_images, len(images))
    quick = (
        "One PGD is a quick attack; `attacks: autoattack-standard` is a stronger one."
        if config.attacks is None
        else "A better attack can only lower it."
    )
    return (
        f"Robust accuracy is an upper bound: it holds against the attacks that were run, on {len(images)} images. "
        f"{quick}",
        *threat_notes(config),
        "Accuracy is measured in float32. The word widths of the architectures enter energy and capacity only; the "
        "accuracy of a quantised network is not measured.",
        "Energy and latency are per inference at batch 1, layers one after another, every layer from and to DRAM.",
        f"Zeros are recorded on {masked} images. {_zeros(config)}",
        "Clean and adversarial inputs run with the same mappings, so that their difference comes from the masks alone. "
        "The mappings come from a search with a small fixed budget; `codesign map` may find better ones.",
        f"{fused}other operators without multiply-accumulates are charged their words at the outermost level; "
        "their latency is not modelled.",
        *(_DEFENSE_NOTES if defended else ()),
        *_engine_notes(config),
        "Not modelled: control, clock tree, on-chip network energy (unless the architecture file gives it), DRAM "
        "background power" + (", imbalance between instances." if config.density == "expected" else "."),
    )


def _zeros(config: EvaluateConfig) -> str:
    if config.density == "actual":
        return (
            "Layers are simulated with the recorded masks themselves, where the hardware looks at zeros; numbers are "
            "means over the images. Latency is that of work spread evenly; beside it stands the realised one, in which "
            "every step waits for its busiest instance. The exported Timeloop files have the densities."
        )
    return (
        "A layer is simulated at the mean share of multiply-accumulates with a nonzero input, padding counted as zero; "
        "its zeros are taken to lie uniformly at random (hypergeometric)."
    )


def _engine_notes(config: EvaluateConfig) -> tuple[str, ...]:
    if config.engine == "embedded":
        return ()
    return (
        "The real Timeloop simulated. It does not tell work that gating keeps away from work that skipping keeps away: "
        "gated MACs are those gated at the compute level, the rest counts as skipped. There is no waterfall.",
    )
