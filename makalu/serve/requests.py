# SPDX-License-Identifier: Apache-2.0
"""What goes through the service: requests, replies, and how a request fails."""

import enum
from dataclasses import dataclass, field

import numpy as np

from isa.errors import UserError


class Failure(enum.Enum):
    """Why a request is not answered: the HTTP status, and the name of gRPC's."""

    BAD = 400, "INVALID_ARGUMENT"
    NO_TOKEN = 401, "UNAUTHENTICATED"
    FORBIDDEN = 403, "PERMISSION_DENIED"
    NOT_FOUND = 404, "NOT_FOUND"
    SLOW = 408, "CANCELLED"
    CONFLICT = 409, "ALREADY_EXISTS"
    TOO_LARGE = 413, "RESOURCE_EXHAUSTED"
    TOO_MANY = 429, "RESOURCE_EXHAUSTED"
    BROKEN = 500, "INTERNAL"
    NOT_DONE = 501, "UNIMPLEMENTED"
    DOWN = 503, "UNAVAILABLE"
    EXPIRED = 504, "DEADLINE_EXCEEDED"
    NO_MEMORY = 507, "RESOURCE_EXHAUSTED"

    @property
    def http(self) -> int:
        """The HTTP status."""
        return self.value[0]

    @property
    def grpc(self) -> str:
        """The name in ``grpc.StatusCode``."""
        return self.value[1]


class ServeError(UserError, RuntimeError):
    """A request that is not answered.

    Parameters
    ----------
    failure : Failure
    text : str
        One sentence: what is wrong, and the cure.
    retry_after : float, optional
        Seconds after which it is worth trying again.

    Attributes
    ----------
    logged : bool
        Whether there is a :class:`Record` of it.
    """

    def __init__(self, failure: Failure, text: str, retry_after: float | None = None):
        super().__init__(text)
        self.failure, self.retry_after, self.logged = failure, retry_after, False


@dataclass(frozen=True)
class Request:
    """An inference.

    Parameters
    ----------
    model : str
    inputs : dict of arrays
        By name; the first axis counts elements.
    version : str
        "" is the newest that is served.
    outputs : tuple of str
        Which are wanted; () is all of them, in the model's order.
    id : str
        The request's name in logs and in the reply.
    timeout : float, optional
        Seconds after which nobody wants the answer: what has not been dispatched is dropped then.
    lease : str
        Which of the tenant's leases pays; "" is its first one.
    """

    model: str
    inputs: dict[str, np.ndarray]
    version: str = ""
    outputs: tuple[str, ...] = ()
    id: str = ""
    timeout: float | None = None
    lease: str = ""


@dataclass(frozen=True)
class Reply:
    """An answer, and what gave it.

    Parameters
    ----------
    model, version : str
    program : str
        Hash of the program (hexadecimal) that made these outputs, as the device process says it.
    outputs : dict of arrays
    id : str
        The request's.
    cycles : int
        Of its executions together: the machine's own, or the predicted ones of a device that counts
        none. A request that shared an execution pays for its elements.
    queued, ran : float
        Seconds until its first dispatch, and in the device process.
    """

    model: str
    version: str
    program: str
    outputs: dict[str, np.ndarray]
    id: str = ""
    cycles: int = 0
    queued: float = 0.0
    ran: float = 0.0


@dataclass(frozen=True)
class Totals:
    """What was served of one model's version, since it was loaded.

    Parameters
    ----------
    answered, failed : int
        Requests.
    elements, executions, cycles : int
    queued, ran : float
        Seconds of the answered ones together.
    """

    answered: int = 0
    failed: int = 0
    elements: int = 0
    executions: int = 0
    cycles: int = 0
    queued: float = 0.0
    ran: float = 0.0
    last: float = field(default=0.0)
    """Time of the last answer, seconds since 1970."""


@dataclass
class Record:
    """What became of a request, for the log and the metrics; what is not known stays empty.

    Parameters
    ----------
    id : str
        The request's name.
    tenant, model, version, lease, program : str
    elements, cycles : int
    queued, ran, seconds : float
        Until its first dispatch, in the device process, and all together.
    status : str
        ``OK``, ``CANCELLED``, or the name of a :class:`Failure`.
    reason : str
        The sentence of a failure.
    """

    id: str
    tenant: str
    model: str = ""
    version: str = ""
    lease: str = ""
    program: str = ""
    elements: int = 0
    cycles: int = 0
    queued: float = 0.0
    ran: float = 0.0
    seconds: float = 0.0
    status: str = "OK"
    reason: str = ""
