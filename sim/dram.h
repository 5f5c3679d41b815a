// SPDX-License-Identifier: Apache-2.0
// The memory behind one AXI port or several (axi_port.h): bytes, and channels that move them.
//
// Addresses go to the channels in turn, INTERLEAVE bytes each. A channel is a DRAM with one data
// bus: a token bucket for both directions, where `bandwidth` is the share of "one beat a cycle"
// that it gives. Of the ports that want it one has its turn, and reads and writes by turns if it
// wants both; the turn goes round when a burst ends, or the part of a burst in a channel's
// INTERLEAVE bytes. A port that wants nothing holds up nobody. So ports that always want something
// get equal shares, however many bursts each has in flight, and none waits longer than for
// INTERLEAVE bytes in each direction of each of the others.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

enum : uint8_t { OKAY = 0, SLVERR = 2, DECERR = 3 };

struct DramParameters {
    uint32_t read_latency;   // cycles from the address to the first beat, 1 or more
    uint32_t write_latency;  // cycles from the last beat to the response, 1 or more
    uint32_t bandwidth;      // of a channel, beats a cycle, times 65536
    uint32_t max_reads;      // bursts of a port in flight before ARREADY falls
    uint32_t max_writes;     // bursts of a port in flight before AWREADY falls
    uint32_t max_burst;      // beats; a longer burst is a violation
    uint32_t stall;          // probability that a channel of AXI stalls in a cycle, times 65536
    uint32_t seed;
    uint32_t reorder;   // probability that a beat is of another ID than the oldest burst's
    uint32_t channels;  // 1 or more
};

class Memory {
public:
    void segment(uint64_t base, uint64_t size) { segments_.push_back({base, Bytes(size)}); }
    // Answer with `resp` from low up to high; the last word on an address counts, OKAY lifts it.
    void inject(uint64_t low, uint64_t high, uint8_t resp) { errors_.push_back({low, high, resp}); }

    // Bytes of allocated memory, or null if part of them is not.
    uint8_t* at(uint64_t address, uint64_t size) {
        for (auto& s : segments_)
            if (address >= s.base && address - s.base < s.bytes.size() &&
                size <= s.bytes.size() - (address - s.base))
                return s.bytes.data() + (address - s.base);
        return nullptr;
    }

    uint8_t response(uint64_t address, uint64_t size) {
        uint8_t resp = at(address, size) ? OKAY : DECERR;
        for (auto& e : errors_)
            if (address + size > e.low && address < e.high && at(address, size)) resp = e.resp;
        return resp;
    }

private:
    using Bytes = std::vector<uint8_t>;
    struct Segment { uint64_t base; Bytes bytes; };
    struct Range { uint64_t low, high; uint8_t resp; };
    std::vector<Segment> segments_;
    std::vector<Range> errors_;
};

class Channels {
public:
    static constexpr uint64_t INTERLEAVE = 512;

    explicit Channels(const DramParameters& p) : bandwidth_(p.bandwidth), channels_(p.channels) {}

    uint32_t count() const { return channels_.size(); }
    uint32_t of(uint64_t address) const { return address / INTERLEAVE % channels_.size(); }
    uint64_t beats(uint32_t channel) const { return channels_[channel].beats; }

    // One cycle: each channel moves a beat of the port whose turn it is, or of the next one that
    // wants it. Ports say so (`reads`, `writes`), and move it (`read`, `write`: does a turn end?).
    template <class Port>
    void serve(std::vector<Port*>& ports) {
        for (uint32_t c = 0; c < channels_.size(); ++c) {
            Channel& me = channels_[c];
            me.tokens = std::min(me.tokens + bandwidth_, ONE + bandwidth_ - 1);
            if (me.tokens < ONE) continue;
            for (size_t i = 0; i < ports.size(); ++i) {
                Port& port = *ports[(me.turn + i) % ports.size()];
                bool read = port.reads(c), write = port.writes(c);
                if (!read && !write) continue;
                if (read && write) (me.read_last ? read : write) = false;
                me.tokens -= ONE;
                ++me.beats;
                me.read_last = read;
                const bool ends = read ? port.read(c) : port.write(c);
                me.turn = (me.turn + i + ends) % ports.size();
                break;
            }
        }
    }

private:
    static constexpr uint64_t ONE = 65536;
    struct Channel {
        uint64_t tokens = 0, beats = 0;
        size_t turn = 0;
        bool read_last = false;
    };
    uint64_t bandwidth_;
    std::vector<Channel> channels_;
};
