// SPDX-License-Identifier: Apache-2.0
// An AXI4 slave with memory behind it, and a checker of the master's manners.
//
// The model is hard on its master on purpose. A read burst takes its bytes when its address is
// accepted, a write burst becomes visible when its response is offered: whoever reads before the
// response gets the old bytes, as real memory controllers may give. Data moves through one token
// bucket for both directions, since a DRAM has one data bus: `bandwidth` is the share of
// "one beat a cycle" that it gives. Responses come in order, or, with `reorder`, beats of read
// bursts with different IDs in any. Every channel may stall at random.
//
//   AR accepted --read_latency--> R beats       W last beat --write_latency--> B
//
// What the master does wrong (AXI4 A3) is a violation: it ends the run with a sentence. What the
// memory itself does wrong is asked for, burst by burst (enum Mischief).
#pragma once

#include <cstdint>
#include <cstring>
#include <deque>
#include <string>
#include <vector>

enum : uint8_t { OKAY = 0, SLVERR = 2, DECERR = 3 };

struct DramParameters {
    uint32_t read_latency;   // cycles from the address to the first beat, 1 or more
    uint32_t write_latency;  // cycles from the last beat to the response, 1 or more
    uint32_t bandwidth;      // beats a cycle, times 65536
    uint32_t max_reads;      // bursts in flight before ARREADY falls
    uint32_t max_writes;     // bursts in flight before AWREADY falls
    uint32_t max_burst;      // beats; a longer burst is a violation
    uint32_t stall;          // probability that a channel stalls in a cycle, times 65536
    uint32_t seed;
    uint32_t reorder;        // probability that a beat is of another ID than the oldest burst's
};

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

// xorshift64*: the stalls are the same on every machine.
class Random {
public:
    explicit Random(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 1) {}
    bool chance(uint32_t share) { return share && (next() >> 48) < share; }

private:
    uint64_t next() {
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return state_ * 0x2545F4914F6CDD1Dull;
    }
    uint64_t state_;
};

template <class Dut>
class Dram {
public:
    static constexpr unsigned BEAT = sizeof(Dut::m_axi_wdata);
    static constexpr uint64_t PAGE = 4096;

    explicit Dram(const DramParameters& p) : p_(p), random_(p.seed) {}

    void segment(uint64_t base, uint64_t size) { segments_.push_back({base, Bytes(size)}); }
    // Answer with `resp` from low up to high; the last word on an address counts, OKAY lifts it.
    void inject(uint64_t low, uint64_t high, uint8_t resp) { errors_.push_back({low, high, resp}); }
    // Do this wrong with burst number `burst` of those with this ID: of reads, or of writes.
    void misbehave(uint32_t what, uint32_t id, uint64_t burst) {
        mischief_.push_back({what, id, burst});
    }
    const DramStatistics& statistics() const { return statistics_; }
    const std::string& violation() const { return violation_; }

    // Bytes of allocated memory, or null if part of them is not.
    uint8_t* at(uint64_t address, uint64_t size) {
        for (auto& s : segments_)
            if (address >= s.base && address - s.base < s.bytes.size() &&
                size <= s.bytes.size() - (address - s.base))
                return s.bytes.data() + (address - s.base);
        return nullptr;
    }

    // Drop everything in flight, as the reset of the whole system does.
    void reset() {
        reads_.clear();
        writes_.clear();
        beats_in_ = 0;
        r_valid_ = b_valid_ = false;
        ar_ = aw_ = w_ = Held{};
    }

    // Before the clock edge: decide what the slave shows in this cycle.
    void drive(Dut& d, uint64_t now) {
        tokens_ += p_.bandwidth;
        if (tokens_ > ONE + p_.bandwidth - 1) tokens_ = ONE + p_.bandwidth - 1;
        d.m_axi_arready = reads_.size() < p_.max_reads && !random_.chance(p_.stall) &&
                          !shut(SHUT_AR, d.m_axi_arid, asked_[d.m_axi_arid % IDS]);
        d.m_axi_awready = writes_.size() < p_.max_writes && !random_.chance(p_.stall) &&
                          !shut(SHUT_AW, d.m_axi_awid, statistics_.write_bursts);

        if (!r_valid_) choose();
        bool read = !r_valid_ && !reads_.empty() && now >= reads_[shown_].due &&
                    !random_.chance(p_.stall);
        bool write = d.m_axi_wvalid && beats_in_ < writes_.size() && !random_.chance(p_.stall) &&
                     !shut(SHUT_W, 0, statistics_.write_beats);
        if (tokens_ < ONE) read = write = false;
        if (read && write) (read_last_ ? read : write) = false;
        if (read) {
            tokens_ -= ONE;
            read_last_ = true;
            show(d, reads_[shown_]);
        }
        d.m_axi_rvalid = r_valid_;
        d.m_axi_wready = write;

        if (!b_valid_ && !writes_.empty() && beats_in_ > 0 && now >= writes_.front().due &&
            !random_.chance(p_.stall)) {
            Burst& b = writes_.front();
            commit(b);
            b_valid_ = b.wrong != LOST_B;
            d.m_axi_bid = b.id ^ (b.wrong == WRONG_BID);
            d.m_axi_bresp = b.wrong == WRITE_SLVERR   ? SLVERR
                            : b.wrong == WRITE_DECERR ? DECERR
                                                      : b.resp;
            if (!b_valid_) forget_write();
        }
        d.m_axi_bvalid = b_valid_;
    }

    // At the clock edge, with every signal settled: take what is handed over, check the rest.
    void sample(Dut& d, uint64_t now) {
        now_ = now;
        if (d.rst) {
            if (d.m_axi_arvalid || d.m_axi_awvalid || d.m_axi_wvalid) {
                if (++in_reset_ > 2) fail("valid is high during reset");
            }
            return;
        }
        in_reset_ = 0;
        if (r_valid_ && d.m_axi_rready) take_read_beat();
        if (b_valid_ && d.m_axi_bready) {
            b_valid_ = false;
            if (writes_.front().wrong == EXTRA_B) writes_.front().wrong = NONE;
            else forget_write();
        }
        if (stable("AR", ar_, d.m_axi_arvalid, d.m_axi_arready, d.m_axi_araddr, d.m_axi_arlen))
            accept_read(d);
        if (stable("W", w_, d.m_axi_wvalid, d.m_axi_wready, hash(d), d.m_axi_wlast))
            accept_beat(d);
        if (stable("AW", aw_, d.m_axi_awvalid, d.m_axi_awready, d.m_axi_awaddr, d.m_axi_awlen))
            accept_write(d);
    }

private:
    static constexpr uint64_t ONE = 65536, NEVER = ~0ull;
    using Bytes = std::vector<uint8_t>;
    struct Segment { uint64_t base; Bytes bytes; };
    struct Range { uint64_t low, high; uint8_t resp; };
    struct Asked { uint32_t what, id; uint64_t burst; };
    struct Held { bool waiting; uint64_t a, b; };
    struct Burst {
        uint64_t address, due;
        uint32_t id, beats, done;
        uint8_t resp;
        uint32_t wrong;     // Mischief
        Bytes data, extra;  // extra: a response for each beat of a read, strobes of a write
    };

    uint8_t response(uint64_t address) {
        uint8_t resp = at(address, BEAT) ? OKAY : DECERR;
        for (auto& e : errors_)
            if (address + BEAT > e.low && address < e.high && at(address, BEAT)) resp = e.resp;
        return resp;
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
                if (now_ >= reads_[i].due) shown_ = i;
                return;
            }
    }

    void show(Dut& d, const Burst& b) {
        std::memcpy(&d.m_axi_rdata, b.data.data() + b.done * BEAT, BEAT);
        d.m_axi_rid = b.id ^ (b.wrong == WRONG_RID);
        d.m_axi_rresp = b.extra[b.done];
        d.m_axi_rlast = (b.done + 1 >= b.beats && b.wrong != MISSING_RLAST) ||
                        (b.done == 0 && b.wrong == EARLY_RLAST);
        if (b.wrong == EARLY_RLAST && b.beats > 1 && b.done + 1 == b.beats) d.m_axi_rlast = 0;
        r_valid_ = true;
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

    void accept_read(Dut& d) {
        Burst b{d.m_axi_araddr, now_ + p_.read_latency, d.m_axi_arid, d.m_axi_arlen + 1u, 0, OKAY,
                NONE, {}, {}};
        if (!legal("AR", b.address, b.beats, d.m_axi_arsize, d.m_axi_arburst)) return;
        const uint64_t first = b.address & ~uint64_t(BEAT - 1);
        b.data.assign(b.beats * BEAT, POISON);
        for (uint32_t i = 0; i < b.beats; ++i) {
            b.extra.push_back(response(first + i * BEAT));
            if (b.extra[i] == OKAY)
                std::memcpy(b.data.data() + i * BEAT, at(first + i * BEAT, BEAT), BEAT);
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
        reads_.push_back(std::move(b));
    }

    void accept_write(Dut& d) {
        Burst b{d.m_axi_awaddr, NEVER, d.m_axi_awid, d.m_axi_awlen + 1u, 0, OKAY, NONE, {}, {}};
        if (!legal("AW", b.address, b.beats, d.m_axi_awsize, d.m_axi_awburst)) return;
        b.data.resize(b.beats * BEAT);
        b.extra.resize(b.beats * BEAT);
        b.wrong = wrong(WRITE_SLVERR, EXTRA_B, b.id, statistics_.write_bursts++);
        writes_.push_back(std::move(b));
    }

    void accept_beat(Dut& d) {
        tokens_ -= ONE;
        read_last_ = false;
        ++statistics_.write_beats;
        Burst& b = writes_[beats_in_];
        std::memcpy(b.data.data() + b.done * BEAT, &d.m_axi_wdata, BEAT);
        for (unsigned i = 0; i < BEAT; ++i)
            b.extra[b.done * BEAT + i] = uint64_t(d.m_axi_wstrb) >> i & 1;
        ++b.done;
        if (bool(d.m_axi_wlast) != (b.done == b.beats))
            fail("WLAST is " + std::to_string(d.m_axi_wlast) + " on beat " +
                 std::to_string(b.done) + " of " + std::to_string(b.beats));
        if (b.done == b.beats) {
            b.due = now_ + p_.write_latency;
            ++beats_in_;
        }
    }

    // Nothing is written where the answer is an error.
    void commit(Burst& b) {
        if (b.wrong == WRITE_SLVERR || b.wrong == WRITE_DECERR) return;
        const uint64_t first = b.address & ~uint64_t(BEAT - 1);
        for (uint32_t i = 0; i < b.beats; ++i) {
            const uint8_t resp = response(first + i * BEAT);
            if (resp > b.resp) b.resp = resp;
            if (resp != OKAY) continue;
            uint8_t* to = at(first + i * BEAT, BEAT);
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
    DramParameters p_;
    Random random_;
    DramStatistics statistics_{};
    std::vector<Segment> segments_;
    std::vector<Range> errors_;
    std::vector<Asked> mischief_;
    static constexpr unsigned IDS = 16;
    uint64_t asked_[IDS] = {};  // read bursts of each ID
    std::deque<Burst> reads_, writes_;
    size_t shown_ = 0;     // the read burst whose beat is shown
    size_t beats_in_ = 0;  // write bursts, oldest first, whose data are complete
    bool r_valid_ = false, b_valid_ = false, read_last_ = false;
    uint64_t tokens_ = 0, now_ = 0, in_reset_ = 0;
    Held ar_{}, aw_{}, w_{};
    std::string violation_;
};
