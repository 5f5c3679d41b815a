// SPDX-License-Identifier: Apache-2.0
// The machine, its memory and its host in one shared library, for sim/harness.py.
//
// A cycle is: the memory decides what it shows, the design settles with the clock low, both sides
// take what was handed over, the clock rises. Two evaluations a cycle, no Python among them.
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vmakalu.h"
#include "dram.h"
#include "trace.h"
#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using Tracer = VerilatedFstC;
#elif VM_TRACE
#include "verilated_vcd_c.h"
using Tracer = VerilatedVcdC;
#endif

// Verilator's ways to end the process become exceptions, which the interface below reports.
void vl_finish(const char* file, int line, const char*) {
    throw std::runtime_error(std::string("$finish at ") + file + ":" + std::to_string(line));
}
void vl_stop(const char* file, int line, const char*) {
    throw std::runtime_error(std::string("assertion at ") + file + ":" + std::to_string(line));
}
void vl_fatal(const char* file, int line, const char*, const char* text) {
    throw std::runtime_error(std::string(text) + " at " + file + ":" + std::to_string(line));
}

namespace {

enum Status { IRQ = 0, LIMIT = 1, VIOLATION = 2, STOPPED = 3, CANCELED = 4, NO_ANSWER = 5 };

class Harness {
public:
    explicit Harness(const DramParameters& p) : dram(p), stall_(p.stall), random_(p.seed + 1) {
        context_.traceEverOn(VM_TRACE);
        dut_ = std::make_unique<Vmakalu>(&context_);
        dut_->clk = 0;
        dut_->rst = 1;
        dut_->s_axil_bready = 1;
        dut_->s_axil_rready = 1;
    }
    ~Harness() {
#if VM_TRACE
        if (tracer_) tracer_->close();
#endif
        dut_->final();
    }

#if VM_TRACE
    void waves(const char* path) {
        tracer_ = std::make_unique<Tracer>();
        dut_->trace(tracer_.get(), 99);
        tracer_->open(path);
        if (!tracer_->isOpen()) throw std::runtime_error("the file cannot be written");
    }
#endif

    int reset(unsigned cycles) {
        dut_->rst = 1;
        dram.reset();
        for (unsigned i = 0; i < cycles; ++i) tick();
        dut_->rst = 0;
        return end(LIMIT);
    }

    // One AXI4-Lite access; address and data of a write come in random order under stalls.
    int write(uint32_t address, uint32_t data, uint32_t* resp) {
        bool address_open = true, data_open = true;
        dut_->s_axil_awaddr = address;
        dut_->s_axil_wdata = data;
        dut_->s_axil_wstrb = 0xF;
        for (unsigned i = 0; i < PATIENCE; ++i) {
            if (address_open && !random_.chance(stall_)) dut_->s_axil_awvalid = 1;
            if (data_open && !random_.chance(stall_)) dut_->s_axil_wvalid = 1;
            settle();
            const bool took_address = dut_->s_axil_awvalid && dut_->s_axil_awready;
            const bool took_data = dut_->s_axil_wvalid && dut_->s_axil_wready;
            const bool answered = dut_->s_axil_bvalid;
            *resp = dut_->s_axil_bresp;
            edge();
            if (took_address) dut_->s_axil_awvalid = address_open = false;
            if (took_data) dut_->s_axil_wvalid = data_open = false;
            if (answered) return end(IRQ);
        }
        return end(NO_ANSWER);
    }

    int read(uint32_t address, uint32_t* data, uint32_t* resp) {
        bool open = true;
        dut_->s_axil_araddr = address;
        for (unsigned i = 0; i < PATIENCE; ++i) {
            if (open && !random_.chance(stall_)) dut_->s_axil_arvalid = 1;
            settle();
            const bool took = dut_->s_axil_arvalid && dut_->s_axil_arready;
            const bool answered = dut_->s_axil_rvalid;
            *data = dut_->s_axil_rdata;
            *resp = dut_->s_axil_rresp;
            edge();
            if (took) dut_->s_axil_arvalid = open = false;
            if (answered) return end(IRQ);
        }
        return end(NO_ANSWER);
    }

    // Cycles until the interrupt. `progress` is called every `every` cycles; non-zero cancels.
    int run(uint64_t limit, uint64_t every, int (*progress)(uint64_t)) {
        for (uint64_t n = 1; n <= limit; ++n) {
            settle();
            const bool irq = dut_->irq;
            edge();
            if (irq || !dram.violation().empty()) return end(IRQ);
            if (progress && n % every == 0 && progress(cycle)) return CANCELED;
        }
        return end(LIMIT);
    }

    // Invert the bits of `mask` in a byte of memory, once the core has been busy for `after` cycles.
    void flip(uint64_t address, uint8_t mask, int64_t after) {
        flips_.push_back({address, mask, after});
    }

    Dram<Vmakalu> dram;
    Trace trace;
    uint64_t cycle = 0;
    std::string message;

private:
    static constexpr unsigned PATIENCE = 100000;  // cycles that an AXI4-Lite answer may take

    int end(Status status) {
        if (dram.violation().empty()) return status;
        message = dram.violation();
        return VIOLATION;
    }

    void tick() {
        settle();
        edge();
    }

    void settle() {
        dram.drive(*dut_, cycle);
        dut_->clk = 0;
        dut_->eval();
        dump();
        dram.sample(*dut_, cycle);
        trace.sample(*dut_, cycle);
        if (!flips_.empty()) flip();
    }

    void flip() {
        const int64_t now = trace.since(cycle);
        for (auto f = flips_.begin(); f != flips_.end();) {
            if (now < f->after) {
                ++f;
                continue;
            }
            if (uint8_t* byte = dram.at(f->address, 1)) *byte ^= f->mask;
            f = flips_.erase(f);
        }
    }

    void edge() {
        dut_->clk = 1;
        dut_->eval();
        dump();
        ++cycle;
    }

    void dump() {
#if VM_TRACE
        context_.timeInc(1);
        if (tracer_) tracer_->dump(context_.time());
#endif
    }

    VerilatedContext context_;
    std::unique_ptr<Vmakalu> dut_;
#if VM_TRACE
    std::unique_ptr<Tracer> tracer_;
#endif
    uint32_t stall_;
    Random random_;
    struct Flip { uint64_t address; uint8_t mask; int64_t after; };
    std::vector<Flip> flips_;
};

template <class F>
int guarded(Harness* h, F f) {
    try {
        return f();
    } catch (const std::exception& e) {
        h->message = "the simulated design stopped in cycle " + std::to_string(h->cycle) + ": " +
                     e.what();
        return STOPPED;
    }
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API Harness* harness_create(const DramParameters* p) { return new Harness(*p); }
API void harness_destroy(Harness* h) { delete h; }
API unsigned harness_bus_bytes() { return Dram<Vmakalu>::BEAT; }
API uint64_t harness_cycle(Harness* h) { return h->cycle; }
API const char* harness_message(Harness* h) { return h->message.c_str(); }
API void harness_statistics(Harness* h, DramStatistics* to) { *to = h->dram.statistics(); }
API int harness_segment(Harness* h, uint64_t base, uint64_t n) {
    try {
        h->dram.segment(base, n);
    } catch (const std::bad_alloc&) {
        return 0;
    }
    return 1;
}
API uint8_t* harness_memory(Harness* h, uint64_t at, uint64_t n) { return h->dram.at(at, n); }
API void harness_inject(Harness* h, uint64_t low, uint64_t high, uint32_t resp) {
    h->dram.inject(low, high, resp);
}
API void harness_misbehave(Harness* h, uint32_t what, uint32_t id, uint64_t burst) {
    h->dram.misbehave(what, id, burst);
}
API const TraceRecord* harness_trace(Harness* h, uint64_t* n) {
    *n = h->trace.records().size();
    return h->trace.records().data();
}
API void harness_flip(Harness* h, uint64_t address, uint8_t mask, int64_t after) {
    h->flip(address, mask, after);
}
API int harness_waves(Harness* h, const char* path) {
#if VM_TRACE
    return guarded(h, [&] { h->waves(path); return 0; });
#else
    h->message = std::string("this build has no waves: ") + path;
    return STOPPED;
#endif
}
API int harness_reset(Harness* h, uint32_t cycles) {
    return guarded(h, [&] { return h->reset(cycles); });
}
API int harness_write(Harness* h, uint32_t address, uint32_t data, uint32_t* resp) {
    return guarded(h, [&] { return h->write(address, data, resp); });
}
API int harness_read(Harness* h, uint32_t address, uint32_t* data, uint32_t* resp) {
    return guarded(h, [&] { return h->read(address, data, resp); });
}
API int harness_run(Harness* h, uint64_t limit, uint64_t every, int (*progress)(uint64_t)) {
    return guarded(h, [&] { return h->run(limit, every, progress); });
}
