// SPDX-License-Identifier: Apache-2.0
// The machine, or several of the same class, with one memory and their host in one shared library,
// for sim/harness.py.
//
// A cycle is: host and memory decide what they show, the designs settle with the clock low, all
// sides take what was handed over, the clock rises. Two evaluations a cycle, no Python among them.
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vmakalu.h"
#include "axi_lite.h"
#include "axi_port.h"
#include "dram.h"
#include "ends.h"
#include "flips.h"
#include "trace.h"
#include "tracer.h"

namespace {

// One machine, its host's port and its port of the memory; the first of several has the seeds that
// a single one has.
struct Core {
    Core(VerilatedContext& context, const char* name, Memory& memory, const Channels& channels,
         const DramParameters& p, uint64_t number)
        : dut(&context, name),
          control(dut, p.stall, p.seed + 1 + number * SEEDS),
          port(dut, memory, channels, p, p.seed + number * SEEDS) {
        dut.clk = 0;
        dut.rst = 1;
    }
    ~Core() { dut.final(); }

    static constexpr uint64_t SEEDS = 0x10001;
    Vmakalu dut;
    AxiLite<Vmakalu> control;
    AxiPort<Vmakalu> port;
    Trace trace;
    uint64_t ended = 0;  // cycle in which the last run first saw its interrupt; 0: it did not
    bool irq = false;
};

class Harness {
    VerilatedContext context_;

public:
    Harness(const DramParameters& p, uint32_t cores) : channels(p) {
        context_.traceEverOn(VM_TRACE);
        for (uint32_t i = 0; i < cores; ++i) {
            const std::string name = cores == 1 ? "TOP" : "core" + std::to_string(i);
            this->cores.push_back(
                std::make_unique<Core>(context_, name.c_str(), memory, channels, p, i));
            ports_.push_back(&this->cores[i]->port);
        }
    }
    ~Harness() {
#if VM_TRACE
        if (tracer_) tracer_->close();
#endif
    }

#if VM_TRACE
    void waves(const char* path) {
        tracer_ = std::make_unique<Tracer>();
        for (auto& core : cores) core->dut.trace(tracer_.get(), 99);
        tracer_->open(path);
        if (!tracer_->isOpen()) throw std::runtime_error("the file cannot be written");
    }
#endif

    int reset(unsigned cycles) {
        for (auto& core : cores) {
            core->dut.rst = 1;
            core->port.reset();
        }
        for (unsigned i = 0; i < cycles; ++i) tick();
        for (auto& core : cores) core->dut.rst = 0;
        return end(LIMIT);
    }

    int write(uint32_t core, uint32_t address, uint32_t data, uint32_t* resp) {
        cores[core]->control.write(address, data);
        const int status = access(*cores[core]);
        *resp = cores[core]->control.resp();
        return status;
    }

    int read(uint32_t core, uint32_t address, uint32_t* data, uint32_t* resp) {
        cores[core]->control.read(address);
        const int status = access(*cores[core]);
        *data = cores[core]->control.data();
        *resp = cores[core]->control.resp();
        return status;
    }

    // Cycles until the interrupts of the cores in `mask`: of all, or of any. `progress` is called
    // every `every` cycles; non-zero cancels.
    int run(uint64_t limit, uint64_t mask, bool any, uint64_t every, int (*progress)(uint64_t)) {
        uint64_t missing = mask;
        for (auto& core : cores) core->ended = 0;
        for (uint64_t n = 1; n <= limit; ++n) {
            tick();
            for (size_t i = 0; i < cores.size(); ++i) {
                if (!cores[i]->irq || cores[i]->ended) continue;
                cores[i]->ended = cycle;
                missing &= ~(1ull << i);
            }
            if (!missing || (any && missing != mask) || violated()) return end(IRQ);
            if (progress && n % every == 0 && progress(cycle)) return CANCELED;
        }
        return end(LIMIT);
    }

    // Invert the bits of `mask` in a byte of memory, once the first core has been busy for `after`
    // cycles.
    void flip(uint64_t address, uint8_t mask, int64_t after) {
        flips_.add(address, mask, after);
    }

    Trace& trace(uint32_t core) { return cores[core]->trace; }
    AxiPort<Vmakalu>& port(uint32_t number) { return cores[number]->port; }
    AxiLite<Vmakalu>& control(uint32_t core) { return cores[core]->control; }
    uint64_t beats(uint32_t channel) const { return channels.beats(channel); }
    uint64_t ended(uint32_t core) const { return cores[core]->ended; }

    // The core whose evaluation has not come back, in words where there are several.
    std::string culprit() const {
        return cores.size() == 1 ? "" : " (core " + std::to_string(under_way_) + ")";
    }

    static constexpr unsigned BEAT = AxiPort<Vmakalu>::BEAT;
    Memory memory;
    Channels channels;
    std::vector<std::unique_ptr<Core>> cores;
    uint64_t cycle = 0;
    std::string message;

private:
    static constexpr unsigned PATIENCE = 100000;  // cycles that an AXI4-Lite answer may take

    bool violated() const {
        for (auto& core : cores)
            if (!core->port.violation().empty()) return true;
        return false;
    }

    int end(Status status) {
        for (size_t i = 0; i < cores.size(); ++i) {
            if (cores[i]->port.violation().empty()) continue;
            message = cores[i]->port.violation();
            if (cores.size() > 1) message = "core " + std::to_string(i) + ": " + message;
            return VIOLATION;
        }
        return status;
    }

    int access(Core& core) {
        for (unsigned i = 0; i < PATIENCE; ++i) {
            tick();
            if (!core.control.busy()) return end(IRQ);
        }
        return end(NO_ANSWER);
    }

    void tick() {
        for (auto& core : cores) {
            core->control.drive();
            core->port.offer(cycle);
        }
        channels.serve(ports_);
        evaluate(0);
        for (auto& core : cores) {
            core->port.sample();
            core->trace.sample(core->dut, cycle);
            core->control.sample();
            core->irq = core->dut.irq;
        }
        flips_.apply(cores[0]->trace.since(cycle), memory);
        evaluate(1);
        for (auto& core : cores) core->control.finish();
        ++cycle;
    }

    void evaluate(uint8_t clk) {
        for (under_way_ = 0; under_way_ < cores.size(); ++under_way_) {
            cores[under_way_]->dut.clk = clk;
            cores[under_way_]->dut.eval();
        }
#if VM_TRACE
        context_.timeInc(1);
        if (tracer_) tracer_->dump(context_.time());
#endif
    }

    std::vector<AxiPort<Vmakalu>*> ports_;
#if VM_TRACE
    std::unique_ptr<Tracer> tracer_;
#endif
    size_t under_way_ = 0;
    Flips flips_;
};

}  // namespace

#include "harness_api.h"
