// SPDX-License-Identifier: Apache-2.0
// A chip in one shared library, for sim/harness.py: cores, the uncore (chip control and hub), a port
// of the memory for each channel, and the host at the chip's control port.
//
// Each core is an object of the one class that a machine alone is simulated with. Cores and uncore
// meet in registers: what a core shows does not depend on what it is shown in the same cycle, so a
// cycle is: host and memory decide what they show, the uncore sees the cores and settles, the cores
// see the uncore and settle, all sides take what was handed over, the clock rises.
//
// The build says which ports there are: FOR_CORES(M) is M(0) M(1) …, FOR_CHANNELS(M) likewise;
// EXCHANGE, if cores send to one another.
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include "Vmakalu.h"
#include "Vuncore.h"
#include "axi_lite.h"
#include "axi_port.h"
#include "dram.h"
#include "ends.h"
#include "flips.h"
#include "trace.h"
#include "tracer.h"

namespace {

// What a core shows to the uncore, and the other way round.
#define BUS_TO_UNCORE(X, k)                                                                       \
    X(k, axi_awvalid) X(k, axi_awid) X(k, axi_awaddr) X(k, axi_awlen) X(k, axi_wvalid)            \
    X(k, axi_wdata) X(k, axi_wstrb) X(k, axi_wlast) X(k, axi_bready) X(k, axi_arvalid)            \
    X(k, axi_arid) X(k, axi_araddr) X(k, axi_arlen) X(k, axi_aruser) X(k, axi_rready)
#define BUS_TO_CORE(X, k)                                                                         \
    X(k, axi_awready) X(k, axi_wready) X(k, axi_bvalid) X(k, axi_bid) X(k, axi_bresp)             \
    X(k, axi_arready) X(k, axi_rvalid) X(k, axi_rid) X(k, axi_rdata) X(k, axi_rresp)              \
    X(k, axi_rlast)
#define CONTROL_TO_UNCORE(X, k)                                                                   \
    X(k, axil_awready) X(k, axil_wready) X(k, axil_bvalid) X(k, axil_bresp) X(k, axil_arready)    \
    X(k, axil_rvalid) X(k, axil_rdata) X(k, axil_rresp)
#define CONTROL_TO_CORE(X, k)                                                                     \
    X(k, axil_awvalid) X(k, axil_awaddr) X(k, axil_wvalid) X(k, axil_wdata) X(k, axil_wstrb)      \
    X(k, axil_bready) X(k, axil_arvalid) X(k, axil_araddr) X(k, axil_rready)

#ifdef EXCHANGE
#define EXCHANGE_TO_UNCORE(X, k)                                                                  \
    X(k, x_postvalid) X(k, x_postat) X(k, x_postlen) X(k, x_postto) X(k, x_postempty)             \
    X(k, x_postsignal) X(k, x_postcounter) X(k, x_wvalid) X(k, x_wdata) X(k, x_wstrb)             \
    X(k, x_wlast) X(k, x_bready) X(k, x_landready) X(k, x_landed)
#define EXCHANGE_TO_CORE(X, k)                                                                    \
    X(k, x_postready) X(k, x_wready) X(k, x_bvalid) X(k, x_bid) X(k, x_bresp) X(k, x_landvalid)   \
    X(k, x_landmask) X(k, x_landspm) X(k, x_landlast) X(k, x_landdata) X(k, x_landsignal)         \
    X(k, x_landcounter)
#else
#define EXCHANGE_TO_UNCORE(X, k)
#define EXCHANGE_TO_CORE(X, k)
#endif

struct Core {
    explicit Core(VerilatedContext& context, const std::string& name) : dut(&context, name.c_str()) {
        dut.clk = 0;
        dut.rst = 1;
    }
    ~Core() { dut.final(); }
    Vmakalu dut;
    Trace trace;
};

// A channel's AXI port of the uncore with the names of a machine's, for AxiPort.
#define MEMBER(c, name) decltype(Vuncore::m##c##_axi_##name) m_axi_##name;
#define BIND(c, name) , m_axi_##name(u.m##c##_axi_##name)
#define AXI(M, c)                                                                                 \
    M(c, awvalid) M(c, awready) M(c, awid) M(c, awaddr) M(c, awlen) M(c, awsize) M(c, awburst)    \
    M(c, wvalid) M(c, wready) M(c, wdata) M(c, wstrb) M(c, wlast)                                 \
    M(c, bvalid) M(c, bready) M(c, bid) M(c, bresp)                                               \
    M(c, arvalid) M(c, arready) M(c, arid) M(c, araddr) M(c, arlen) M(c, arsize) M(c, arburst)    \
    M(c, rvalid) M(c, rready) M(c, rid) M(c, rdata) M(c, rresp) M(c, rlast)
#define VIEW(c)                                                                                   \
    struct View##c {                                                                              \
        explicit View##c(Vuncore& u) : rst(u.rst) AXI(BIND, c) {}                                 \
        decltype(Vuncore::rst) rst;                                                               \
        AXI(MEMBER, c)                                                                            \
    };
FOR_CHANNELS(VIEW)

// A channel: its bus and the DRAM behind it.
struct Lane {
    virtual ~Lane() = default;
    virtual void reset() = 0;
    virtual void show(uint64_t cycle) = 0;
    virtual void take() = 0;
    virtual void misbehave(uint32_t what, uint32_t id, uint64_t burst) = 0;
    virtual const DramStatistics& statistics() const = 0;
    virtual const std::string& violation() const = 0;
    virtual uint64_t beats() const = 0;
};

template <class View>
struct LaneOf : Lane {
    LaneOf(Vuncore& uncore, Memory& memory, const DramParameters& p, uint64_t seed)
        : view(uncore), dram(p), port(view, memory, dram, p, seed), ports{&port} {}
    void reset() override { port.reset(); }
    void show(uint64_t cycle) override {
        port.offer(cycle);
        dram.serve(ports);
    }
    void take() override { port.sample(); }
    void misbehave(uint32_t what, uint32_t id, uint64_t burst) override {
        port.misbehave(what, id, burst);
    }
    const DramStatistics& statistics() const override { return port.statistics(); }
    const std::string& violation() const override { return port.violation(); }
    uint64_t beats() const override { return dram.beats(0); }

    View view;
    Channels dram;
    AxiPort<View> port;
    std::vector<AxiPort<View>*> ports;
};

class Harness {
    VerilatedContext context_;

public:
    static constexpr unsigned BEAT = sizeof(Vuncore::m0_axi_wdata);

    Harness(DramParameters p, uint32_t) : uncore_(&context_, "uncore"),
                                          control_(uncore_, p.stall, p.seed + 1) {
        context_.traceEverOn(VM_TRACE);
        p.channels = 1;     // of each lane
        uncore_.clk = 0;
        uncore_.rst = 1;
#define CORE(k) cores_.push_back(std::make_unique<Core>(context_, "core" #k));
#define LANE(c)                                                   \
    lanes_.push_back(std::make_unique<LaneOf<View##c>>(uncore_, memory, p, p.seed + c * SEEDS));
        FOR_CORES(CORE)
        FOR_CHANNELS(LANE)
    }
    ~Harness() {
#if VM_TRACE
        if (tracer_) tracer_->close();
#endif
        uncore_.final();
    }

#if VM_TRACE
    void waves(const char* path) {
        tracer_ = std::make_unique<Tracer>();
        uncore_.trace(tracer_.get(), 99);
        for (auto& core : cores_) core->dut.trace(tracer_.get(), 99);
        tracer_->open(path);
        if (!tracer_->isOpen()) throw std::runtime_error("the file cannot be written");
    }
#endif

    int reset(unsigned cycles) {
        uncore_.rst = 1;
        for (auto& core : cores_) core->dut.rst = 1;
        for (auto& lane : lanes_) lane->reset();
        for (unsigned i = 0; i < cycles; ++i) tick();
        uncore_.rst = 0;
        for (auto& core : cores_) core->dut.rst = 0;
        return end(LIMIT);
    }

    int write(uint32_t, uint32_t address, uint32_t data, uint32_t* resp) {
        control_.write(address, data);
        const int status = access();
        *resp = control_.resp();
        return status;
    }

    int read(uint32_t, uint32_t address, uint32_t* data, uint32_t* resp) {
        control_.read(address);
        const int status = access();
        *data = control_.data();
        *resp = control_.resp();
        return status;
    }

    // Cycles until the chip's interrupt. `progress` is called every `every` cycles; non-zero
    // cancels.
    int run(uint64_t limit, uint64_t, bool, uint64_t every, int (*progress)(uint64_t)) {
        ended_ = 0;
        for (uint64_t n = 1; n <= limit; ++n) {
            tick();
            if (irq_) ended_ = cycle;
            if (irq_ || violated()) return end(IRQ);
            if (progress && n % every == 0 && progress(cycle)) return CANCELED;
        }
        return end(LIMIT);
    }

    void flip(uint64_t address, uint8_t mask, int64_t after) {
        flips_.add(address, mask, after);
    }

    Trace& trace(uint32_t core) { return cores_.at(core)->trace; }
    Lane& port(uint32_t channel) { return *lanes_.at(channel); }
    AxiLite<Vuncore>& control(uint32_t) { return control_; }
    uint64_t beats(uint32_t channel) const { return lanes_.at(channel)->beats(); }
    uint64_t ended(uint32_t) const { return ended_; }
    std::string culprit() const {
        return under_way_ ? " (core " + std::to_string(under_way_ - 1) + ")" : " (uncore)";
    }

    Memory memory;
    uint64_t cycle = 0;
    std::string message;

private:
    static constexpr unsigned PATIENCE = 100000;  // cycles that an AXI4-Lite answer may take
    static constexpr uint64_t SEEDS = 0x10001;

    bool violated() const {
        for (auto& lane : lanes_)
            if (!lane->violation().empty()) return true;
        return false;
    }

    int end(Status status) {
        for (size_t i = 0; i < lanes_.size(); ++i) {
            if (lanes_[i]->violation().empty()) continue;
            message = "channel " + std::to_string(i) + ": " + lanes_[i]->violation();
            return VIOLATION;
        }
        return status;
    }

    int access() {
        for (unsigned i = 0; i < PATIENCE; ++i) {
            tick();
            if (!control_.busy()) return end(IRQ);
        }
        return end(NO_ANSWER);
    }

    void tick() {
        control_.drive();
        for (auto& lane : lanes_) lane->show(cycle);
        cores_to_uncore();
        under_way_ = 0;
        uncore_.clk = 0;
        uncore_.eval();
        uncore_to_cores();
        evaluate(0);
        for (auto& lane : lanes_) lane->take();
        control_.sample();
        irq_ = uncore_.irq;
        for (auto& core : cores_) core->trace.sample(core->dut, cycle);
        if (!cores_.empty()) flips_.apply(cores_[0]->trace.since(cycle), memory);
        dump();
        under_way_ = 0;
        uncore_.clk = 1;
        uncore_.eval();
        evaluate(1);
        dump();
        control_.finish();
        ++cycle;
    }

    void evaluate(uint8_t clk) {
        for (auto& core : cores_) {
            ++under_way_;
            core->dut.clk = clk;
            core->dut.eval();
        }
    }

    void cores_to_uncore() {
#define BUS(k, name) uncore_.c##k##_##name = cores_[k]->dut.m_##name;
#define CONTROL(k, name) uncore_.c##k##_##name = cores_[k]->dut.s_##name;
#define JOIN(k)                         \
    uncore_.c##k##_irq = cores_[k]->dut.irq; \
    BUS_TO_UNCORE(BUS, k) EXCHANGE_TO_UNCORE(BUS, k) CONTROL_TO_UNCORE(CONTROL, k)
        FOR_CORES(JOIN)
#undef BUS
#undef CONTROL
#undef JOIN
    }

    void uncore_to_cores() {
#define BUS(k, name) cores_[k]->dut.m_##name = uncore_.c##k##_##name;
#define CONTROL(k, name) cores_[k]->dut.s_##name = uncore_.c##k##_##name;
#define JOIN(k)                               \
    cores_[k]->dut.held = uncore_.c##k##_held; \
    BUS_TO_CORE(BUS, k) EXCHANGE_TO_CORE(BUS, k) CONTROL_TO_CORE(CONTROL, k)
        FOR_CORES(JOIN)
#undef BUS
#undef CONTROL
#undef JOIN
    }

    void dump() {
#if VM_TRACE
        context_.timeInc(1);
        if (tracer_) tracer_->dump(context_.time());
#endif
    }

    Vuncore uncore_;
    AxiLite<Vuncore> control_;
    std::vector<std::unique_ptr<Core>> cores_;
    std::vector<std::unique_ptr<Lane>> lanes_;
#if VM_TRACE
    std::unique_ptr<Tracer> tracer_;
#endif
    uint64_t ended_ = 0;
    size_t under_way_ = 0;  // 0: the uncore
    bool irq_ = false;
    Flips flips_;
};

}  // namespace

#include "harness_api.h"
