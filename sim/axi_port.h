// SPDX-License-Identifier: Apache-2.0
// An AXI4 slave port in front of the memory (dram.h), and a checker of its master's manners.
//
// The port is hard on its master on purpose. A read burst takes its bytes when its address is
// accepted, a write burst becomes visible when its response is offered: whoever reads before the
// response gets the old bytes, as real memory controllers may give. A beat moves when its channel
// of the memory moves it, at most one in each direction a cycle. Responses come in order, or, with
// `reorder`, beats of read bursts with different IDs in any. Every AXI channel may stall at random.
//
//   AR accepted --read_latency--> R beats       W last beat --write_latency--> B
//
// A single channel of the memory moves a beat when it is handed over. Several read ahead and write
// behind, each what has been asked of it, by way of a buffer that holds whatever is in flight:
// beats are handed over in order, and a channel that is busy with other ports is not to hold up
// the others.
//
// What the master does wrong (AXI4 A3) is a violation: it ends the run with a sentence. What the
// memory itself does wrong is asked for, burst by burst (enum Mischief).
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

#include "dram.h"
#include "random.h"

// What the memory does wrong, once; in the order of MISCHIEF in harness.py.
enum Mischief : uint32_t {
    READ_SLVERR, READ_DECERR,  // each beat of the burst
    EARLY_RLAST,               // with its first beat, and none with its last one
    MISSING_RLAST,
    WRONG_RID,
    LOST_R,       // none of its beats comes
    LOST_LAST_R,  // all but the last one
    EXTRA_R,      // a beat more, behind RLAST
    WRITE_SLVERR, WRITE_DECERR,
    WRONG_BID,
    LOST_B,
    EXTRA_B,
    SHUT_AR, SHUT_AW, SHUT_W,  // READY stays low from this burst, or beat, on
    NONE
};

struct DramStatistics {
    uint64_t read_beats, write_beats, read_bursts, write_bursts;
};

template <class Dut>
class AxiPort {
public:
    static constexpr unsigned BEAT = sizeof(Dut::m_axi_wdata);
    static constexpr uint64_t PAGE = 4096;

    AxiPort(Dut& dut, Memory& memory, const Channels& channels, const DramParameters& p,
            uint64_t seed)
        : d_(dut), memory_(memory), channels_(channels), p_(p), random_(seed),
          ahead_(channels.count()), behind_(channels.count()) {}

    // Do this wrong with burst number `burst` of those with this ID: of reads, or of writes.
    void misbehave(uint32_t what, uint32_t id, uint64_t burst) {
        mischief_.push_back({what, id, burst});
    }
    const DramStatistics& statistics() const { return statistics_; }
    const std::string& violation() const { return violation_; }

    // Drop everything in flight, as the reset of the whole system does.
    void reset() {
        reads_.clear();
        writes_.clear();
        for (auto* lanes : {&ahead_, &behind_})
            for (auto& lane : *lanes) lane.clear();
        beats_in_ = 0;
        r_valid_ = b_valid_ = false;
        ar_ = aw_ = w_ = Held{};
    }

    // Before the clock edge: what the slave shows in this cycle, but for what channels move.
    void offer(uint64_t now) {
        now_ = now;
        d_.m_axi_arready = reads_.size() < p_.max_reads && !random_.chance(p_.stall) &&
                           !shut(SHUT_AR, d_.m_axi_arid, asked_[d_.m_axi_arid % IDS]);
        d_.m_axi_awready = writes_.size() < p_.max_writes && !random_.chance(p_.stall) &&
                           !shut(SHUT_AW, d_.m_axi_awid, statistics_.write_bursts);
        if (!r_valid_) choose();
        r_open_ = !r_valid_ && !reads_.empty() && now >= reads_[shown_].due &&
                  !random_.chance(p_.stall);
        w_open_ = d_.m_axi_wvalid && beats_in_ < writes_.size() && !random_.chance(p_.stall) &&
                  !shut(SHUT_W, 0, statistics_.write_beats);
        d_.m_axi_rvalid = r_valid_;
        d_.m_axi_wready = w_open_ && buffered();
        if (r_open_ && reads_[shown_].here[reads_[shown_].done]) show();
        answer();
    }

    // What a channel could move for this port in this cycle.
    bool reads(uint32_t channel) const {
        if (!buffered()) return r_open_;
        const auto& lane = ahead_[channel];
        return !lane.empty() && lane.front().due <= now_;
    }
    bool writes(uint32_t channel) const {
        return buffered() ? !behind_[channel].empty() : w_open_;
    }

    // The channel moves a beat: whether that ends a burst, or the part of it in this channel.
    bool read(uint32_t channel) {
        if (!buffered()) {
            const bool ends = reads_[shown_].parts(reads_[shown_].done);
            show();
            return ends;
        }
        const Beat beat = taken(ahead_[channel]);
        Burst& b = burst(reads_, beat.burst);
        b.here[beat.number] = 1;
        const Burst& next = reads_[shown_];
        if (r_open_ && next.here[next.done]) show();
        return b.parts(beat.number);
    }
    bool write(uint32_t channel) {
        if (!buffered()) {
            d_.m_axi_wready = 1;
            return writes_[beats_in_].parts(writes_[beats_in_].done);
        }
        const Beat beat = taken(behind_[channel]);
        Burst& b = burst(writes_, beat.burst);
        if (++b.moved == b.beats) b.due = now_ + p_.write_latency;
        return b.parts(beat.number);
    }

    // At the clock edge, with every signal settled: take what is handed over, check the rest.
    void sample() {
        if (d_.rst) {
            if (d_.m_axi_arvalid || d_.m_axi_awvalid || d_.m_axi_wvalid) {
                if (++in_reset_ > 2) fail("valid is high during reset");
            }
            return;
        }
        in_reset_ = 0;
        if (r_valid_ && d_.m_axi_rready) take_read_beat();
        if (b_valid_ && d_.m_axi_bready) {
            b_valid_ = false;
            if (writes_.front().wrong == EXTRA_B) writes_.front().wrong = NONE;
            else forget_write();
        }
        if (stable("AR", ar_, d_.m_axi_arvalid, d_.m_axi_arready, d_.m_axi_araddr, d_.m_axi_arlen))
            accept_read();
        if (stable("W", w_, d_.m_axi_wvalid, d_.m_axi_wready, hash(d_), d_.m_axi_wlast))
            accept_beat();
        if (stable("AW", aw_, d_.m_axi_awvalid, d_.m_axi_awready, d_.m_axi_awaddr, d_.m_axi_awlen))
            accept_write();
    }

private:
    static constexpr uint64_t NEVER = ~0ull;
    using Bytes = std::vector<uint8_t>;
    struct Asked { uint32_t what, id; uint64_t burst; };
    struct Held { bool waiting; uint64_t a, b; };
    struct Burst {
        uint64_t number, address, due;
        uint32_t id, beats, done, moved;  // moved: by the channels, of a write
        uint8_t resp;
        uint32_t wrong;           // Mischief
        Bytes data, extra, here;  // extra: a response for each beat of a read, strobes of a write
                                  // here: whether a beat of a read has been read ahead

        uint64_t at(uint32_t beat) const {
            return (address & ~uint64_t(BEAT - 1)) + uint64_t(beat) * BEAT;
        }
        // Whether something else begins behind a beat.
        bool parts(uint32_t beat) const {
            return beat + 1 == data.size() / BEAT || at(beat + 1) % Channels::INTERLEAVE == 0;
        }
    };
    struct Beat { uint64_t burst, due; uint32_t number; };  // that a channel is to move

    bool buffered() const { return channels_.count() > 1; }

    static Beat taken(std::deque<Beat>& lane) {
        const Beat beat = lane.front();
        lane.pop_front();
        return beat;
    }

    static Burst& burst(std::deque<Burst>& bursts, uint64_t number) {
        size_t i = 0;
        while (bursts[i].number != number) ++i;
        return bursts[i];
    }

    // What is to go wrong with a burst, or NONE.
    uint32_t wrong(uint32_t first, uint32_t last, uint32_t id, uint64_t burst) const {
        for (auto& m : mischief_)
            if (m.what >= first && m.what <= last && m.id == id && m.burst == burst) return m.what;
        return NONE;
    }

    bool shut(uint32_t what, uint32_t id, uint64_t number) const {
        for (auto& m : mischief_)
            if (m.what == what && m.id == id && number >= m.burst) return true;
        return false;
    }

    // Which burst the next beat is of: the oldest one, or the oldest one of another ID.
    void choose() {
        shown_ = 0;
        if (!random_.chance(p_.reorder)) return;
        for (size_t i = 1; i < reads_.size(); ++i)
            if (reads_[i].id != reads_[0].id) {
                if (now_ > reads_[i].due) shown_ = i;
                return;
            }
    }

    void show() {
        const Burst& b = reads_[shown_];
        std::memcpy(&d_.m_axi_rdata, b.data.data() + b.done * BEAT, BEAT);
        d_.m_axi_rid = b.id ^ (b.wrong == WRONG_RID);
        d_.m_axi_rresp = b.extra[b.done];
        d_.m_axi_rlast = (b.done + 1 >= b.beats && b.wrong != MISSING_RLAST) ||
                         (b.done == 0 && b.wrong == EARLY_RLAST);
        if (b.wrong == EARLY_RLAST && b.beats > 1 && b.done + 1 == b.beats) d_.m_axi_rlast = 0;
        d_.m_axi_rvalid = r_valid_ = true;
        r_open_ = false;
    }

    void answer() {
        if (!b_valid_ && !writes_.empty() && beats_in_ > 0 && now_ >= writes_.front().due &&
            !random_.chance(p_.stall)) {
            Burst& b = writes_.front();
            commit(b);
            b_valid_ = b.wrong != LOST_B;
            d_.m_axi_bid = b.id ^ (b.wrong == WRONG_BID);
            d_.m_axi_bresp = b.wrong == WRITE_SLVERR   ? SLVERR
                             : b.wrong == WRITE_DECERR ? DECERR
                                                       : b.resp;
            if (!b_valid_) forget_write();
        }
        d_.m_axi_bvalid = b_valid_;
    }

    void take_read_beat() {
        r_valid_ = false;
        ++statistics_.read_beats;
        Burst& b = reads_[shown_];
        if (++b.done == b.data.size() / BEAT) reads_.erase(reads_.begin() + shown_);
    }

    void forget_write() {
        writes_.pop_front();
        --beats_in_;
    }

    // A burst's address phase; false if it breaks a rule.
    bool legal(const char* channel, uint64_t address, uint32_t beats, unsigned size,
               unsigned kind) {
        const uint64_t first = address & ~uint64_t(BEAT - 1);
        const std::string name = std::string(channel) + " burst of " + std::to_string(beats) +
                                 " beats at " + std::to_string(address) + " ";
        if (kind != 1) fail(name + "is not INCR");
        else if ((1u << size) != BEAT) fail(name + "is not as wide as the bus");
        else if (beats > p_.max_burst)
            fail(name + "is longer than " + std::to_string(p_.max_burst));
        else if (first / PAGE != (first + uint64_t(beats) * BEAT - 1) / PAGE)
            fail(name + "crosses a 4 KiB boundary");
        else return true;
        return false;
    }

    void accept_read() {
        Burst b{statistics_.read_bursts, d_.m_axi_araddr, now_ + p_.read_latency, d_.m_axi_arid,
                d_.m_axi_arlen + 1u, 0, 0, OKAY, NONE, {}, {}, {}};
        if (!legal("AR", b.address, b.beats, d_.m_axi_arsize, d_.m_axi_arburst)) return;
        b.data.assign(b.beats * BEAT, POISON);
        for (uint32_t i = 0; i < b.beats; ++i) {
            b.extra.push_back(memory_.response(b.at(i), BEAT));
            if (b.extra[i] == OKAY)
                std::memcpy(b.data.data() + i * BEAT, memory_.at(b.at(i), BEAT), BEAT);
        }
        ++statistics_.read_bursts;
        b.wrong = wrong(READ_SLVERR, EXTRA_R, b.id, asked_[b.id % IDS]++);
        if (b.wrong == LOST_R || (b.wrong == LOST_LAST_R && b.beats == 1)) return;
        if (b.wrong == READ_SLVERR || b.wrong == READ_DECERR) {
            b.extra.assign(b.beats, b.wrong == READ_SLVERR ? SLVERR : DECERR);
            b.data.assign(b.beats * BEAT, POISON);
        }
        const uint32_t shown = b.beats + (b.wrong == EXTRA_R) - (b.wrong == LOST_LAST_R);
        b.data.resize(shown * BEAT);
        b.extra.resize(shown);
        b.here.resize(shown);
        for (uint32_t i = 0; buffered() && i < shown; ++i)
            ahead_[channels_.of(b.at(i))].push_back({b.number, b.due, i});
        reads_.push_back(std::move(b));
    }

    void accept_write() {
        Burst b{statistics_.write_bursts, d_.m_axi_awaddr, NEVER, d_.m_axi_awid,
                d_.m_axi_awlen + 1u, 0, 0, OKAY, NONE, {}, {}, {}};
        if (!legal("AW", b.address, b.beats, d_.m_axi_awsize, d_.m_axi_awburst)) return;
        b.data.resize(b.beats * BEAT);
        b.extra.resize(b.beats * BEAT);
        b.wrong = wrong(WRITE_SLVERR, EXTRA_B, b.id, statistics_.write_bursts++);
        writes_.push_back(std::move(b));
    }

    void accept_beat() {
        ++statistics_.write_beats;
        Burst& b = writes_[beats_in_];
        std::memcpy(b.data.data() + b.done * BEAT, &d_.m_axi_wdata, BEAT);
        for (unsigned i = 0; i < BEAT; ++i)
            b.extra[b.done * BEAT + i] = uint64_t(d_.m_axi_wstrb) >> i & 1;
        if (buffered()) behind_[channels_.of(b.at(b.done))].push_back({b.number, now_, b.done});
        ++b.done;
        if (bool(d_.m_axi_wlast) != (b.done == b.beats))
            fail("WLAST is " + std::to_string(d_.m_axi_wlast) + " on beat " +
                 std::to_string(b.done) + " of " + std::to_string(b.beats));
        if (b.done == b.beats) {
            if (!buffered()) b.due = now_ + p_.write_latency;
            ++beats_in_;
        }
    }

    // Nothing is written where the answer is an error.
    void commit(Burst& b) {
        if (b.wrong == WRITE_SLVERR || b.wrong == WRITE_DECERR) return;
        for (uint32_t i = 0; i < b.beats; ++i) {
            const uint8_t resp = memory_.response(b.at(i), BEAT);
            if (resp > b.resp) b.resp = resp;
            if (resp != OKAY) continue;
            uint8_t* to = memory_.at(b.at(i), BEAT);
            for (unsigned j = 0; j < BEAT; ++j)
                if (b.extra[i * BEAT + j]) to[j] = b.data[i * BEAT + j];
        }
    }

    // A valid that waits has to stay, with the same payload. True when it is handed over.
    bool stable(const char* channel, Held& held, bool valid, bool ready, uint64_t a, uint64_t b) {
        if (held.waiting && !valid) fail(std::string(channel) + "VALID fell before ready");
        else if (held.waiting && (held.a != a || held.b != b))
            fail(std::string(channel) + " payload changed before ready");
        held = {valid && !ready, a, b};
        return valid && ready;
    }

    static uint64_t hash(const Dut& d) {
        if (!d.m_axi_wvalid) return 0;
        uint64_t sum = uint64_t(d.m_axi_wstrb), word;
        for (unsigned i = 0; i < BEAT; i += 8) {
            std::memcpy(&word, reinterpret_cast<const uint8_t*>(&d.m_axi_wdata) + i, 8);
            sum = (sum ^ word) * 0x100000001B3ull;
        }
        return sum;
    }

    void fail(const std::string& text) {
        if (violation_.empty())
            violation_ = "AXI violation in cycle " + std::to_string(now_) + ": " + text;
    }

    static constexpr uint8_t POISON = 0xA5;  // what a read that failed shows
    static constexpr unsigned IDS = 16;
    Dut& d_;
    Memory& memory_;
    const Channels& channels_;
    DramParameters p_;
    Random random_;
    DramStatistics statistics_{};
    std::vector<Asked> mischief_;
    uint64_t asked_[IDS] = {};  // read bursts of each ID
    std::deque<Burst> reads_, writes_;
    std::vector<std::deque<Beat>> ahead_, behind_;  // of each channel, what it is to move
    size_t shown_ = 0;     // the read burst whose beat is shown
    size_t beats_in_ = 0;  // write bursts, oldest first, whose data are complete
    bool r_valid_ = false, b_valid_ = false;
    bool r_open_ = false, w_open_ = false;  // a beat could move in this cycle
    uint64_t now_ = 0, in_reset_ = 0;
    Held ar_{}, aw_{}, w_{};
    std::string violation_;
};
