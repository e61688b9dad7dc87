// How the bindings call a launcher: on the device of its tensors, in the stream given, without the interpreter's lock.
#pragma once

#include <pybind11/pybind11.h>

#include "../cuda/kernels.hpp"
#include "tensor_view.hpp"

namespace tk::bindings {

#if defined(TK_EMULATED)
constexpr Place on_device = on_cpu;
#else
constexpr Place on_device{2, any_device};
#endif

inline cuda::Stream stream_of(std::uintptr_t stream) { return reinterpret_cast<cuda::Stream>(stream); }

// Runs a launcher on the device of a view, without the interpreter's lock.
template <class Launcher>
auto run(Place place, const Launcher& launcher) {
    const py::gil_scoped_release release;
    const cuda::OnDevice device(place.index);
    return launcher();
}

}  // namespace tk::bindings
