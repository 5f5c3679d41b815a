# SPDX-License-Identifier: Apache-2.0
"""Quotas of leases and tokens of tenants, also as a machine of states."""

import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from makalu.serve import tenants
from makalu.serve.ground import Ground
from makalu.serve.leases import Leases
from makalu.serve.requests import Failure, ServeError
from makalu.serve.tenants import EVERYBODY, Tenant, Tenants
from makalu.serve.terms import Terms

VISION = Tenant("vision", shares=4, leases=2, models=("resnet*",))
SPEECH = Tenant("speech", shares=1, leases=5)


@pytest.fixture
def leases():
    return Leases({"a": Ground(1), "b": Ground(4)})


@pytest.mark.parametrize("tenant, terms, failure, words", [
    (VISION, {"share": 5}, Failure.FORBIDDEN, "shares of 4 together, and this makes 5"),
    (VISION, {"device": "c"}, Failure.NOT_FOUND, "no device 'c': one of a, b"),
    (VISION, {"device": "b", "cores": 5}, Failure.CONFLICT, "has 4 of 4 cores free: take up to 4"),
])
def test_what_is_no_lease_is_refused(leases, tenant, terms, failure, words):
    with pytest.raises(ServeError, match=words) as e:
        leases.attach(tenant, Terms("a").changed(**terms))
    assert e.value.failure is failure and not leases.all()


def test_a_tenant_changes_its_own_leases_and_an_administrator_all(leases):
    lease = leases.attach(VISION, Terms("a"))
    with pytest.raises(ServeError, match="there is no lease 'vision-1'"):
        leases.get(SPEECH, lease.id)
    assert leases.get(EVERYBODY, lease.id) is lease
    assert leases.visible(SPEECH) == [] and leases.visible(EVERYBODY) == [lease]
    leases.detach(lease)
    with pytest.raises(ServeError, match="no lease"):
        leases.get(VISION, lease.id)


def test_a_change_that_is_refused_leaves_the_lease_as_it_was(leases):
    lease = leases.attach(VISION, Terms("a", share=2))
    for changes in ({"share": 5}, {"device": "c"}, {"device": "b", "cores": 9}, {"rate": "x"}):
        with pytest.raises(ServeError):
            leases.change(lease, **changes)
        assert lease.terms == Terms("a", share=2)
    assert leases.change(lease, share=4, device="b").terms == Terms("b", share=4)


def test_one_core_stays_for_those_that_share(leases):
    leases.attach(SPEECH, Terms("b"))
    with pytest.raises(ServeError, match="has 4 of 4 cores free, of which one stays for the leases "
                       "that share: take up to 3"):
        leases.attach(VISION, Terms("b", cores=4))
    assert leases.attach(VISION, Terms("b", cores=3)).ground.free() == 1


def test_no_core_is_left_to_share(leases):
    mine = leases.attach(VISION, Terms("b", cores=4))
    for cores in (0, 1):
        with pytest.raises(ServeError, match="has 0 of 4 cores free: detach a lease"):
            leases.attach(SPEECH, Terms("b", cores=cores))
    leases.change(mine, cores=3)
    assert leases.attach(SPEECH, Terms("b")).shown().uses == (0,)


def test_a_tenant_has_a_quota_of_cores(leases):
    small = Tenant("small", shares=9, leases=9, cores=2)
    mine = leases.attach(small, Terms("b", cores=1))
    leases.attach(small, Terms("b"))
    with pytest.raises(ServeError, match="may have 2 cores for itself, and this makes 3") as e:
        leases.attach(small, Terms("b", cores=2))
    assert e.value.failure is Failure.FORBIDDEN
    leases.change(mine, cores=2)
    with pytest.raises(ServeError, match="and this makes 3"):
        leases.change(mine, cores=3)
    assert mine.shown().uses == (2, 3)


def test_a_chip_has_a_job_queue_for_each_lease_with_cores_and_one_for_the_others():
    leases = Leases({"c": Ground(8, 2)})
    first = leases.attach(VISION, Terms("c", cores=3))
    shared = leases.attach(SPEECH, Terms("c", share=0.5))
    with pytest.raises(ServeError, match="5 of 8 cores free, but its 2 job queues are taken"):
        leases.attach(SPEECH, Terms("c", share=0.5, cores=1))
    assert (first.shown().uses, shared.shown().uses) == ((5, 6, 7), (0, 1, 2, 3, 4))
    leases.detach(first)
    assert shared.shown().uses == tuple(range(8))


def test_a_lease_keeps_its_cores_whoever_comes_and_goes():
    ground = Ground(8, 4)
    ground.give("a", 2)
    ground.give("b", 3)
    before = ground.of("b")
    assert (ground.of("a").cores, before.cores) == ((6, 7), (3, 4, 5))
    ground.give("a", 0)
    ground.give("c", 1)
    assert ground.of("b") == before and ground.of("c").cores == (7,)
    ground.give("b", 2)
    assert ground.of("b").cores == (4, 5) and ground.of("b").queue == before.queue
    ground.give("b", 4)
    assert set(ground.of("b").cores) > {4, 5} and ground.owner(7) == "c"
    assert ground.free() == 3 and ground.free("b") == 7


def test_cores_lie_side_by_side_where_that_can_be():
    ground = Ground(6, 4)
    for lease in "abc":
        ground.give(lease, 1)
    ground.give("b", 0)
    ground.give("d", 2)
    assert [ground.of(lease).cores for lease in "acd"] == [(5,), (3,), (1, 2)]
    ground.give("c", 2)
    assert ground.of("c").cores == (3, 4)
    ground.give("d", 3)
    assert ground.of("d").cores == (0, 1, 2)
    ground.give("c", 0)
    ground.give("d", 1)
    ground.give("e", 1)
    ground.give("a", 3)
    assert ground.of("e").cores == (4,) and len(ground.of("a").cores) == 3


class Changes(RuleBasedStateMachine):
    """Any order of attaching, resizing, moving and detaching keeps every quota."""

    def __init__(self):
        super().__init__()
        self.leases = Leases({"a": Ground(1), "b": Ground(4)})

    def _try(self, what, *arguments, **changes):
        try:
            what(*arguments, **changes)
        except ServeError as e:
            assert e.failure in (Failure.FORBIDDEN, Failure.CONFLICT)

    @rule(tenant=st.sampled_from([VISION, SPEECH]), device=st.sampled_from("ab"),
          share=st.sampled_from([0.25, 1, 3]), cores=st.integers(0, 4))
    def attach(self, tenant, device, share, cores):
        self._try(self.leases.attach, tenant, Terms(device, share=share, cores=cores))

    @rule(at=st.integers(0, 9), share=st.sampled_from([0.25, 1, 3]), cores=st.integers(0, 4),
          device=st.sampled_from("ab"))
    def change(self, at, share, cores, device):
        if found := self.leases.all()[at:at + 1]:
            self._try(self.leases.change, found[0], share=share, cores=cores, device=device)

    @rule(at=st.integers(0, 9))
    def detach(self, at):
        if found := self.leases.all()[at:at + 1]:
            self.leases.detach(found[0])

    @invariant()
    def quotas(self):
        for tenant in (VISION, SPEECH):
            mine = self.leases.of(tenant)
            assert len(mine) <= tenant.leases
            assert sum(x.terms.share for x in mine) <= tenant.shares
        for device, cores in (("a", 1), ("b", 4)):
            there = [x for x in self.leases.all() if x.terms.device == device]
            left = cores - sum(x.terms.cores for x in there)
            assert left >= any(not x.terms.cores for x in there)
            own = [x.shown().uses for x in there if x.terms.cores]
            assert [len(uses) for uses in own] == [x.terms.cores for x in there if x.terms.cores]
            rest = {x.shown().uses for x in there if not x.terms.cores}
            assert len(rest) <= 1 and () not in rest
            taken = [core for uses in (*own, *rest) for core in uses]
            assert len(taken) == len(set(taken))
        ids = [x.id for x in self.leases.all()]
        assert len(set(ids)) == len(ids)


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_tokens_of_a_file(tmp_path):
    token, digest = tenants.new_token()
    path = tmp_path / "tenants.json"
    path.write_text(json.dumps({"tenants": [
        {"name": "vision", "token_sha256": digest, "models": ["resnet*"], "shares": 4}]}))
    known = tenants.load(path)
    assert known.of(token).name == "vision" and token not in path.read_text()
    assert known.of(token).sees("resnet8") and not known.of(token).sees("digits")
    for wrong in ("", None, token[:-1], digest):
        with pytest.raises(ServeError) as e:
            known.of(wrong)
        assert e.value.failure is Failure.NO_TOKEN
    assert Tenants().of(None) is EVERYBODY


@pytest.mark.parametrize("text", [
    "", "[]", '{"tenants": []}', '{"tenants": [{"name": "a"}]}',
    '{"tenants": [{"name": "a", "token_sha256": "12"}]}',
    '{"tenants": [{"name": "a", "token_sha256": "%s", "age": 3}]}' % ("0" * 64),
    '{"tenants": [%s, %s]}' % ((f'{{"name": "a", "token_sha256": "{"0" * 64}"}}',) * 2)])
def test_what_is_no_file_of_tenants_is_refused(tmp_path, text):
    path = tmp_path / "tenants.json"
    path.write_text(text)
    with pytest.raises(ServeError, match=r"tenants.json"):
        tenants.load(path)
