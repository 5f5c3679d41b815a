// SPDX-License-Identifier: Apache-2.0
// Bits of memory that are to be inverted once a core has been busy for some cycles.
#pragma once

#include <cstdint>
#include <vector>

#include "dram.h"

class Flips {
public:
    // The bits of `mask` in a byte of memory, in the first cycle behind `after`.
    void add(uint64_t address, uint8_t mask, int64_t after) {
        flips_.push_back({address, mask, after});
    }

    // `now`: cycles since the core became busy, or -1.
    void apply(int64_t now, Memory& memory) {
        for (auto f = flips_.begin(); f != flips_.end();) {
            if (now < f->after) {
                ++f;
                continue;
            }
            if (uint8_t* byte = memory.at(f->address, 1)) *byte ^= f->mask;
            f = flips_.erase(f);
        }
    }

private:
    struct Flip { uint64_t address; uint8_t mask; int64_t after; };
    std::vector<Flip> flips_;
};
