"""The tree of a conversation's questions, from the ids in their rows."""

from random import Random

import pytest

from chat.branches import Asked, Tree

# 1 ─ 2 ─ 3        3 was asked again as 4, and 4 as 5; 6 follows 5.
#      ├─ 4        7 was asked while 3 was shown; 8 instead of the first question.
#      └─ 5 ─ 6
# 8
BRANCHED = Tree(
    [
        Asked(1),
        Asked(2),
        Asked(3),
        Asked(4, branch_of=3),
        Asked(5, branch_of=4),
        Asked(6),
        Asked(7, follows=3),
        Asked(8, branch_of=1),
    ]
)


def test_path_without_a_head_leads_to_the_newest_question() -> None:
    assert Tree([Asked(1), Asked(2), Asked(5)]).path() == [1, 2, 5]
    assert BRANCHED.path() == [8]
    assert Tree([]).path() == []


def test_path_leads_to_its_head() -> None:
    assert BRANCHED.path(6) == [1, 2, 5, 6]
    assert BRANCHED.path(4) == [1, 2, 4]
    assert BRANCHED.path(7) == [1, 2, 3, 7]


def test_unknown_head_counts_as_none() -> None:
    assert BRANCHED.path(99) == BRANCHED.path()


def test_versions_follow_the_same_question() -> None:
    assert BRANCHED.versions(4) == [3, 4, 5]
    assert BRANCHED.versions(1) == BRANCHED.versions(8) == [1, 8]
    assert BRANCHED.versions(6) == [6]


def test_head_of_a_version_is_the_newest_question_below_it() -> None:
    assert BRANCHED.head_of(3) == 7
    assert BRANCHED.head_of(5) == 6
    assert BRANCHED.head_of(1) == 7
    assert BRANCHED.head_of(8) == 8


def test_question_whose_predecessor_was_removed_has_none() -> None:
    # What was asked since follows the removed question, too, or another version of it.
    pruned = Tree([Asked(5), Asked(6, branch_of=2), Asked(7, follows=3), Asked(8, follows=7)])
    assert pruned.path(5) == [5]
    assert pruned.path(6) == [6]
    assert pruned.path() == [7, 8]


def test_unknown_question_has_no_head() -> None:
    with pytest.raises(KeyError):
        BRANCHED.head_of(99)


@pytest.mark.parametrize("seed", range(50))
def test_paths_of_any_tree_are_those_that_were_shown(seed: int) -> None:
    """Ask, edit and step at random, as a conversation does, and keep each path beside it."""
    random = Random(seed)
    rows: list[Asked] = []
    paths: dict[int, list[int]] = {}
    head = None
    for pk in range(1, 40, 1 + seed % 3):
        shown = paths[head] if head else list(paths)
        if shown and random.random() < 0.4:
            edited = random.choice(shown)
            rows.append(Asked(pk, branch_of=edited))
            paths[pk] = [*shown[: shown.index(edited)], pk]
            head = pk
        else:
            rows.append(Asked(pk, follows=head))
            paths[pk] = [*shown, pk]
            head = pk if head else None
        tree = Tree(rows)
        if head and random.random() < 0.3:
            head = tree.head_of(random.choice(list(paths)))
            assert tree.head_of(head) == head
    for pk, path in paths.items():
        assert tree.path(pk) == path
        assert tree.number(pk) == len(path)
        siblings = [other for other, its in paths.items() if its[:-1] == path[:-1]]
        assert tree.versions(pk) == siblings
        end = tree.path(tree.head_of(pk))
        assert end[: len(path)] == path
        assert max(other for other, its in paths.items() if pk in its) == end[-1]
