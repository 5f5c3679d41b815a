// SPDX-License-Identifier: Apache-2.0
// The host's end of the control port of one core: an access at a time, which may begin later.
//
// Address and data of a write come in random order under stalls. A cycle is `drive`, the design
// settles, `sample`, the clock rises, `finish`.
#pragma once

#include <cstdint>

#include "random.h"

template <class Dut>
class AxiLite {
public:
    AxiLite(Dut& dut, uint32_t stall, uint64_t seed) : d_(dut), stall_(stall), random_(seed) {
        d_.s_axil_bready = 1;
        d_.s_axil_rready = 1;
    }

    // Begin in the cycle behind the next `delay` ones.
    void write(uint32_t address, uint32_t data, uint64_t delay = 0) {
        d_.s_axil_awaddr = address;
        d_.s_axil_wdata = data;
        d_.s_axil_wstrb = 0xF;
        aw_ = w_ = busy_ = true;
        delay_ = delay;
    }
    void read(uint32_t address) {
        d_.s_axil_araddr = address;
        ar_ = busy_ = true;
        delay_ = 0;
    }

    bool busy() const { return busy_; }
    uint32_t data() const { return data_; }
    uint32_t resp() const { return resp_; }

    void drive() {
        if (!busy_) return;
        if (delay_ && delay_--) return;
        if (aw_ && !random_.chance(stall_)) d_.s_axil_awvalid = 1;
        if (w_ && !random_.chance(stall_)) d_.s_axil_wvalid = 1;
        if (ar_ && !random_.chance(stall_)) d_.s_axil_arvalid = 1;
    }

    void sample() {
        if (!busy_) return;
        took_aw_ = d_.s_axil_awvalid && d_.s_axil_awready;
        took_w_ = d_.s_axil_wvalid && d_.s_axil_wready;
        took_ar_ = d_.s_axil_arvalid && d_.s_axil_arready;
        answered_ = d_.s_axil_bvalid || d_.s_axil_rvalid;
        resp_ = d_.s_axil_bvalid ? d_.s_axil_bresp : d_.s_axil_rresp;
        data_ = d_.s_axil_rdata;
    }

    void finish() {
        if (!busy_) return;
        if (took_aw_) d_.s_axil_awvalid = aw_ = false;
        if (took_w_) d_.s_axil_wvalid = w_ = false;
        if (took_ar_) d_.s_axil_arvalid = ar_ = false;
        if (answered_) busy_ = false;
    }

private:
    Dut& d_;
    uint32_t stall_;
    Random random_;
    bool aw_ = false, w_ = false, ar_ = false, busy_ = false;  // not handed over yet; not answered
    bool took_aw_ = false, took_w_ = false, took_ar_ = false, answered_ = false;
    uint32_t data_ = 0, resp_ = 0;
    uint64_t delay_ = 0;
};
