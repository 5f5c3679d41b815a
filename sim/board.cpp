// SPDX-License-Identifier: Apache-2.0
// A whole board in a shared library, for sim/board.py: the design, its SDRAM and its serial line.
//
// A cycle is a rising edge, at which the design's registers change, and a falling edge, at which
// the inverted clock of the SDRAM rises: the design takes what the SDRAM has driven since the edge
// before, and the SDRAM takes what the design's registers show.
#include <cstdint>
#include <deque>
#include <memory>
#include <stdexcept>
#include <string>

#include "Vulx3s.h"
#include "ends.h"
#include "sdram.h"
#include "serial.h"
#include "verilated.h"

class BoardHarness {
public:
    BoardHarness(const SdramParameters& p, unsigned divisor)
        : sdram(p), sender(divisor), receiver(divisor),
          dut_(std::make_unique<Vulx3s>(&context_)) {
        dut_->clk_25mhz = 0;
        dut_->ftdi_txd = 1;
        dut_->btn = 0;
        dut_->eval();
    }
    ~BoardHarness() { dut_->final(); }

    // Cycles until `bytes` have come from the design, or `limit`; false if a rule is broken.
    bool run(uint64_t limit, uint64_t bytes) {
        try {
            for (uint64_t n = 0; n < limit && receiver.bytes.size() < bytes; ++n) tick();
        } catch (const std::exception& e) {
            message = "the simulated board stopped in cycle " + std::to_string(cycle) + ": " +
                      e.what();
        }
        if (message.empty()) message = sdram.violation();
        return message.empty();
    }

    void press(unsigned buttons) { dut_->btn = buttons; }
    unsigned leds() const { return dut_->led; }

    Sdram sdram;
    SerialSender sender;
    SerialReceiver receiver;
    uint64_t cycle = 0;
    std::string message;

private:
    void tick() {
        dut_->ftdi_txd = sender.level();
        dut_->clk_25mhz = 1;
        dut_->eval();
        receiver.sample(dut_->ftdi_rxd);
        dut_->clk_25mhz = 0;
        dut_->eval();
        SdramPins pins{};
        pins.a = dut_->sdram_a;
        pins.ba = dut_->sdram_ba;
        pins.dqm = dut_->sdram_dqm;
        pins.d = dut_->sdram_d_o;
        pins.oe = dut_->sdram_d_oe;
        pins.cke = dut_->sdram_cke;
        pins.csn = dut_->sdram_csn;
        pins.rasn = dut_->sdram_rasn;
        pins.casn = dut_->sdram_casn;
        pins.wen = dut_->sdram_wen;
        dut_->sdram_d_i = sdram.edge(pins);
        ++cycle;
        if (!sdram.violation().empty()) throw std::runtime_error(sdram.violation());
    }

    VerilatedContext context_;
    std::unique_ptr<Vulx3s> dut_;
};

#define API extern "C" __attribute__((visibility("default")))

API BoardHarness* board_create(const SdramParameters* p, uint32_t divisor) {
    return new BoardHarness(*p, divisor);
}
API void board_destroy(BoardHarness* b) { delete b; }
API const char* board_message(BoardHarness* b) { return b->message.c_str(); }
API uint64_t board_cycle(BoardHarness* b) { return b->cycle; }
API void board_statistics(BoardHarness* b, SdramStatistics* to) { *to = b->sdram.statistics(); }
API void board_press(BoardHarness* b, uint32_t buttons) { b->press(buttons); }
API uint32_t board_leds(BoardHarness* b) { return b->leds(); }
API void board_send(BoardHarness* b, const uint8_t* data, uint64_t n) {
    b->sender.bytes.insert(b->sender.bytes.end(), data, data + n);
}
API int board_run(BoardHarness* b, uint64_t limit, uint64_t bytes) { return b->run(limit, bytes); }
API uint64_t board_receive(BoardHarness* b, uint8_t* to, uint64_t n) {
    auto& from = b->receiver.bytes;
    if (n > from.size()) n = from.size();
    for (uint64_t i = 0; i < n; ++i, from.pop_front()) to[i] = from.front();
    return n;
}
