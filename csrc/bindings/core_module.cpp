// thermokern._core: the CPU kernels, one checked function each.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdlib>

#include "../core/moments.hpp"
#include "flow.hpp"
#include "langevin.hpp"
#include "neighbours.hpp"
#include "running.hpp"
#include "score_source.hpp"

namespace tk::bindings {

void define_stream(py::module_& module);  // stream.cpp

namespace {

constexpr std::int64_t step_columns = 13, rate_columns = 5, observables = 7;

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

// The paths of a trajectory, both their sources, and where they end.
template <class S>
class Paths {
 public:
    Paths(const py::object& x, const py::object& steps, const std::string& model_kind, const py::list& model,
          const std::string& reference_kind, const py::list& reference, const py::object& x_last)
        : start_("x", x, {any_size, any_size}),
          steps_("steps", steps, {any_size, step_columns}),
          model_("model", model_kind, model, checked_dim(start_), steps_.size(0)),
          reference_("reference", reference_kind, reference, start_.size(1), steps_.size(0)),
          end_("x_last", x_last, {start_.size(0), start_.size(1)}) {}

    std::int64_t n() const { return start_.size(0); }
    std::int64_t n_nodes() const { return steps_.size(0); }
    TrajectoryArguments<S> arguments(bool reverse, std::uint64_t seed, std::uint64_t path_offset) const {
        TrajectoryArguments<S> arguments{};
        arguments.n = n();
        arguments.dim = start_.size(1);
        arguments.n_nodes = n_nodes();
        arguments.steps = steps_.data();
        arguments.model = model_.arguments();
        arguments.reference = reference_.arguments();
        arguments.reverse = reverse;
        arguments.seed = seed;
        arguments.path_offset = path_offset;
        arguments.x = start_.data();
        arguments.x_last = end_.data();
        return arguments;
    }

 private:
    TensorView<S> start_, steps_;
    Source<S> model_, reference_;
    TensorView<S> end_;
};

template <class S>
void trajectory(const py::object& x, const py::object& steps, const std::string& model_kind, const py::list& model,
                const std::string& reference_kind, const py::list& reference, double divergence_weight, bool sampler,
                bool reverse, std::uint64_t seed, std::uint64_t path_offset, const py::object& value,
                const py::object& mismatch, const py::object& x_last, int threads) {
    const Paths<S> paths(x, steps, model_kind, model, reference_kind, reference, x_last);
    const TensorView<S> value_view("value", value, {paths.n()}), mismatch_view("mismatch", mismatch, {paths.n()});
    TrajectoryArguments<S> arguments = paths.arguments(reverse, seed, path_offset);
    arguments.divergence_weight = static_cast<S>(divergence_weight);
    arguments.sampler = sampler;
    arguments.value = value_view.data();
    arguments.mismatch = mismatch_view.data();
    run([&](Interrupt interrupt) { return precision<S>().trajectory(arguments, threads_allowed(threads), interrupt); });
}

template <class S>
void trajectory_averages(const py::object& x, const py::object& steps, const py::object& rates,
                         const std::string& model_kind, const py::list& model, const std::string& reference_kind,
                         const py::list& reference, std::uint64_t seed, std::uint64_t path_offset,
                         const py::object& mean, const py::object& m2, const py::object& integrals,
                         const py::object& x_last, int threads) {
    const Paths<S> paths(x, steps, model_kind, model, reference_kind, reference, x_last);
    const TensorView<S> rate_table("rates", rates, {paths.n_nodes(), rate_columns}),
        integral_view("integrals", integrals, {paths.n(), observables});
    const TensorView<double> mean_view("mean", mean, {paths.n_nodes(), observables}),
        m2_view("m2", m2, {paths.n_nodes(), observables});
    const AveragesArguments<S> averages{rate_table.data(), mean_view.data(), m2_view.data(), integral_view.data()};
    const TrajectoryArguments<S> arguments = paths.arguments(false, seed, path_offset);
    run([&](Interrupt interrupt) {
        return precision<S>().trajectory_averages(arguments, averages, threads_allowed(threads), interrupt);
    });
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
    module.def(name("trajectory_averages").c_str(), &trajectory_averages<S>, "x"_a, "steps"_a, "rates"_a,
               "model_kind"_a, "model"_a, "reference_kind"_a, "reference"_a, "seed"_a, "path_offset"_a, "mean"_a,
               "m2"_a, "integrals"_a, "x_last"_a, "threads"_a);
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
    define_neighbours(module);
    define_stream(module);
    module.def("philox", &philox, "counter"_a, "seed"_a);
}
