// SPDX-License-Identifier: Apache-2.0
// A single-data-rate SDRAM of 16 data bits that checks its controller.
//
// Called once for each rising edge of the memory's clock with the levels of the pins there; gives
// what the memory drives from this edge to the next, where the controller takes it. Distances are
// compared in ns. What the controller does wrong is a violation, a sentence; the first one stays.
#pragma once

#include <array>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

struct SdramParameters {
    double clock, rcd, rp, ras, rc, rfc, wr, rrd, startup, refresh, open, cas2, cas3;  // ns
    uint32_t mrd, refreshes, row_bits, column_bits, bank_bits;
};

struct SdramPins {
    uint16_t a, d;
    uint8_t ba, dqm, oe, cke, csn, rasn, casn, wen;
};

struct SdramStatistics {
    uint64_t activates, reads, writes, refreshes;
};

class Sdram {
public:
    explicit Sdram(const SdramParameters& p)
        : p_(p), banks_(1u << p.bank_bits),
          memory_(size_t{1} << (p.bank_bits + p.row_bits + p.column_bits)) {
        uint32_t noise = 1;  // what was not written is not zero
        for (auto& word : memory_) word = (noise = noise * 1664525 + 1013904223) >> 16;
    }

    // One edge; the word that is on the bus until the next, noise if nobody drives it.
    uint16_t edge(const SdramPins& pins) {
        ++now_;
        if (!pins.cke) fail("CKE is low, which this model does not know");
        bus(pins);
        if (!pins.csn) command(pins);
        write(pins);
        starve();
        auto& out = at(now_ + 1);
        const bool masked = mask_[(now_ + 1) % RING] == now_ + 1;
        const bool drives = out.edge == now_ + 1 && !masked;
        return drives ? out.word : uint16_t(0x5AA5 ^ now_ * 40503);
    }

    const std::string& violation() const { return violation_; }
    const SdramStatistics& statistics() const { return statistics_; }
    uint16_t* memory() { return memory_.data(); }
    size_t words() const { return memory_.size(); }

private:
    static constexpr int64_t NEVER = -(int64_t{1} << 40);
    static constexpr unsigned RING = 32;  // more than latency and burst together
    struct Bank { bool open = false; uint16_t row = 0; int64_t opened = NEVER, closed = NEVER,
                  written = NEVER; };
    struct Word { int64_t edge = NEVER; uint16_t word = 0; unsigned bank = 0; };
    struct Burst { unsigned bank = 0, column = 0, word = 0, left = 0; };

    Word& at(int64_t edge) { return out_[edge % RING]; }

    void fail(const std::string& text) {
        if (!violation_.empty()) return;
        char where[64];
        std::snprintf(where, sizeof where, "SDRAM at %.3f us: ", now_ * p_.clock / 1000);
        violation_ = where + text;
    }

    // The distance from an earlier edge is at least `ns`.
    void apart(const char* what, int64_t since, double ns) {
        const double got = (now_ - since) * p_.clock;
        if (since == NEVER || got >= ns - 1e-6) return;
        char text[96];
        std::snprintf(text, sizeof text, "%s is %g ns, less than %g", what, got, ns);
        fail(text);
    }

    void closed(const char* command) {
        for (auto& b : banks_) {
            if (b.open) fail(std::string(command) + " while a row is open");
            apart("tRP", b.closed, p_.rp);
        }
    }

    // Both sides at the bus at one edge, or one behind the other without an idle edge.
    void bus(const SdramPins& pins) {
        const bool masked = mask_[now_ % RING] == now_;
        const bool drives = at(now_).edge == now_ && !masked;
        if (pins.oe && (drives || drove_)) fail("bus conflict: both sides drive the data");
        drove_ = drives;
        if (pins.dqm) mask_[(now_ + 2) % RING] = now_ + 2;
    }

    void command(const SdramPins& pins) {
        const unsigned code = pins.rasn << 2 | pins.casn << 1 | pins.wen;
        if (code == 7) return;
        if (now_ * p_.clock < p_.startup) fail("a command before the pause after power-up is over");
        apart("tRFC", refreshed_, p_.rfc);
        apart("tMRD", mode_set_, p_.mrd * p_.clock);
        switch (code) {
        case 0: return mode(pins);
        case 1: return refresh();
        case 2: return precharge(pins);
        case 3: return activate(pins);
        case 4: case 5: return column(pins, code == 4);
        default: fail("BURST STOP, which this model does not know");
        }
    }

    void mode(const SdramPins& pins) {
        closed("MODE REGISTER");
        if (count_ < p_.refreshes) fail("initialization: MODE REGISTER before the refreshes");
        cas_ = pins.a >> 4 & 7;
        length_ = 1u << (pins.a & 7);
        if (length_ > 8 || pins.a >> 7 || pins.a & 8 || pins.ba) fail("an illegal mode");
        if (cas_ < 2 || cas_ > 3 || p_.clock < (cas_ == 2 ? p_.cas2 : p_.cas3))
            fail("a CAS latency of " + std::to_string(cas_) + " at this frequency");
        mode_set_ = now_;
    }

    void refresh() {
        closed("REFRESH");
        if (!precharged_) fail("initialization: REFRESH before PRECHARGE of all banks");
        refreshed_ = now_;
        ++count_;
        ++statistics_.refreshes;
        debt_ = debt_ > p_.refresh ? debt_ - p_.refresh : 0;
    }

    void precharge(const SdramPins& pins) {
        const bool all = pins.a >> 10 & 1;
        precharged_ |= all;
        for (unsigned i = 0; i < banks_.size(); ++i) {
            auto& b = banks_[i];
            if (!all && i != pins.ba) continue;
            for (auto& o : out_)
                if (o.bank == i && o.edge >= now_ + cas_) o.edge = NEVER;
            if (burst_.left && burst_.bank == i) burst_.left = 0;
            if (!b.open) continue;
            apart("tRAS", b.opened, p_.ras);
            apart("tWR", b.written, p_.wr);
            if ((now_ - b.opened) * p_.clock > p_.open) fail("a row is open for too long");
            b.open = false;
            b.closed = now_;
        }
    }

    void activate(const SdramPins& pins) {
        if (mode_set_ == NEVER) fail("initialization: ACTIVATE before MODE REGISTER");
        auto& b = banks_[pins.ba];
        if (b.open) fail("ACTIVATE in a bank with an open row");
        apart("tRP", b.closed, p_.rp);
        apart("tRC", b.opened, p_.rc);
        apart("tRRD", activated_, p_.rrd);
        b.open = true;
        b.row = pins.a;
        b.opened = activated_ = now_;
        ++statistics_.activates;
    }

    void column(const SdramPins& pins, bool write) {
        auto& b = banks_[pins.ba];
        if (!b.open) {
            fail(std::string(write ? "WRITE" : "READ") + ": the row is not open");
            return;
        }
        apart("tRCD", b.opened, p_.rcd);
        if (pins.a >> 10 & 1) fail("auto precharge, which this model does not know");
        const unsigned column = pins.a & ((1u << p_.column_bits) - 1);
        burst_.left = 0;
        for (auto& o : out_)
            if (o.edge >= now_ + (write ? 0 : int64_t(cas_))) o.edge = NEVER;
        if (write) {
            burst_ = {pins.ba, column, 0, length_};
            ++statistics_.writes;
            return;
        }
        for (unsigned i = 0; i < length_; ++i)
            at(now_ + cas_ + i) = {now_ + cas_ + i, memory_[index(pins.ba, column, i)], pins.ba};
        ++statistics_.reads;
    }

    size_t index(unsigned bank, unsigned column, unsigned i) const {
        const unsigned at = (column & ~(length_ - 1)) | ((column + i) & (length_ - 1));
        return ((size_t{banks_[bank].row} << p_.bank_bits) | bank) << p_.column_bits | at;
    }

    // The word of a write burst at this edge, the command's included.
    void write(const SdramPins& pins) {
        if (!burst_.left) {
            if (pins.oe) fail("the data are driven, and nothing is written");
            return;
        }
        if (!pins.oe && pins.dqm != 3) fail("a word of a WRITE is not driven");
        auto& word = memory_[index(burst_.bank, burst_.column, burst_.word)];
        const uint16_t keep = (pins.dqm & 1 ? 0x00FF : 0) | (pins.dqm & 2 ? 0xFF00 : 0);
        word = (word & keep) | (pins.d & ~keep);
        banks_[burst_.bank].written = now_;
        ++burst_.word;
        --burst_.left;
    }

    // Refreshes come as often as they are due, late by one interval at most.
    void starve() {
        if (mode_set_ == NEVER) return;
        debt_ += p_.clock;
        if (debt_ > 2 * p_.refresh) fail("refresh interval: a REFRESH is overdue");
    }

    SdramParameters p_;
    std::vector<Bank> banks_;
    std::vector<uint16_t> memory_;
    std::array<Word, RING> out_{};
    std::array<int64_t, RING> mask_{};
    Burst burst_;
    int64_t now_ = 0, refreshed_ = NEVER, mode_set_ = NEVER, activated_ = NEVER;
    unsigned cas_ = 2, length_ = 1;
    uint64_t count_ = 0;
    double debt_ = 0;
    bool precharged_ = false, drove_ = false;
    SdramStatistics statistics_{};
    std::string violation_;
};
