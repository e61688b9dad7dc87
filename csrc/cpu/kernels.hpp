// The CPU kernels' interface: plain arguments in, nothing allocated for the caller, nothing thrown.
//
// Each kernel is compiled once per instruction set; kernels() gives the table for the best one that this machine has
// and that the environment variable THERMOKERN_ISA allows.
#pragma once

#include <cstdint>

#include "../core/arguments.hpp"

namespace tk {

enum class Function : int { exp2, log, sine, cosine, sigmoid, tanh, silu, silu_slope, gelu, gelu_slope };
constexpr const char* functions[] = {"exp2", "log",  "sine",       "cosine", "sigmoid",
                                     "tanh", "silu", "silu_slope", "gelu",   "gelu_slope"};

// A long kernel asks this now and then, from the thread that called it; true stops it, its outputs half filled. Before
// it asks, it writes what share is done, if it knows.
struct Interrupt {
    bool (*requested)(void*);
    void* context;
    double* share = nullptr;
};

// Every kernel returns true when it ran to its end.
template <class S>
struct PrecisionKernels {
#define TK_ENTRY(name, Arguments) bool (*name)(const Arguments<S>&, int threads, Interrupt);
    TK_KERNELS(TK_ENTRY)
#undef TK_ENTRY
    void (*evaluate)(Function, const S* in, S* out, std::int64_t n);  // for the tests of core/math.hpp
};

struct Kernels {
    const char* name;
    int lanes;  // of float32
    PrecisionKernels<float> float32;
    PrecisionKernels<double> float64;
    void (*philox)(const std::uint32_t counter[4], std::uint64_t seed, std::uint32_t out[4]);
};

const Kernels& kernels();                 // the set in use
const char* best_instruction_set();       // what this machine could use
const char* instruction_set(int number);  // those built, from the lowest, which THERMOKERN_ISA may name; null past them
int threads_allowed(int requested);       // 1 in a forked child, where OpenMP cannot start threads

}  // namespace tk
