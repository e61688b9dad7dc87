// thermokern._core: the CPU kernels, one checked function each.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdlib>

#include "../core/moments.hpp"
#include "flow.hpp"
#include "langevin.hpp"
#include "running.hpp"
#include "score_source.hpp"

namespace tk::bindings {
namespace {

constexpr std::int64_t step_columns = 13;

template <class S>
void normals(std::uint64_t seed, std::uint32_t purpose, std::uint64_t path_offset, std::uint64_t first,
             const py::object& out, int threads) {
    const TensorView<S> view("out", out, {any_size, any_size});
    const NormalsArguments<S> arguments{view.size(0), view.size(1), seed, path_offset, first, purpose, view.data()};
    run([&](Interrupt interrupt) { return precision<S>().normals(arguments, threads_allowed(threads), interrupt); });
}

template <class S>
void score(const std::string& kind, const py::list& tensors, const py::object& x, const py::object& score,
           const py::object& divergence, const py::object& log_density, int threads) {
    const TensorView<S> points("x", x, {any_size, any_size});
    const std::int64_t n = points.size(0), dim = checked_dim(points);
    const Source<S> source("score", kind, tensors, dim, 1);
    const TensorView<S> score_view("score", score, {n, dim}), divergence_view("divergence", divergence, {n}),
        log_density_view("log_density", log_density, {n});
    const ScoreOutputs<S> out{
        n, dim, points.data(), score_view.data(), divergence_view.data(), log_density_view.data()};
    run([&](Interrupt interrupt) {
        return precision<S>().score(source.arguments(), out, threads_allowed(threads), interrupt);
    });
}

template <class S>
void trajectory(const py::object& x, const py::object& steps, const std::string& model_kind, const py::list& model,
                const std::string& reference_kind, const py::list& reference, double divergence_weight, bool sampler,
                bool reverse, std::uint64_t seed, std::uint64_t path_offset, const py::object& value,
                const py::object& mismatch, const py::object& x_last, int threads) {
    const TensorView<S> start("x", x, {any_size, any_size});
    const std::int64_t n = start.size(0), dim = checked_dim(start);
    const TensorView<S> step_table("steps", steps, {any_size, step_columns});
    const std::int64_t n_nodes = step_table.size(0);
    const Source<S> model_source("model", model_kind, model, dim, n_nodes);
    const Source<S> reference_source("reference", reference_kind, reference, dim, n_nodes);
    const TensorView<S> value_view("value", value, {n}), mismatch_view("mismatch", mismatch, {n}),
        end_view("x_last", x_last, {n, dim});
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
    run([&](Interrupt interrupt) { return precision<S>().trajectory(arguments, threads_allowed(threads), interrupt); });
}

template <class T>
py::tuple moments_of(const py::object& values) {
    const TensorView<T> view("values", values, {any_size});
    const Moments m = reduce<Moments>(view.data(), view.size(0), 1.0);
    return py::make_tuple(m.n, m.mean, m.m2, m.m3, m.m4);
}

template <class T>
py::tuple exponential_sums_of(const py::object& values, double scale) {
    const TensorView<T> view("values", values, {any_size});
    const ExponentialSums s = reduce<ExponentialSums>(view.data(), view.size(0), scale);
    return py::make_tuple(s.top, s.first, s.second);
}

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t seed) {
    std::array<std::uint32_t, 4> out;
    kernels().philox(counter.data(), seed, out.data());
    return out;
}

template <class S>
void evaluate(const std::string& function, const py::object& in, const py::object& out) {
    constexpr std::array<const char*, 10> names{"exp2", "log",  "sine",       "cosine", "sigmoid",
                                                "tanh", "silu", "silu_slope", "gelu",   "gelu_slope"};
    const TensorView<S> in_view("x", in, {any_size});
    const TensorView<S> out_view("out", out, {in_view.size(0)});
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (function == names[i])
            return precision<S>().evaluate(static_cast<Function>(i), in_view.data(), out_view.data(), in_view.size(0));
    }
    throw py::value_error("function: unknown '" + function + "'");
}

// Everything that comes in both precisions.
template <class S>
void define(py::module_& module, const char* suffix) {
    using namespace py::literals;
    const auto name = [&](const char* stem) { return std::string(stem) + suffix; };
    module.def(name("normals").c_str(), &normals<S>, "seed"_a, "purpose"_a, "path_offset"_a, "first"_a, "out"_a,
               "threads"_a);
    module.def(name("score").c_str(), &score<S>, "kind"_a, "tensors"_a, "x"_a, "score"_a, "divergence"_a,
               "log_density"_a, "threads"_a);
    module.def(name("trajectory").c_str(), &trajectory<S>, "x"_a, "steps"_a, "model_kind"_a, "model"_a,
               "reference_kind"_a, "reference"_a, "divergence_weight"_a, "sampler"_a, "reverse"_a, "seed"_a,
               "path_offset"_a, "value"_a, "mismatch"_a, "x_last"_a, "threads"_a);
    module.def(name("moments").c_str(), &moments_of<S>, "values"_a);
    module.def(name("exponential_sums").c_str(), &exponential_sums_of<S>, "values"_a, "scale"_a);
    module.def(name("evaluate").c_str(), &evaluate<S>, "function"_a, "x"_a, "out"_a);
}

}  // namespace
}  // namespace tk::bindings

PYBIND11_MODULE(_core, module) {
    using namespace tk::bindings;
    using namespace py::literals;
    const char* wanted = std::getenv("THERMOKERN_ISA");
    if (wanted != nullptr && !tk::is_instruction_set(wanted))
        throw py::import_error(std::string("THERMOKERN_ISA: expected baseline, avx2 or avx512, got '") + wanted + "'");

    module.doc() = "CPU kernels of thermokern. Outputs are allocated by the caller.";
    module.attr("instruction_set") = tk::kernels().name;
    module.attr("best_instruction_set") = tk::best_instruction_set();
    module.attr("lanes") = tk::kernels().lanes;
    define<float>(module, "_float32");
    define<double>(module, "_float64");
    define_flow(module);
    define_langevin(module);
    module.def("philox", &philox, "counter"_a, "seed"_a);
}
