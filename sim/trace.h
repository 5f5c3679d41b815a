// SPDX-License-Identifier: Apache-2.0
// When each instruction was dispatched, started and done, from the trace ports of the machine.
//
// Instructions are dispatched in program order, one a cycle, and each queue is in order, so a list
// of a queue's instructions and two positions in it tell whom a start or a completion is for.
// A program begins when the core becomes busy: that drops the records of the one before.
//
// Every cycle of an engine counts for one of its instructions: for the one that it began last, or
// for the oldest that is not done where it moves data behind its addresses (LOAD, STORE, XFER); for
// the next one while the engine waits for other queues, or has none that is not done.
//
// A machine with an exchange has two queues more, whose instructions have no signature.
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

template <class Dut, class = void>
constexpr bool EXCHANGES = false;
template <class Dut>
constexpr bool EXCHANGES<Dut, std::void_t<decltype(Dut::trace_bucket_send)>> = true;

struct TraceRecord {  // TRACE in harness.py
    static constexpr unsigned BUCKETS = 15;
    uint32_t queue, signature;
    int64_t dispatch, start, done;  // cycles since the core became busy; -1: not yet
    uint32_t cycles[BUCKETS];       // of its engine, by bucket
};

class Trace {
public:
    const std::vector<TraceRecord>& records() const { return records_; }

    // Cycles since the core became busy, or -1 if it is not.
    int64_t since(uint64_t cycle) const { return busy_ ? int64_t(cycle - origin_) : -1; }

    // With every signal settled, before the clock edge.
    template <class Dut>
    void sample(const Dut& d, uint64_t cycle) {
        if (!d.trace_busy) {
            busy_ = false;
            return;
        }
        if (!busy_) begin(cycle);
        uint32_t buckets[QUEUES] = {d.trace_bucket_load, d.trace_bucket_tensor,
                                    d.trace_bucket_window, d.trace_bucket_vector,
                                    d.trace_bucket_store};
        if constexpr (EXCHANGES<Dut>) {
            buckets[SEND] = d.trace_bucket_send;
            buckets[AWAIT] = d.trace_bucket_await;
        }
        for (uint32_t q = 0; q < QUEUES; ++q)
            if (buckets[q])
                count(queues_[q], q == LOAD || q == STORE || q == SEND, __builtin_ctz(buckets[q]));
        if (!(d.trace_dispatch | d.trace_start | d.trace_done)) return;
        const uint32_t signatures[QUEUES] = {d.trace_signature_load, d.trace_signature_tensor,
                                             d.trace_signature_window, d.trace_signature_vector,
                                             d.trace_signature_store};
        const int64_t now = int64_t(cycle - origin_);
        for (uint32_t q = 0; q < QUEUES; ++q) {
            Queue& queue = queues_[q];
            if (d.trace_dispatch >> q & 1) {
                queue.members.push_back(records_.size());
                records_.push_back({q, 0, now, -1, -1, {}});
            }
            if (d.trace_start >> q & 1) records_.at(queue.members.at(queue.started++)).start = now;
            if (d.trace_done >> q & 1) {
                TraceRecord& record = records_.at(queue.members.at(queue.done++));
                record.done = now;
                record.signature = signatures[q];
            }
        }
    }

private:
    static constexpr uint32_t QUEUES = 7, LOAD = 0, STORE = 4, SEND = 5, AWAIT = 6;
    static constexpr int WAITS = 6, OVERHEAD = 11, IDLE = 12;  // in BUCKET_NAMES, isa/registers.py
    struct Queue {
        std::vector<size_t> members;
        size_t started = 0, done = 0;
    };

    void count(const Queue& queue, bool oldest, int bucket) {
        if (bucket == IDLE) return;
        size_t at = oldest ? queue.done : queue.started - 1;
        const bool waits = bucket >= WAITS && bucket != OVERHEAD;
        if (waits || queue.started == queue.done) at = queue.started;
        if (at < queue.members.size()) ++records_[queue.members[at]].cycles[bucket];
    }

    void begin(uint64_t cycle) {
        busy_ = true;
        origin_ = cycle;
        records_.clear();
        for (Queue& q : queues_) q = Queue{};
    }

    std::vector<TraceRecord> records_;
    Queue queues_[QUEUES];
    bool busy_ = false;
    uint64_t origin_ = 0;
};
