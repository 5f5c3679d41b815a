// SPDX-License-Identifier: Apache-2.0
// xorshift64*: what a simulation leaves to chance is the same on every machine.
#pragma once

#include <cstdint>

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
