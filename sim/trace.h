// SPDX-License-Identifier: Apache-2.0
// When each instruction was dispatched, started and done, from the trace ports of the machine.
//
// Instructions are dispatched in program order, one a cycle, and each queue is in order, so a list
// of a queue's instructions and two positions in it tell whom a start or a completion is for.
// A program begins when the core becomes busy: that drops the records of the one before.
#pragma once

#include <cstdint>
#include <vector>

struct TraceRecord {  // TRACE in harness.py
    uint32_t queue, signature;
    int64_t dispatch, start, done;  // cycles since the core became busy; -1: not yet
};

class Trace {
public:
    const std::vector<TraceRecord>& records() const { return records_; }

    // With every signal settled, before the clock edge.
    template <class Dut>
    void sample(const Dut& d, uint64_t cycle) {
        if (!d.trace_busy) {
            busy_ = false;
            return;
        }
        if (!busy_) begin(cycle);
        if (!(d.trace_dispatch | d.trace_start | d.trace_done)) return;
        const uint32_t signatures[QUEUES] = {d.trace_signature_load, d.trace_signature_tensor,
                                             d.trace_signature_window, d.trace_signature_vector,
                                             d.trace_signature_store};
        const int64_t now = int64_t(cycle - origin_);
        for (uint32_t q = 0; q < QUEUES; ++q) {
            Queue& queue = queues_[q];
            if (d.trace_dispatch >> q & 1) {
                queue.members.push_back(records_.size());
                records_.push_back({q, 0, now, -1, -1});
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
    static constexpr uint32_t QUEUES = 5;
    struct Queue {
        std::vector<size_t> members;
        size_t started = 0, done = 0;
    };

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
