// Averages over paths, the probability-flow equation, and linear Langevin paths.
#include "cuda_paths.hpp"

#include "cuda_running.hpp"
#include "score_source.hpp"

namespace tk::bindings {
namespace {

constexpr std::int64_t step_columns = 13, rate_columns = 5, observables = 7, flow_columns = 2;

template <class S>
void trajectory_averages(const py::object& x, const py::object& steps, const py::object& rates,
                         const std::string& model_kind, const py::list& model, const std::string& reference_kind,
                         const py::list& reference, std::uint64_t seed, std::uint64_t path_offset,
                         const py::object& mean, const py::object& m2, const py::object& integrals,
                         const py::object& x_last, std::uintptr_t stream) {
    const TensorView<S> start("x", x, {any_size, any_size}, on_device);
    const Place place = start.place();
    const std::int64_t n = start.size(0), dim = checked_dim(start);
    const TensorView<S> step_table("steps", steps, {any_size, step_columns}, place);
    const std::int64_t n_nodes = step_table.size(0);
    const TensorView<S> rate_table("rates", rates, {n_nodes, rate_columns}, place);
    const Source<S> model_source("model", model_kind, model, dim, n_nodes, place);
    const Source<S> reference_source("reference", reference_kind, reference, dim, n_nodes, place);
    const TensorView<double> mean_view("mean", mean, {n_nodes, observables}, place),
        m2_view("m2", m2, {n_nodes, observables}, place);
    const TensorView<S> integrals_view("integrals", integrals, {n, observables}, place),
        end_view("x_last", x_last, {n, dim}, place);
    TrajectoryArguments<S> paths{};
    paths.n = n;
    paths.dim = dim;
    paths.n_nodes = n_nodes;
    paths.steps = step_table.data();
    paths.model = model_source.arguments();
    paths.reference = reference_source.arguments();
    paths.seed = seed;
    paths.path_offset = path_offset;
    paths.x = start.data();
    paths.x_last = end_view.data();
    const AveragesArguments<S> averages{rate_table.data(), mean_view.data(), m2_view.data(), integrals_view.data()};
    run(place, [&] { cuda::trajectory_averages(paths, averages, stream_of(stream)); });
}

template <class S>
void flow(const py::object& x, const py::object& table, int levels, const std::string& kind, const py::list& tensors,
          double rtol, double atol, const py::object& x_last, const py::object& divergence,
          const py::object& evaluations, const py::object& status, std::uintptr_t stream) {
    check(levels >= 4 && levels <= 20, "levels: expected 4 to 20, got " + std::to_string(levels));
    const std::int64_t n_nodes = 9 * (std::int64_t(1) << levels) - 3;
    const TensorView<S> points("x", x, {any_size, any_size}, on_device);
    const Place place = points.place();
    const std::int64_t n = points.size(0), dim = checked_dim(points);
    const TensorView<S> columns("table", table, {n_nodes, flow_columns}, place);
    const Source<S> source("score", kind, tensors, dim, n_nodes, place);
    const TensorView<S> last("x_last", x_last, {n, dim}, place), gathered("divergence", divergence, {n}, place);
    const TensorView<std::int64_t> counted("evaluations", evaluations, {n}, place), ended("status", status, {n}, place);
    const FlowArguments<S> arguments{n,
                                     dim,
                                     n_nodes,
                                     levels,
                                     columns.data(),
                                     source.arguments(),
                                     static_cast<S>(rtol),
                                     static_cast<S>(atol),
                                     points.data(),
                                     last.data(),
                                     gathered.data(),
                                     counted.data(),
                                     ended.data()};
    run(place, [&] { cuda::flow(arguments, stream_of(stream)); });
}

template <class S>
void langevin(const py::object& x, const py::object& drift, const py::object& noise, const py::object& circulation,
              const py::object& steps, std::uint64_t seed, std::uint64_t path_offset, const py::object& x_last,
              const py::object& work, std::uintptr_t stream) {
    const TensorView<S> start("x", x, {any_size, any_size}, on_device);
    const Place place = start.place();
    const std::int64_t n = start.size(0), dim = checked_dim(start);
    const TensorView<S> drift_view("drift", drift, {dim, dim}, place), noise_view("noise", noise, {dim, dim}, place),
        circulation_view("circulation", circulation, {dim, dim}, place),
        step_table("steps", steps, {any_size, 2}, place);
    const TensorView<S> end_view("x_last", x_last, {n, dim}, place), work_view("work", work, {n}, place);
    const LangevinArguments<S> arguments{n,
                                         dim,
                                         step_table.size(0),
                                         drift_view.data(),
                                         noise_view.data(),
                                         circulation_view.data(),
                                         step_table.data(),
                                         seed,
                                         path_offset,
                                         start.data(),
                                         end_view.data(),
                                         work_view.data()};
    run(place, [&] { cuda::langevin(arguments, stream_of(stream)); });
}

template <class S>
void define(py::module_& module, const char* suffix) {
    using namespace py::literals;
    const auto name = [&](const char* stem) { return std::string(stem) + suffix; };
    module.def(name("trajectory_averages").c_str(), &trajectory_averages<S>, "x"_a, "steps"_a, "rates"_a,
               "model_kind"_a, "model"_a, "reference_kind"_a, "reference"_a, "seed"_a, "path_offset"_a, "mean"_a,
               "m2"_a, "integrals"_a, "x_last"_a, "stream"_a);
    module.def(name("flow").c_str(), &flow<S>, "x"_a, "table"_a, "levels"_a, "kind"_a, "tensors"_a, "rtol"_a, "atol"_a,
               "x_last"_a, "divergence"_a, "evaluations"_a, "status"_a, "stream"_a);
    module.def(name("langevin").c_str(), &langevin<S>, "x"_a, "drift"_a, "noise"_a, "circulation"_a, "steps"_a,
               "seed"_a, "path_offset"_a, "x_last"_a, "work"_a, "stream"_a);
}

}  // namespace

void define_cuda_paths(py::module_& module) {
    define<float>(module, "_float32");
    define<double>(module, "_float64");
}

}  // namespace tk::bindings
