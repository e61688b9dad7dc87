// thermokern._cuda: the CUDA kernels, one checked function each, with the signatures of thermokern._core and the stream
// for the number of threads. The tests build it once more, as TK_CUDA_MODULE with the emulator for the device.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "cuda_parts.hpp"
#include "cuda_running.hpp"

#if defined(TK_EMULATED)
#include <cuda_emulator.hpp>
#endif
#if !defined(TK_CUDA_MODULE)
#define TK_CUDA_MODULE _cuda
#endif

namespace tk::bindings {
namespace {

template <class T>
py::tuple moments_of(const py::object& values, std::uintptr_t stream) {
    const TensorView<T> view("values", values, {any_size}, on_device);
    const Moments m = run(view.place(), [&] { return cuda::moments(view.data(), view.size(0), stream_of(stream)); });
    return py::make_tuple(m.n, m.mean, m.m2, m.m3, m.m4);
}

template <class T>
py::tuple exponential_sums_of(const py::object& values, double scale, std::uintptr_t stream) {
    const TensorView<T> view("values", values, {any_size}, on_device);
    const ExponentialSums s =
        run(view.place(), [&] { return cuda::exponential_sums(view.data(), view.size(0), scale, stream_of(stream)); });
    return py::make_tuple(s.top, s.first, s.second);
}

// Everything that comes in both precisions.
template <class S>
void define(py::module_& module, const char* suffix) {
    using namespace py::literals;
    const auto name = [&](const char* stem) { return std::string(stem) + suffix; };
    module.def(name("moments").c_str(), &moments_of<S>, "values"_a, "stream"_a);
    module.def(name("exponential_sums").c_str(), &exponential_sums_of<S>, "values"_a, "scale"_a, "stream"_a);
}

}  // namespace
}  // namespace tk::bindings

PYBIND11_MODULE(TK_CUDA_MODULE, module) {
    using namespace tk::bindings;
    using namespace py::literals;
    module.doc() = "CUDA kernels of thermokern. Outputs are allocated by the caller.";
    module.def("absence", &tk::cuda::absence);
    define<float>(module, "_float32");
    define<double>(module, "_float64");
    define_cuda_neighbours(module);
    define_cuda_paths(module);
    define_cuda_stream(module);
#if defined(TK_EMULATED)
    module.def(
        "set_order",
        [](int order, unsigned seed) { tk::emulator::options = {static_cast<tk::emulator::Order>(order), seed}; },
        "order"_a, "seed"_a);
#endif
}
