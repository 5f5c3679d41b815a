# SPDX-License-Identifier: Apache-2.0
"""The window engine's weight loader: a WINDOW's weights and parameters, word by word.

A channel block's words lie one behind another in the order of use: its weight steps, then its
parameters. The loader walks the channel blocks of a group one after another through one scratchpad
port, and the groups without looking at what is done with them, so that the weights of the next
group, or of the next instruction, arrive while the present ones are used.

A word of weights whose kernel column does not exist becomes a vector of zero operands, or of
floats that make no product.
"""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.arith.operand import OPERAND_BITS, integer
from hw.engine.ports import SpmRead, SpmReader, instruction_layout, view_of
from hw.parts.nest import Enables, Nest
from hw.parts.skid import Skid
from hw.scratchpad.read_port import ReadPort
from hw.window.pair import pack
from isa.config import FLOAT_PARAM_WORDS, PARAM_WORDS, Config
from isa.instructions import ABSENT, SPM_ADDRESS_BITS, WINDOW_KERNEL, WINDOW_STEPS, DType, Opcode

WORD = SPM_ADDRESS_BITS


def word_layout(config: Config) -> data.StructLayout:
    """``raw``: the word; ``weights``: the same less the zero point, or packed floats; ``params``:
    it is one of the parameters; ``m_split``, ``column``: channel block of the group that it belongs
    to; ``step``, ``slot``: where it goes, for parameters ``slot`` alone; ``last``: the group is
    complete."""
    return data.StructLayout({
        "raw": 8 * config.word_bytes, "weights": data.ArrayLayout(signed(OPERAND_BITS),
                                                                  config.lanes),
        "params": 1, "m_split": 2, "column": 2, "step": range(WINDOW_STEPS),
        "slot": range(PARAM_WORDS), "last": 1})


class WindowWeights(wiring.Component):
    """Throughput: a word a cycle, and a cycle between instructions. Stall: while ``words`` is not
    ready the read port's buffer fills, then the skid buffer before it, then the walk stands still.

    Parameters
    ----------
    config : Config

    Members
    -------
    instr : In(stream of WINDOW)
    words : Out(stream of word_layout)
    port : Out(SpmRead)
    fault, fault_index : Out
        A word lies outside the scratchpad.
    halt : In(1)
    """

    STEP = ("slot", "g", "r", "p")
    LEVELS = (*STEP, "phase", "n", "nb")
    """Levels of the loop nest, inner to outer; the parameters are a step in a phase of their
    own."""

    META_DEPTH = 16

    instr: stream.Interface
    words: stream.Interface
    port: SpmReader
    fault: Signal
    fault_index: Signal
    halt: Signal

    def __init__(self, config: Config):
        self._config = config
        layout = instruction_layout(Opcode.WINDOW)
        super().__init__({
            "instr": In(stream.Signature(layout)),
            "words": Out(stream.Signature(word_layout(config))), "port": Out(SpmRead(config)),
            "fault": Out(1), "fault_index": Out(layout["index"].shape), "halt": In(1)})
        fields = word_layout(config)
        self._meta = data.StructLayout({
            **{f: fields[f].shape for f in ("params", "m_split", "column", "step", "slot",
                                            "last")},
            "none": 1, "w_signed": 1, "w_zp": signed(OPERAND_BITS),
            **({"dtype": 2} if config.floats else {})})

    def elaborate(self, platform: object) -> Elaboratable:
        config = self._config
        taps = config.window_taps
        m = Module()
        i = view_of(instruction_layout(Opcode.WINDOW))
        active, params = Signal(), Signal()
        floating = i.dtype != DType.INT8 if config.floats else Const(0)
        slots, columns = Signal(range(PARAM_WORDS + 1)), Signal(range(config.tiles + 1))
        ng, nr, stride = (Signal.like(c) for c in (i.ng, i.nr, i.stride))
        nest = Nest(m, list(zip(self.LEVELS, (slots, ng, nr, stride, Const(2, 2), columns, i.nnb),
                                strict=True)))
        m.d.comb += [
            params.eq(nest.index("phase")[0]),
            columns.eq(Mux(nest.last("nb"), i.n_last, config.tiles >> i.m_split)),
            slots.eq(Mux(params, Mux(floating, FLOAT_PARAM_WORDS, PARAM_WORDS), taps)),
            *(n.eq(Mux(params, 1, c)) for n, c in ((ng, i.ng), (nr, i.nr), (stride, i.stride)))]
        address, block = (Signal(signed(WORD), name=n, reset_less=True)
                          for n in ("address", "block"))
        step = Signal(range(WINDOW_STEPS))
        kernel = Signal(range((WINDOW_KERNEL + taps) * WINDOW_KERNEL))
        steps_done = nest.all_last(self.STEP)
        # after a step the phase is that of parameters
        long = steps_done ^ params
        nest.varies("slot", ~long & int(taps == 1))
        for level, count in (("g", i.ng), ("r", i.nr), ("p", i.stride)):
            nest.varies(level, long | (count == 1))
        nest.varies("n", Mux(nest.next_last("nb"), i.n_last, config.tiles >> i.m_split) == 1)
        nest.on("slot", enter=[kernel.eq(kernel + i.stride)], leave=[step.eq(step + 1)])
        nest.on("g", enter=[kernel.eq(kernel + i.stride)])
        nest.on("r", enter=[kernel.eq(nest.index("p"))])
        nest.on("p", enter=[kernel.eq(nest.index("p") + 1)])
        go = Enables(self.LEVELS)
        m.d.comb += self.instr.ready.eq(~self.halt & ~active)
        nest.step(*(g & active for g in go.levels))
        with m.If(go.walk & active):
            m.d.sync += address.eq(address + 1)
            with m.If(steps_done & params):
                m.d.sync += [step.eq(0), kernel.eq(0), block.eq(block + i.w_n),
                             address.eq(block + i.w_n)]
            with m.If(nest.done):
                m.d.sync += active.eq(0)
        with m.If(self.instr.valid & self.instr.ready):
            n = self.instr.payload
            m.d.sync += [i.eq(n), active.eq(1), step.eq(0), kernel.eq(0),
                         address.eq(n.w_base), block.eq(n.w_base),
                         *nest.start(slot=Const(taps == 1), g=n.ng == 1, r=n.nr == 1,
                                     p=n.stride == 1, phase=Const(0), nb=n.nnb == 1,
                                     n=Mux(n.nnb == 1, n.n_last, config.tiles >> n.m_split) == 1)]
        meta = view_of(self._meta)
        m.d.comb += [
            meta.params.eq(params), meta.m_split.eq(i.m_split), meta.column.eq(nest.index("n")),
            meta.step.eq(step),
            # scales lie behind as many biases as there are integers
            meta.slot.eq(nest.index("slot") + Mux(
                params & floating & (nest.index("slot") >= FLOAT_PARAM_WORDS // 2),
                (PARAM_WORDS - FLOAT_PARAM_WORDS) // 2, 0)),

            meta.last.eq(params & nest.all_last(["slot", "n"])), meta.none.eq(kernel >= i.ns),
            meta.w_signed.eq(i.w_signed), meta.w_zp.eq(i.w_zp),
            *([meta.dtype.eq(i.dtype)] if config.floats else [])]
        m.submodules.skid = skid = Skid(data.StructLayout({
            "meta": self._meta, "address": address.shape(), "index": i.index.shape()}),
            len(go.copies))
        m.d.comb += [
            skid.i.valid.eq(active), go.copies.eq(skid.go), skid.i.payload.meta.eq(meta),
            skid.i.payload.address.eq(address), skid.i.payload.index.eq(i.index)]
        self._issue(m, skid.o)
        return m

    def _issue(self, m: Module, requests: stream.Interface) -> None:
        """Check and read; join what goes with the word."""
        bad, may, done, issued, queued = (Signal(name=n) for n in (
            "bad", "may", "done", "issued", "queued"))
        request, address = requests.payload, requests.payload.address
        m.submodules.meta = queue = fifo.SyncFIFO(width=self._meta.size, depth=self.META_DEPTH)
        m.submodules.reader = reader = ReadPort(self._config)
        wiring.connect(m, reader.port, wiring.flipped(self.port))
        m.d.comb += [
            bad.eq(requests.valid & ((address < 0) | (address >= self._config.spm_words))),
            may.eq(requests.valid & ~bad & ~self.halt & ~self.fault),
            reader.addr.payload.eq(address), reader.addr.valid.eq(may & ~issued),
            queue.w_data.eq(request.meta), queue.w_en.eq(may & ~queued),
            done.eq(may & (issued | reader.addr.ready) & (queued | queue.w_rdy)),
            requests.ready.eq(done)]
        m.d.sync += [issued.eq(may & (issued | reader.addr.ready) & ~done),
                     queued.eq(may & (queued | queue.w_rdy) & ~done)]
        with m.If(bad & ~self.halt & ~self.fault):
            m.d.sync += [self.fault.eq(1), self.fault_index.eq(request.index)]

        head, out = data.View(self._meta, queue.r_data), self.words.payload
        take = self.words.valid & self.words.ready
        m.d.comb += [
            self.words.valid.eq(queue.r_rdy & reader.data.valid), queue.r_en.eq(take),
            reader.data.ready.eq(take), out.raw.eq(reader.data.payload),
            *(out[f].eq(head[f]) for f in ("params", "m_split", "column", "step", "slot",
                                           "last"))]
        words = [reader.data.payload[8 * k:8 * k + 8] for k in range(self._config.lanes)]
        integers = [Mux(head.none, 0, integer(byte, head.w_signed, head.w_zp)[:OPERAND_BITS])
                    for byte in words]
        if not self._config.floats:
            m.d.comb += [out.weights[k].eq(v) for k, v in enumerate(integers)]
            return
        m.d.comb += out.weights.as_value().eq(Cat(
            pack(integers[k:k + 2], Mux(head.none, ABSENT, Cat(*words[k:k + 2])), head.dtype)
            for k in range(0, self._config.lanes, 2)))
