// SPDX-License-Identifier: Apache-2.0
// The interface of a harness for harness.py: what `class Harness`, defined before, can do.
#pragma once

namespace {

template <class F>
int guarded(Harness* h, F f) {
    try {
        return f();
    } catch (const std::exception& e) {
        h->message = "the simulated design" + h->culprit() + " stopped in cycle " +
                     std::to_string(h->cycle) + ": " + e.what();
        return STOPPED;
    }
}

}  // namespace

#define API extern "C" __attribute__((visibility("default")))

API Harness* harness_create(const DramParameters* p, uint32_t cores) {
    return new Harness(*p, cores);
}
API void harness_destroy(Harness* h) { delete h; }
API unsigned harness_bus_bytes() { return Harness::BEAT; }
API uint64_t harness_cycle(Harness* h) { return h->cycle; }
API const char* harness_message(Harness* h) { return h->message.c_str(); }
API void harness_statistics(Harness* h, uint32_t core, DramStatistics* to) {
    *to = h->port(core).statistics();
}
API uint64_t harness_channel_beats(Harness* h, uint32_t channel) {
    return h->beats(channel);
}
API int harness_segment(Harness* h, uint64_t base, uint64_t n) {
    try {
        h->memory.segment(base, n);
    } catch (const std::bad_alloc&) {
        return 0;
    }
    return 1;
}
API uint8_t* harness_memory(Harness* h, uint64_t at, uint64_t n) { return h->memory.at(at, n); }
API void harness_inject(Harness* h, uint64_t low, uint64_t high, uint32_t resp) {
    h->memory.inject(low, high, resp);
}
API void harness_misbehave(Harness* h, uint32_t what, uint32_t id, uint64_t burst) {
    h->port(0).misbehave(what, id, burst);
}
API const TraceRecord* harness_trace(Harness* h, uint32_t core, uint64_t* n) {
    auto& records = h->trace(core).records();
    *n = records.size();
    return records.data();
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
API int harness_write(Harness* h, uint32_t core, uint32_t address, uint32_t data,
                      uint32_t* resp) {
    return guarded(h, [&] { return h->write(core, address, data, resp); });
}
API int harness_read(Harness* h, uint32_t core, uint32_t address, uint32_t* data,
                     uint32_t* resp) {
    return guarded(h, [&] { return h->read(core, address, data, resp); });
}
API void harness_post(Harness* h, uint32_t core, uint32_t address, uint32_t data,
                      uint64_t delay) {
    h->control(core).write(address, data, delay);
}
API int harness_run(Harness* h, uint64_t limit, uint64_t mask, uint32_t any, uint64_t every,
                    int (*progress)(uint64_t)) {
    return guarded(h, [&] { return h->run(limit, mask, any, every, progress); });
}
API uint64_t harness_ended(Harness* h, uint32_t core) { return h->ended(core); }
