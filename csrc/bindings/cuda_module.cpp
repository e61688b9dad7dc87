// thermokern._cuda: the CUDA kernels, one checked function each, with the signatures of thermokern._core and the stream
// for the number of threads. The tests build it once more, as TK_CUDA_MODULE with the emulator for the device.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../cuda/kernels.hpp"
#include "cuda_neighbours.hpp"
#include "cuda_paths.hpp"
#include "cuda_running.hpp"
#include "cuda_stream.hpp"
#include "score_source.hpp"

#if defined(TK_EMULATED)
#include <cuda_emulator.hpp>
#endif
#if !defined(TK_CUDA_MODULE)
#define TK_CUDA_MODULE _cuda
#endif

namespace tk::bindings {
namespace {

constexpr std::int64_t step_columns = 13;

template <class S>
void normals(std::uint64_t seed, std::uint32_t purpose, std::uint64_t path_offset, std::uint64_t first,
             const py::object& out, std::uintptr_t stream) {
    const TensorView<S> view("out", out, {any_size, any_size}, on_device);
    const NormalsArguments<S> arguments{view.size(0), view.size(1), seed, path_offset, first, purpose, view.data()};
    run(view.place(), [&] { cuda::normals(arguments, stream_of(stream)); });
}

template <class S>
void score(const std::string& kind, const py::list& tensors, const py::object& x, const py::object& score,
           const py::object& divergence, const py::object& log_density, std::uintptr_t stream) {
    const TensorView<S> points("x", x, {any_size, any_size}, on_device);
    const Place place = points.place();
    const std::int64_t n = points.size(0), dim = checked_dim(points);
    const Source<S> source("score", kind, tensors, dim, 1, place);
    const TensorView<S> score_view("score", score, {n, dim}, place),
        divergence_view("divergence", divergence, {n}, place), log_density_view("log_density", log_density, {n}, place);
    const ScoreOutputs<S> out{
        n, dim, points.data(), score_view.data(), divergence_view.data(), log_density_view.data()};
    run(place, [&] { cuda::score(source.arguments(), out, stream_of(stream)); });
}

template <class S>
void trajectory(const py::object& x, const py::object& steps, const std::string& model_kind, const py::list& model,
                const std::string& reference_kind, const py::list& reference, double divergence_weight, bool sampler,
                bool reverse, std::uint64_t seed, std::uint64_t path_offset, const py::object& value,
                const py::object& mismatch, const py::object& x_last, std::uintptr_t stream) {
    const TensorView<S> start("x", x, {any_size, any_size}, on_device);
    const Place place = start.place();
    const std::int64_t n = start.size(0), dim = checked_dim(start);
    const TensorView<S> step_table("steps", steps, {any_size, step_columns}, place);
    const std::int64_t n_nodes = step_table.size(0);
    const Source<S> model_source("model", model_kind, model, dim, n_nodes, place);
    const Source<S> reference_source("reference", reference_kind, reference, dim, n_nodes, place);
    const TensorView<S> value_view("value", value, {n}, place), mismatch_view("mismatch", mismatch, {n}, place),
        end_view("x_last", x_last, {n, dim}, place);
    const TrajectoryArguments<S> arguments{n,
                                           dim,
                                           n_nodes,
                                           step_table.data(),
                                           model_source.arguments(),
                                           reference_source.arguments(),
                                           static_cast<S>(divergence_weight),
                                           sampler,
                                           reverse,
                                           seed,
                                           path_offset,
                                           start.data(),
                                           value_view.data(),
                                           mismatch_view.data(),
                                           end_view.data()};
    run(place, [&] { cuda::trajectory(arguments, stream_of(stream)); });
}

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
    module.def(name("normals").c_str(), &normals<S>, "seed"_a, "purpose"_a, "path_offset"_a, "first"_a, "out"_a,
               "stream"_a);
    module.def(name("score").c_str(), &score<S>, "kind"_a, "tensors"_a, "x"_a, "score"_a, "divergence"_a,
               "log_density"_a, "stream"_a);
    module.def(name("trajectory").c_str(), &trajectory<S>, "x"_a, "steps"_a, "model_kind"_a, "model"_a,
               "reference_kind"_a, "reference"_a, "divergence_weight"_a, "sampler"_a, "reverse"_a, "seed"_a,
               "path_offset"_a, "value"_a, "mismatch"_a, "x_last"_a, "stream"_a);
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
