// How the bindings call a launcher: on the device of its tensors, in the stream given, without the interpreter's lock.
#pragma once

#include <pybind11/pybind11.h>

#include "../cuda/kernels.hpp"
#include "define.hpp"

namespace tk::bindings {

#if defined(TK_EMULATED)
constexpr Place on_device = on_cpu;
#else
constexpr Place on_device{2, any_device};
#endif

inline cuda::Stream stream_of(RunOn stream) { return reinterpret_cast<cuda::Stream>(stream); }

// Runs a launcher on the device of a view, without the interpreter's lock.
template <class Launcher>
auto launched(Place place, const Launcher& launcher) {
    const py::gil_scoped_release release;
    const cuda::OnDevice device(place.index);
    return launcher();
}

// A CUDA device as the bindings see it, see define.hpp.
struct Cuda {
    static constexpr Place place = on_device;

#define TK_RUN(name, Arguments)                                              \
    template <class S>                                                       \
    static void run(const Arguments<S>& arguments, Place at, RunOn stream) { \
        launched(at, [&] { cuda::name(arguments, stream_of(stream)); });     \
    }
    TK_KERNELS(TK_RUN)
#undef TK_RUN

    template <class S>
    static Moments moments(const S* values, std::int64_t n, Place at, RunOn stream) {
        return launched(at, [&] { return cuda::moments(values, n, stream_of(stream)); });
    }
    template <class S>
    static ExponentialSums exponential_sums(const S* values, std::int64_t n, double scale, Place at, RunOn stream) {
        return launched(at, [&] { return cuda::exponential_sums(values, n, scale, stream_of(stream)); });
    }
};

}  // namespace tk::bindings
