// SPDX-License-Identifier: Apache-2.0
// What writes waves, in the format that the build is for; nothing in a build without.
#pragma once

#include "verilated.h"
#if VM_TRACE_FST
#include "verilated_fst_c.h"
using Tracer = VerilatedFstC;
#elif VM_TRACE
#include "verilated_vcd_c.h"
using Tracer = VerilatedVcdC;
#endif
