# SPDX-License-Identifier: Apache-2.0
"""What a lease may be of: types and ranges, each refused with a sentence."""

import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from makalu.serve.requests import Failure, ServeError
from makalu.serve.terms import Terms

NAMES = [f.name for f in fields(Terms)]


@pytest.mark.parametrize("terms, words", [
    ({"share": 0}, "cannot have share 0: it has to be a positive number"),
    ({"share": float("inf")}, "share inf"), ({"share": float("nan")}, "share nan"),
    ({"share": "2"}, "share '2'"), ({"share": True}, "share True"), ({"share": None}, "share null"),
    ({"share": 10**400}, "share 1000"),
    ({"cores": 1.0}, "cores 1.0"), ({"cores": -1}, "cores -1"), ({"cores": False}, "cores False"),
    ({"priority": None}, "cannot have priority null: it has to be a whole number from -1,000,000"),
    ({"priority": 1e3}, "priority 1000.0"), ({"priority": 10**7}, "priority 10000000"),
    ({"rate": -1}, "rate -1: it has to be a positive number, or null for no limit"),
    ({"rate": []}, r"rate \[\]"), ({"memory_bytes": -1}, "memory_bytes -1"),
    ({"memory_bytes": 0.5}, "memory_bytes 0.5"), ({"queue": 0}, "queue 0"),
    ({"queue": None}, "queue null"), ({"device": ""}, "device ''"), ({"device": 7}, "device 7"),
    ({"device": None}, "device null: it has to be the name of a device"),
    ({"weight": 1}, "a lease has no weight; it has device, share"),
])
def test_what_is_no_lease_is_refused(terms, words):
    with pytest.raises(ServeError, match=words) as e:
        Terms("a").changed(**terms)
    assert e.value.failure is Failure.BAD and len(str(e.value)) < 160


@given(st.dictionaries(st.sampled_from(NAMES), st.none() | st.booleans() | st.integers()
                       | st.floats() | st.sampled_from(["", "b", "2"]) | st.just([])))
def test_whatever_is_given_is_terms_or_a_sentence(given):
    """And what is accepted can be added up and compared."""
    try:
        terms = Terms("a").changed(**given)
    except ServeError as e:
        assert e.failure is Failure.BAD
        return
    assert math.isfinite(terms.share + 1.0) and terms.share > 0 and terms.queue > 0
    assert isinstance(terms.device, str) and not isinstance(terms.priority, bool)
