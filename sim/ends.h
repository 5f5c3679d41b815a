// SPDX-License-Identifier: Apache-2.0
// How a call of a harness ends, for harness.py, and what Verilator calls where a design ends it.
#pragma once

#include <stdexcept>
#include <string>

enum Status { IRQ = 0, LIMIT = 1, VIOLATION = 2, STOPPED = 3, CANCELED = 4, NO_ANSWER = 5 };

// Verilator's ways to end the process become exceptions, which the interface below reports.
void vl_finish(const char* file, int line, const char*) {
    throw std::runtime_error(std::string("$finish at ") + file + ":" + std::to_string(line));
}
void vl_stop(const char* file, int line, const char*) {
    throw std::runtime_error(std::string("assertion at ") + file + ":" + std::to_string(line));
}
void vl_fatal(const char* file, int line, const char*, const char* text) {
    throw std::runtime_error(std::string(text) + " at " + file + ":" + std::to_string(line));
}
