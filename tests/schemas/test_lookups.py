"""Tokens of names and birth dates: what finds whom, and that nothing else can be told of them."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import identity, lookups
from schemas.lookups import PADDED_TO, TOKENS_MAX, Unsearchable

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
PERSON = uuid.UUID(int=7)


def said(*names, birth_date=None):
    return {"names": list(names), "birth_date": birth_date}


def tokens(*names, birth_date=None, key=KEY, person=PERSON):
    return set(lookups.tokens(key, said(*names, birth_date=birth_date), person))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("O'Brien", ["obrien"]),
        ("O\u2019BRIEN", ["obrien"]),
        ("Smith-Jones", ["smith", "jones"]),
        ("Müller", ["muller"]),
        ("Mu\u0308ller", ["muller"]),
        ("Straße", ["strasse"]),
        ("Łukasz Øre", ["lukasz", "ore"]),
        ("ŞAHİN", ["sahin"]),
        ("J.R.", ["jr"]),
        ("\uff21nna", ["anna"]),
        ("王小明", ["王小明"]),
        ("अमित", ["अमित"]),
        ("  de  la Cruz, ", ["de", "la", "cruz"]),
        ("?!", []),
    ],
)
def test_words_are_compared_without_case_accents_and_punctuation(written, words):
    assert lookups.words(written) == words


def test_a_person_is_found_by_each_word_of_each_name_in_any_order():
    known = tokens({"family": "O'Brien", "given": "Ann Marie"}, {"family": "Rook", "given": None})
    for asked in ("o'brien", "MARIE ann", "rook", "Ann Rook"):
        assert known.issuperset(lookups.named(KEY, asked)), asked
    for asked in ("Mari", "Brien", "Ann Finch"):
        assert not known.issuperset(lookups.named(KEY, asked)), asked


def test_a_person_is_found_by_beginnings_of_three_to_eight_letters():
    known = tokens({"family": "Featherstone", "given": "Al"})
    for asked in ("fea", "Feat", "feather", "feathers"):
        assert known.issuperset(lookups.beginning(KEY, asked)), asked
    assert not known.issuperset(lookups.beginning(KEY, "ston"))
    for asked in ("fe", "featherst", "al", "fea x", "?"):
        with pytest.raises(Unsearchable):
            lookups.beginning(KEY, asked)


def test_a_person_is_found_by_a_whole_birth_date_alone():
    assert tokens(birth_date="1970-01-31").issuperset(lookups.born(KEY, "1970-01-31"))
    for part in ("1970", "1970-01"):
        assert tokens(birth_date=part) == set()
    for asked in ("1970", "1970-02-30", "31.1.1970", ""):
        with pytest.raises(Unsearchable):
            lookups.born(KEY, asked)


def test_titles_degrees_and_sex_have_no_token():
    name = {"family": "Rook", "given": "Ann", "prefix": "Dr", "suffix": "Jr", "type": "L"}
    bare = {"family": "Rook", "given": "Ann"}
    whole = lookups.tokens(KEY, {**said(name), "sex": "F", "deceased": "Y"}, PERSON)
    assert set(whole) == tokens(bare)


def test_equal_texts_of_two_kinds_and_of_two_tenants_have_other_tokens():
    word = "19700131"
    found = [
        *lookups.named(KEY, word), *lookups.beginning(KEY, word), *lookups.named(OTHER, word),
        identity.token(identity.lookup_key(KEY), "birth date", word),
        str(identity.keyed(KEY, "name", word)), str(identity.keyed(KEY, "token name", word)),
    ]  # fmt: skip
    assert len(set(found)) == len(found)
    assert identity.lookup_key(KEY) not in (KEY, identity.lookup_key(OTHER))


@given(st.lists(st.fixed_dictionaries({"family": st.text(), "given": st.text()}), max_size=20))
def test_how_many_tokens_there_are_tells_little_and_is_bounded(names):
    found = lookups.tokens(KEY, said(*names), PERSON)
    assert len(found) % PADDED_TO == 0
    assert len(found) <= TOKENS_MAX
    assert found == sorted(set(found))


def test_one_word_has_as_many_tokens_as_two_words_and_a_birth_date():
    short = tokens({"family": "Ng"})
    long = tokens({"family": "Featherstone", "given": "Marianne"}, birth_date="1970-01-31")
    assert len(short) == len(long) == PADDED_TO


def test_what_fills_up_is_the_persons_own_and_the_same_each_time():
    one, same = tokens({"family": "Ng"}), tokens({"family": "Ng"})
    other = tokens({"family": "Ng"}, person=uuid.UUID(int=8))
    assert one == same
    assert one & other == set(lookups.named(KEY, "Ng"))


def test_a_person_of_whom_nothing_is_said_has_no_tokens():
    assert tokens() == set()
    assert lookups.tokens(KEY, {"names": None}, PERSON) == []


@pytest.mark.parametrize("asked", ["", " - ", "a b c d e f g h i"])
def test_a_name_without_words_or_with_too_many_is_not_sought(asked):
    with pytest.raises(Unsearchable) as refused:
        lookups.named(KEY, asked)
    assert asked.strip() not in str(refused.value) or not asked.strip(" -")
