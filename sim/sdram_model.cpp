// SPDX-License-Identifier: Apache-2.0
// The checking SDRAM alone in a shared library, for sim/sdram.py.
#include "sdram.h"

#define API extern "C" __attribute__((visibility("default")))

API Sdram* sdram_create(const SdramParameters* p) { return new Sdram(*p); }
API void sdram_destroy(Sdram* s) { delete s; }
API uint16_t sdram_edge(Sdram* s, const SdramPins* pins) { return s->edge(*pins); }
API const char* sdram_violation(Sdram* s) { return s->violation().c_str(); }
API void sdram_statistics(Sdram* s, SdramStatistics* to) { *to = s->statistics(); }
