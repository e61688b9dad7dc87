// How the bindings call a kernel: in the precision asked for, without the interpreter's lock, stopped by a signal.
#pragma once

#include <pybind11/pybind11.h>

#include "../cpu/kernels.hpp"
#include "../cpu/statistics.hpp"
#include "define.hpp"

namespace tk::bindings {

template <class S>
const PrecisionKernels<S>& precision() {
    if constexpr (sizeof(S) == 4)
        return kernels().float32;
    else
        return kernels().float64;
}

inline bool signal_pending(void*) {
    const py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

// Runs a kernel without the interpreter's lock; a signal, such as Ctrl-C, ends it and is raised.
template <class Kernel>
void uninterrupted(const Kernel& kernel) {
    bool finished;
    {
        const py::gil_scoped_release release;
        finished = kernel(Interrupt{signal_pending, nullptr});
    }
    if (!finished) throw py::error_already_set();
}

// The CPU as the bindings see it, see define.hpp.
struct Cpu {
    static constexpr Place place = on_cpu;

#define TK_RUN(name, Arguments)                                                                           \
    template <class S>                                                                                    \
    static void run(const Arguments<S>& arguments, Place, RunOn threads) {                                \
        uninterrupted([&](Interrupt interrupt) {                                                          \
            return precision<S>().name(arguments, threads_allowed(static_cast<int>(threads)), interrupt); \
        });                                                                                               \
    }
    TK_KERNELS(TK_RUN)
#undef TK_RUN

    template <class S>
    static Moments moments(const S* values, std::int64_t n, Place, RunOn threads) {
        const py::gil_scoped_release release;
        return reduce_dealt<Moments>(values, n, 1.0, threads_allowed(static_cast<int>(threads)));
    }
    template <class S>
    static ExponentialSums exponential_sums(const S* values, std::int64_t n, double scale, Place, RunOn threads) {
        const py::gil_scoped_release release;
        return reduce_dealt<ExponentialSums>(values, n, scale, threads_allowed(static_cast<int>(threads)));
    }
};

}  // namespace tk::bindings
