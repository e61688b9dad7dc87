// How the bindings call a kernel: in the precision asked for, without the interpreter's lock, stopped by a signal.
#pragma once

#include <pybind11/pybind11.h>

#include "../cpu/kernels.hpp"
#include "tensor_view.hpp"

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
void run(const Kernel& kernel) {
    bool finished;
    {
        const py::gil_scoped_release release;
        finished = kernel(Interrupt{signal_pending, nullptr});
    }
    if (!finished) throw py::error_already_set();
}

// The kernels of the CPU by name, see path_ops.hpp.
struct Cpu {
    using Last = int;
    static constexpr const char* last = "threads";
    static constexpr Place place = on_cpu;

    template <class S>
    static void normals(const NormalsArguments<S>& a, Place, Last threads) {
        run([&](Interrupt interrupt) { return precision<S>().normals(a, threads_allowed(threads), interrupt); });
    }
    template <class S>
    static void score(const ScoreArguments<S>& a, const ScoreOutputs<S>& out, Place, Last threads) {
        run([&](Interrupt interrupt) { return precision<S>().score(a, out, threads_allowed(threads), interrupt); });
    }
    template <class S>
    static void trajectory(const TrajectoryArguments<S>& a, Place, Last threads) {
        run([&](Interrupt interrupt) { return precision<S>().trajectory(a, threads_allowed(threads), interrupt); });
    }
    template <class S>
    static void trajectory_averages(const TrajectoryArguments<S>& a, const AveragesArguments<S>& averages, Place,
                                    Last threads) {
        run([&](Interrupt interrupt) {
            return precision<S>().trajectory_averages(a, averages, threads_allowed(threads), interrupt);
        });
    }
    template <class S>
    static void flow(const FlowArguments<S>& a, Place, Last threads) {
        run([&](Interrupt interrupt) { return precision<S>().flow(a, threads_allowed(threads), interrupt); });
    }
    template <class S>
    static void langevin(const LangevinArguments<S>& a, Place, Last threads) {
        run([&](Interrupt interrupt) { return precision<S>().langevin(a, threads_allowed(threads), interrupt); });
    }
    template <class S>
    static void trajectory_step(const StreamArguments<S>& a, Place, Last threads) {
        run([&](Interrupt interrupt) { return precision<S>().stream(a, threads_allowed(threads), interrupt); });
    }
    template <class S>
    static void hutchinson(const ProbeArguments<S>& a, Place, Last threads) {
        run([&](Interrupt interrupt) { return precision<S>().hutchinson(a, threads_allowed(threads), interrupt); });
    }
    template <class S>
    static void build(const BuildArguments<S>& a, Place, Last threads) {
        run([&](Interrupt interrupt) {
            return precision<S>().neighbours.build(a, threads_allowed(threads), interrupt);
        });
    }
    template <class S>
    static void search(const NeighbourArguments<S>& a, Place, Last threads) {
        run([&](Interrupt interrupt) {
            return precision<S>().neighbours.search(a, threads_allowed(threads), interrupt);
        });
    }
    template <class S>
    static void count(const CountArguments<S>& a, Place, Last threads) {
        run([&](Interrupt interrupt) {
            return precision<S>().neighbours.count(a, threads_allowed(threads), interrupt);
        });
    }
};

}  // namespace tk::bindings
