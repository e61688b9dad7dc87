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

// The kernels of a CUDA device by name, see path_ops.hpp.
struct Cuda {
    using Last = std::uintptr_t;
    static constexpr const char* last = "stream";
    static constexpr Place place = on_device;

    template <class S>
    static void normals(const NormalsArguments<S>& a, Place at, Last stream) {
        run(at, [&] { cuda::normals(a, stream_of(stream)); });
    }
    template <class S>
    static void score(const ScoreArguments<S>& a, const ScoreOutputs<S>& out, Place at, Last stream) {
        run(at, [&] { cuda::score(a, out, stream_of(stream)); });
    }
    template <class S>
    static void trajectory(const TrajectoryArguments<S>& a, Place at, Last stream) {
        run(at, [&] { cuda::trajectory(a, stream_of(stream)); });
    }
    template <class S>
    static void trajectory_averages(const TrajectoryArguments<S>& a, const AveragesArguments<S>& averages, Place at,
                                    Last stream) {
        run(at, [&] { cuda::trajectory_averages(a, averages, stream_of(stream)); });
    }
    template <class S>
    static void flow(const FlowArguments<S>& a, Place at, Last stream) {
        run(at, [&] { cuda::flow(a, stream_of(stream)); });
    }
    template <class S>
    static void langevin(const LangevinArguments<S>& a, Place at, Last stream) {
        run(at, [&] { cuda::langevin(a, stream_of(stream)); });
    }
    template <class S>
    static void trajectory_step(const StreamArguments<S>& a, Place at, Last stream) {
        run(at, [&] { cuda::trajectory_step(a, stream_of(stream)); });
    }
    template <class S>
    static void hutchinson(const ProbeArguments<S>& a, Place at, Last stream) {
        run(at, [&] { cuda::hutchinson(a, stream_of(stream)); });
    }
    template <class S>
    static void build(const BuildArguments<S>& a, Place at, Last stream) {
        run(at, [&] { cuda::build(a, stream_of(stream)); });
    }
    template <class S>
    static void search(const NeighbourArguments<S>& a, Place at, Last stream) {
        run(at, [&] { cuda::search(a, stream_of(stream)); });
    }
    template <class S>
    static void count(const CountArguments<S>& a, Place at, Last stream) {
        run(at, [&] { cuda::count(a, stream_of(stream)); });
    }
};

}  // namespace tk::bindings
