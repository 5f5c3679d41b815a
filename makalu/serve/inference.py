# SPDX-License-Identifier: Apache-2.0
"""The way of a request: to a version and a lease, in parts through the lease's queue, and the
answers of the parts together."""

import asyncio
import math
import time
from collections.abc import Callable, Mapping

import numpy as np

from makalu.serve.accelerator import Accelerator
from makalu.serve.admission import Admission
from makalu.serve.leases import Lease, Leases
from makalu.serve.models import Models, Version
from makalu.serve.queues import Part, Piece
from makalu.serve.requests import Failure, Record, Reply, Request, ServeError
from makalu.serve.tenants import Tenant
from runtime.chip_host import side_by_side
from runtime.ports import InputError


class Inference:
    """Answers requests.

    Parameters
    ----------
    leases : Leases
    admission : Admission
    models : Models
    accelerators : mapping of str to Accelerator
        By name.
    answered : function of Record
        Called once for each request, however it ends.

    Attributes
    ----------
    open : int
        Requests that were taken and are not answered yet.
    draining : bool
        Whether nothing new is taken.
    """

    def __init__(self, leases: Leases, admission: Admission, models: Models,
                 accelerators: Mapping[str, Accelerator], answered: Callable[[Record], None]):
        self._leases, self._admission, self._models = leases, admission, models
        self._accelerators, self._answered = accelerators, answered
        self.open, self.draining = 0, False

    async def answer(self, tenant: Tenant, request: Request) -> Reply:
        """Answer a request; ServeError. Whoever waits may be cancelled."""
        record, begin = Record(request.id, tenant.name), time.monotonic()
        self.open += 1
        try:
            return await self._answer(tenant, request, record)
        except ServeError as e:
            record.status, record.reason, e.logged = e.failure.name, str(e), True
            raise
        except asyncio.CancelledError:
            record.status, record.reason = "CANCELLED", "nobody waits for the answer any more"
            raise
        except Exception as e:
            record.status, record.reason = Failure.BROKEN.name, repr(e)
            raise
        finally:
            self.open -= 1
            record.seconds = time.monotonic() - begin
            self._answered(record)

    async def _answer(self, tenant: Tenant, request: Request, record: Record) -> Reply:
        if self.draining:
            raise ServeError(Failure.DOWN, "the server is stopping: ask another one", 1.0)
        version = self._models.seen(tenant, request.model, request.version)
        record.model, record.version = version.name, version.number
        lease = self._lease(tenant, request.lease)
        record.lease = lease.id
        try:
            inputs, record.elements = _inputs(version, request)
            parts = self._queue(lease, version, inputs, record.elements)
            pieces = await self._answers(lease, parts, request.timeout)
            reply = _reply(version, request, parts, pieces)
        except BaseException:
            version.count(failed=1)
            lease.failed += 1
            raise
        version.count(answered=1, queued=reply.queued, ran=reply.ran)
        lease.answered += 1
        record.program, record.cycles = reply.program, reply.cycles
        record.queued, record.ran = reply.queued, reply.ran
        return reply

    def _lease(self, tenant: Tenant, id: str) -> Lease:
        if id:
            return self._leases.get(tenant, id)
        mine = self._leases.of(tenant)
        if not mine:
            raise ServeError(Failure.FORBIDDEN, f"tenant {tenant.name!r} has no lease: attach one "
                             "with makalu lease attach, or POST /makalu/leases")
        return mine[0]

    def _queue(self, lease: Lease, version: Version, inputs: dict[str, np.ndarray], elements: int
               ) -> list[Part]:
        """The request in parts that each fit into an execution, in the lease's queue."""
        accelerator = self._accelerators[lease.terms.device]
        compiled = version.compiled[accelerator.config]
        most = compiled.most if version.takes.alike else elements
        cores = accelerator.ground.of(lease.id).cores
        if not side_by_side(cores, compiled.cores):
            raise ServeError(Failure.CONFLICT, f"model {version.name!r} takes {compiled.cores} "
                             f"cores side by side, and lease {lease.id!r} has {_listed(cores)}: "
                             f"resize it to {compiled.cores} or more, or use another lease")
        self._admission.admit(lease, compiled, elements, accelerator.hardware.mhz)
        loop, now = asyncio.get_running_loop(), time.monotonic()
        parts = [Part(compiled, {k: v[at:at + most] if v.ndim else v for k, v in inputs.items()},
                      min(most, elements - at), now, loop.create_future())
                 for at in range(0, elements, most)]
        accelerator.put(lease, parts)
        return parts

    async def _answers(self, lease: Lease, parts: list[Part], timeout: float | None) -> list[Piece]:
        """The answers of all parts. Those that have not been dispatched when the time is over, or
        when nobody waits any more, never will be."""
        answers = [p.answer for p in parts]
        try:
            _, late = await asyncio.wait(answers, timeout=timeout,
                                         return_when=asyncio.FIRST_EXCEPTION)
            if late and timeout is not None and not all(p.dispatched for p in parts):
                raise ServeError(Failure.EXPIRED, f"the request was still waiting after {timeout:g}"
                                 " s, which is its deadline, and was dropped")
            if late:
                await asyncio.wait(answers, return_when=asyncio.FIRST_EXCEPTION)
            for a in answers:
                if a.done():
                    a.result()      # the error of a part, whichever has one
            return [a.result() for a in answers]
        finally:
            for part in parts:
                if not part.answer.cancel() and not part.answer.cancelled():
                    part.answer.exception()     # seen, if another part's was raised
                self._accelerators[lease.terms.device].queues.forget(lease, part)


def _listed(cores: tuple[int, ...]) -> str:
    return f"core{'s' if len(cores) > 1 else ''} {', '.join(map(str, cores))}"


def _inputs(version: Version, request: Request) -> tuple[dict[str, np.ndarray], int]:
    """The inputs as the model's programs take them, and how many elements they are."""
    try:
        inputs = version.takes.named(request.inputs)
        elements = version.takes.elements(inputs)
    except InputError as e:
        raise ServeError(Failure.BAD, str(e)) from None
    found = [p.name for p in version.outputs]
    for name in request.outputs:
        if name not in found:
            raise ServeError(Failure.BAD, f"model {version.name!r} has no output {name!r}; it "
                             f"gives {', '.join(found)}")
    return inputs, elements


def _reply(version: Version, request: Request, parts: list[Part], pieces: list[Piece]) -> Reply:
    """The pieces of an answer put together; all are of programs of this version."""
    known = {p.hash for c in version.compiled.values() for p in c.programs.values()}
    strange = {p.program for p in pieces} - known
    if strange:
        raise ServeError(Failure.BROKEN, f"program {', '.join(strange)} answered, which is not one "
                         f"of model {version.name!r} version {version.number}")
    names = request.outputs or [p.name for p in version.outputs]
    outputs = {name: pieces[0].outputs[name] if len(pieces) == 1 else
               np.concatenate([p.outputs[name] for p in pieces]) for name in names}
    return Reply(version.name, version.number, pieces[-1].program, outputs, request.id,
                 sum(p.cycles for p in pieces),
                 queued=min(p.dispatched for p in parts) - parts[0].arrived,
                 ran=math.fsum(p.seconds for p in pieces))
