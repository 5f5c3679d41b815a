# SPDX-License-Identifier: Apache-2.0
"""Text token by token: a decoder whose key-value cache stays on the device.

A program of :func:`compiler.compile.compile_decoder` has an entry for one token and one for several
of a prompt. Each execution reads the whole cache: ``context`` slots for the tokens so far, of which
the attention mask counts those that are filled, and behind them some for the execution's own
tokens, its last ones. These it also keeps, in the slots from ``length`` on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from isa.program import Program, ProgramError
from runtime.device import Device
from runtime.ports import InputError, Port
from runtime.session import Session

SLOT, END = "slot", "end"
"""Arguments of an execution: the slot where its tokens are kept, and that behind the last."""


class Entry:
    """One entry: which of its inputs is what, and how many tokens it takes.

    Raises
    ------
    ProgramError
        If it is no entry of a decoder.
    """

    def __init__(self, program: Program, device: Device):
        self.session = Session(program, device, loaded=True)
        ports = [p for p in self.session.inputs
                 if p.dtype.kind in "iu" and len(p.shape) == 2 and p.shape[0] == 1 and p.shape[1]]
        masks = [p for p in ports if "mask" in p.name]
        positions = [p for p in ports if "position" in p.name]
        ids = [p for p in ports if p not in masks + positions]
        results = [p for p in self.session.outputs if len(p.shape) == 3 and p.shape[2]]
        if not (program.patches and results and len(masks) == len(ids) == 1
                and len(ports) == len(self.session.inputs) and masks[0].shape[1] > ids[0].shape[1]
                and [p.shape for p in positions] in ([], [ids[0].shape])):
            raise ProgramError(f"program {program.name!r} is not a decoder with a cache, whose "
                               "inputs are tokens, a mask and perhaps positions; compile the model "
                               "again, with --context")
        self.mask, self.ids, self.position = masks[0], ids[0], next(iter(positions), None)
        self.tokens, self.slots = self.ids.shape[1], self.mask.shape[1]
        self.logits, self.vocabulary = results[0].name, results[0].shape[2]

    def __call__(self, ids: Sequence[int], length: int) -> np.ndarray:
        """Logits [len(ids), vocabulary] of up to :attr:`tokens` tokens behind ``length`` others."""
        count, own = len(ids), self.slots - self.tokens
        seen = np.arange(self.slots)
        values = {
            self.ids.name: _row(self.ids, [*ids, *[0] * (self.tokens - count)]),
            self.mask.name: _row(self.mask, (seen < length) | (own <= seen) & (seen < own + count))}
        if self.position is not None:   # of what fills up the entry, some position that there is
            at = np.minimum(np.arange(self.tokens), count - 1) + length
            values[self.position.name] = _row(self.position, at)
        results = self.session.step(values, {SLOT: length, END: length + count})
        return results[self.logits][0, :count]


def _row(port: Port, values: object) -> np.ndarray:
    return np.asarray(values).astype(port.dtype).reshape(port.shape)


@dataclass(frozen=True)
class Run:
    """One execution: its entry, how many tokens it took, and the machine's counters."""

    entry: Program
    tokens: int
    counters: dict[str, int]


class Generator:
    """A decoder on a device, and the tokens that it has seen.

    Parameters
    ----------
    program : Program
        Of :func:`compiler.compile.compile_decoder`.
    device : Device
        Where it runs, loaded anew.

    Attributes
    ----------
    context, vocabulary : int
        Tokens that the cache holds, and those that there are.
    length : int
        Tokens in the cache.
    logits : float32 array [vocabulary]
        What the last :meth:`prefill` or :meth:`decode` gave.
    runs : list[Run]
        Its executions.

    Raises
    ------
    isa.program.ProgramError
        If the program is no decoder with a cache, or for another machine.
    """

    def __init__(self, program: Program, device: Device):
        self.program, self.device = program, device
        self.reset()
        entries = [Entry(p, device) for p in (program, *program.entries)]
        most = max(entry.tokens for entry in entries)
        self._entries: dict[int, list[Entry]] = {}
        for entry in sorted(entries, key=lambda entry: (entry.slots, entry.tokens)):
            self._entries.setdefault(entry.slots - most, []).append(entry)
        if any([e.tokens for e in of] != [1, most] for of in self._entries.values()):
            raise ProgramError(f"program {program.name!r} has not the entries of a decoder; "
                               "compile the model again")
        self.context, self.vocabulary = max(self._entries), entries[0].vocabulary

    def __repr__(self) -> str:
        return (f"<Generator of {self.program.name} on {self.device.name} "
                f"{self.program.config.name}: {self.length} of {self.context} tokens>")

    def reset(self) -> None:
        """Load the program, and forget all tokens."""
        self.device.load(self.program)
        self.length = 0
        self.logits = np.zeros(0, np.float32)
        self.runs: list[Run] = []
        self._lost = False

    def prefill(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Take tokens behind those that are there.

        Parameters
        ----------
        ids : sequence of int, or array [tokens] of integers
            One or more.

        Returns
        -------
        float32 array [vocabulary]
            The logits of the token that comes next.

        Raises
        ------
        InputError
            If there is no token, one is none, or there is no room for them; nothing is changed.
        ProgramError
            If what is in the cache was lost: by a fault, or as another program was loaded.
        runtime.device.DeviceFault
            If the machine stops with an error.
        """
        tokens = self._checked(ids)
        self.runs = []
        while tokens:
            entry = self._entry(len(tokens))
            now, tokens = tokens[:entry.tokens], tokens[entry.tokens:]
            self._lost = True
            self.logits = entry(now, self.length)[-1]
            self._lost = False
            self.length += len(now)
            self.runs.append(Run(entry.session.program, len(now), entry.session.counters[0]))
        return self.logits

    def decode(self, token: int) -> np.ndarray:
        """Take one token: :meth:`prefill` of it alone."""
        return self.prefill([token])

    def tokens(self, prompt: Sequence[int], count: int, temperature: float = 0.0,
               seed: int = 0) -> Iterator[int]:
        """Continue a prompt.

        Parameters
        ----------
        prompt : sequence of int
            One token or more.
        count : int
            Tokens to make.
        temperature : float
            0: always the likeliest; otherwise one by chance, with the probabilities of the logits
            divided by it.
        seed : int
            Of the chances: the same gives the same tokens.

        Yields
        ------
        int
            Each token as soon as it is known.

        Raises
        ------
        InputError
            As :meth:`prefill`; and at once if there is no room for all of them.
        """
        self._room(len(prompt) + max(count, 1) - 1)
        chance = np.random.default_rng(seed)
        self.prefill(prompt)
        for left in reversed(range(count)):
            token = choose(self.logits, temperature, chance)
            yield token
            if left:
                self.decode(token)

    def _entry(self, count: int) -> Entry:
        """The smallest entry for the next of so many tokens: it reads no more slots than it has
        to."""
        one, several = next(entries for context, entries in self._entries.items() if context >= min(
            self.length + min(count, entries[-1].tokens), self.context))
        return one if count == 1 else several

    def _room(self, count: int) -> None:
        if self.length + count > self.context:
            raise InputError(f"program {self.program.name!r} has room for {self.context} tokens, "
                             f"of which {self.length} are taken: {count} more do not fit; compile "
                             "it for a longer context, or reset it")

    def _checked(self, ids: Sequence[int] | np.ndarray) -> list[int]:
        found = np.asarray(ids)
        if self._lost:
            raise ProgramError(f"program {self.program.name!r} has lost its cache in an execution "
                               "that failed: reset it")
        if not found.size:
            raise InputError(f"program {self.program.name!r} has no token to begin with: give one "
                             "or more")
        if found.ndim != 1 or found.dtype.kind not in "iu":
            raise InputError(f"program {self.program.name!r} takes a row of integers as tokens, "
                             f"got {found.dtype} {list(found.shape)}")
        wrong = found[(found < 0) | (found >= self.vocabulary)]
        if wrong.size:
            raise InputError(f"program {self.program.name!r} knows the tokens 0 to "
                             f"{self.vocabulary - 1}; {wrong[0]} is none of them")
        self._room(found.size)
        return [int(v) for v in found]


def choose(logits: np.ndarray, temperature: float, chance: np.random.Generator) -> int:
    """The next token, as :meth:`Generator.tokens` says."""
    if temperature <= 0:
        return int(logits.argmax())
    scaled = (logits - logits.max()).astype(np.float64) / temperature
    weights = np.exp(scaled)
    return int(chance.choice(len(weights), p=weights / weights.sum()))
