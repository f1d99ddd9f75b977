from __future__ import annotations

import pytest

from codesign.errors import InputError
from codesign.robustness.attacks import APGD, L2, PGD, AutoAttack, Linf, Square, attacks_from_text
from codesign.robustness.attacks.presets import ATTACK_NAMES, PRESET_NAMES


def test_presets_and_parameters() -> None:
    assert attacks_from_text("pgd20", Linf(), 0.03) == (PGD(eps=0.03, steps=20),)
    assert attacks_from_text("pgd:steps=50,restarts=2; square:queries=1000;", Linf(), 0.03) == (
        PGD(eps=0.03, steps=50, restarts=2),
        Square(eps=0.03, queries=1000),
    )
    assert attacks_from_text(" AutoAttack-Standard ", L2(), 0.5) == (AutoAttack(norm=L2(), eps=0.5),)
    assert attacks_from_text("apgd:loss=dlr", Linf(), 0.03) == (APGD(eps=0.03, loss="dlr"),)
    assert attacks_from_text("pgd:step_size=2/255,random_start=false", Linf(), 0.03) == (
        PGD(eps=0.03, step_size=2 / 255, random_start=False),
    )


@pytest.mark.parametrize("name", [*ATTACK_NAMES, *PRESET_NAMES])
def test_every_name_makes_an_attack(name: str) -> None:
    (attack,) = attacks_from_text(name, L2(), 0.5)
    assert attack.eps == 0.5
    assert attack.norm == L2()
    assert attack.with_eps(0.25).eps == 0.25
    assert attack.configuration()["eps"] == 0.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must name at least one attack"),
        (" ; ", "must name at least one attack"),
        ("pgd2O", "unknown attack"),
        ("autoattack", "unknown attack"),
        ("pgd20:steps=3", "a preset takes no parameters"),
        ("pgd:step=3", "unknown parameter"),
        ("pgd:eps=3", "settings of their own"),
        ("pgd:steps", "a parameter is name=value"),
        ("pgd:steps=many", "must be a whole number"),
        ("pgd:step_size=1/0", "must be a number"),
        ("pgd:random_start=1", "must be true or false"),
        ("pgd:steps=3,steps=4", "given once"),
        ("pgd:steps=0", "steps must be an integer >= 1"),
        ("pgd:loss=cw", "unknown loss"),
        ("pgd20; pgd:steps=20", "attacks must differ"),
        ("cw", "C&W is an attack in L2"),
    ],
)
def test_text_that_names_no_attack(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        attacks_from_text(text, Linf(), 0.03)
