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

// What this thread's kernels tell how far they are, if anybody; its reference is owned.
inline PyObject*& watcher() {
    thread_local PyObject* called = nullptr;
    return called;
}

inline void watch(const py::object& called) {
    Py_XDECREF(watcher());
    watcher() = called.is_none() ? nullptr : py::object(called).release().ptr();
}

// `context` is the share that is done.
inline bool signal_pending(void* context) {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) return true;
    if (watcher() == nullptr) return false;
    PyObject* answer = PyObject_CallFunction(watcher(), "d", *static_cast<const double*>(context));
    Py_XDECREF(answer);
    return answer == nullptr;
}

// Runs a kernel without the interpreter's lock; a signal, such as Ctrl-C, ends it and is raised, and so does an error
// of who watches.
template <class Kernel>
void uninterrupted(const Kernel& kernel) {
    bool finished;
    double share = 0;
    {
        const py::gil_scoped_release release;
        finished = kernel(Interrupt{signal_pending, &share, &share});
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
