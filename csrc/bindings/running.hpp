// How the bindings call a kernel: in the precision asked for, without the interpreter's lock, stopped by a signal.
#pragma once

#include <pybind11/pybind11.h>

#include "../cpu/kernels.hpp"

namespace tk::bindings {

namespace py = pybind11;

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

}  // namespace tk::bindings
