"""The YAML reader: YAML 1.2 scalars, places, and everything it must refuse."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codesign.accelerator.spec.nodes import Node
from codesign.accelerator.spec.yaml_reader import MAX_BYTES, MAX_DEPTH, parse_yaml, read_yaml
from codesign.errors import InputError

HERE = Path("spec.yaml")


def parse(text: str) -> Node:
    return parse_yaml(text.encode(), HERE)


def plain(node: Node) -> object:
    if isinstance(node.value, dict):
        return {key: plain(inner) for key, inner in node.value.items()}
    if isinstance(node.value, list):
        return [plain(inner) for inner in node.value]
    return node.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2.5E+2", -250.0),
        (".5", 0.5),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        ("+7", 7),
        ("true", True),
        ("False", False),
        ("on", "on"),
        ("yes", "yes"),
        ("N", "N"),
        ("y", "y"),
        ("~", None),
        ("null", None),
        ("", None),
        ("1_000", "1_000"),
        ("12:30", "12:30"),
        ('"1e-3"', "1e-3"),
        ("'true'", "true"),
        ("!!str 12", "12"),
        ("a b", "a b"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    got = parse(f"key: {text}").mapping()["key"].value
    assert got == value
    assert type(got) is type(value)


def test_quotes_are_remembered() -> None:
    node = parse("{a: \"LPDDR4\", b: LPDDR4, c: 'x'}").mapping()
    assert [node[key].quoted for key in "abc"] == [True, False, True]


def test_every_value_knows_its_place() -> None:
    node = parse("top:\n- a: 1\n  b: [x, {c: 2}]\n")
    inner = node.mapping()["top"].items()[0].mapping()["b"].items()[1].mapping()["c"]
    assert (inner.line, inner.key, inner.path) == (3, "top[0].b[1].c", HERE)


def test_known_tags_stand_on_mappings() -> None:
    items = parse("- !Component {name: a}\n- !Nothing\n- !Parallel\n  nodes: []\n").items()
    assert [item.tag for item in items] == ["!Component", "!Nothing", "!Parallel"]
    assert items[1].mapping() == {}


def test_merge_keys_keep_own_values() -> None:
    text = "a: &a {x: 1, in: {p: 1, q: 2}}\nb: {<<: *a, x: 3}\nc: {<<<: *a, in: {p: 5}}\nd: {<<: [*a, {y: 9}]}"
    got = plain(parse(text))
    assert isinstance(got, dict)
    assert got["b"] == {"x": 3, "in": {"p": 1, "q": 2}}
    assert got["c"] == {"x": 1, "in": {"p": 5, "q": 2}}
    assert got["d"] == {"x": 1, "in": {"p": 1, "q": 2}, "y": 9}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "a second `a`"),
        ("a: {b: 1, b: 2}\n", 1, "a second `b`"),
        ("- !Componnt {name: a}\n", 1, "did you mean !Component"),
        ("- !Component [a]\n", 1, "must be on a mapping"),
        ("a: !!python/object:os.system x\n", 1, "the tag must be known"),
        ("a: *b\n", 1, "an alias must name an anchor"),
        ("a: &a [*a]\n", 1, "an alias must name an anchor"),
        ("a: [1, 2\n", 2, "valid YAML"),
        ("a:\n\t- 1\n", 2, "valid YAML"),
        ("a: 1\n---\nb: 2\n", 3, "one document"),
        ("? [a, b]\n: 1\n", 1, "a key must be plain text"),
        ("{{include('x')}}\n", 1, "templates"),
        ("a: " + "9" * 50, 1, "at most 40 characters"),
        ("", None, "must not be empty"),
        ("# only a comment\n", None, "must not be empty"),
        ("a: \x07\n", None, "valid YAML"),
    ],
)
def test_what_is_refused(text: str, line: int | None, words: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(text)
    assert words in str(caught.value)
    assert caught.value.path == HERE
    if line is not None:
        assert caught.value.line == line


def test_nesting_is_bounded() -> None:
    with pytest.raises(InputError, match=f"nested at most {MAX_DEPTH}"):
        parse("[" * 100_000)


def test_aliases_cannot_unfold_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12)]
    with pytest.raises(InputError, match="aliases expanded"):
        parse("\n".join(lines))


def test_a_repeated_alias_is_fine() -> None:
    node = parse("a: &id001 [N, M]\nb: *id001\nc: *id001\n")
    assert plain(node) == {"a": ["N", "M"], "b": ["N", "M"], "c": ["N", "M"]}


def test_large_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(200 * 2**20)
    with pytest.raises(InputError, match=f"at most {MAX_BYTES} bytes"):
        read_yaml(path)


def test_other_encodings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: 1\nb: caf\xe9\n")
    with pytest.raises(InputError, match="UTF-8") as caught:
        read_yaml(path)
    assert caught.value.line == 2


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(InputError) as caught:
            read_yaml(path)
        assert caught.value.path == path


names = st.text("abcdefghijklmnop", min_size=1, max_size=6)
values = st.recursive(
    st.integers(-(10**9), 10**9)
    | st.booleans()
    | st.none()
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"], exclude_characters="\ufeff"), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(names, values, min_size=1, max_size=4))
def test_json_reads_as_itself(data: dict[str, object]) -> None:
    assert plain(parse(json.dumps(data, ensure_ascii=False))) == data


yaml_like = st.text("{}[]:,-#&*!|>'\"%@` \n\ta1~<=.?", max_size=40).map(str.encode)


@given(st.binary(max_size=60) | yaml_like)
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(InputError):
        parse_yaml(data, HERE)
