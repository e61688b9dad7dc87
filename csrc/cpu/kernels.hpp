// The CPU kernels' interface: plain arguments in, nothing allocated for the caller, nothing thrown.
//
// Each kernel is compiled once per instruction set; kernels() gives the table for the best one that this machine has
// and that the environment variable THERMOKERN_ISA allows.
#pragma once

#include <cstdint>

#include "../core/arguments.hpp"
#include "neighbours.hpp"

namespace tk {

enum class Function : int { exp2, log, sine, cosine, sigmoid, tanh, silu, silu_slope, gelu, gelu_slope };

// A long kernel asks this now and then, from the thread that called it; true stops it, its outputs half filled.
struct Interrupt {
    bool (*requested)(void*);
    void* context;
};

// Every kernel returns true when it ran to its end.
template <class S>
struct PrecisionKernels {
    bool (*normals)(const NormalsArguments<S>&, int threads, Interrupt);
    bool (*flow)(const FlowArguments<S>&, int threads, Interrupt);
    bool (*langevin)(const LangevinArguments<S>&, int threads, Interrupt);
    bool (*score)(const ScoreArguments<S>&, const ScoreOutputs<S>&, int threads, Interrupt);
    bool (*trajectory)(const TrajectoryArguments<S>&, int threads, Interrupt);
    bool (*trajectory_averages)(const TrajectoryArguments<S>&, const AveragesArguments<S>&, int threads, Interrupt);
    bool (*stream)(const StreamArguments<S>&, int threads, Interrupt);
    bool (*hutchinson)(const ProbeArguments<S>&, int threads, Interrupt);
    NeighbourKernels<S> neighbours;
    void (*evaluate)(Function, const S* in, S* out, std::int64_t n);  // for the tests of core/math.hpp
};

struct Kernels {
    const char* name;
    int lanes;  // of float32
    PrecisionKernels<float> float32;
    PrecisionKernels<double> float64;
    void (*philox)(const std::uint32_t counter[4], std::uint64_t seed, std::uint32_t out[4]);
};

const Kernels& kernels();                   // the set in use
const char* best_instruction_set();         // what this machine could use
bool is_instruction_set(const char* name);  // whether THERMOKERN_ISA may have this value
int threads_allowed(int requested);         // 1 in a forked child, where OpenMP cannot start threads

}  // namespace tk
