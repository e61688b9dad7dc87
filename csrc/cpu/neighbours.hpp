// The neighbour kernels' interface.
#pragma once

#include "../core/point_sets.hpp"

namespace tk {

struct Interrupt;

// Every kernel returns true when it ran to its end.
template <class S>
struct NeighbourKernels {
    bool (*build)(const BuildArguments<S>&, int threads, Interrupt);
    bool (*search)(const NeighbourArguments<S>&, int threads, Interrupt);
    bool (*count)(const CountArguments<S>&, int threads, Interrupt);
};

}  // namespace tk
