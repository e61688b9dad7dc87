// Normals, scores and everything that runs along paths, as the bindings of every machine take them: tensors checked
// once, and the arguments made of them. A Machine has the place of its tensors, the last argument of its functions, and
// its kernels by name.
#pragma once

#include "score_source.hpp"

namespace tk::bindings {

template <class Machine, class S>
void normals(std::uint64_t seed, std::uint32_t purpose, std::uint64_t path_offset, std::uint64_t first,
             const py::object& out, typename Machine::Last last) {
    const TensorView<S> view("out", out, {any_size, any_size}, Machine::place);
    const NormalsArguments<S> arguments{view.size(0), view.size(1), seed, path_offset, first, purpose, view.data()};
    Machine::normals(arguments, view.place(), last);
}

template <class Machine, class S>
void score(const std::string& kind, const py::list& tensors, const py::object& x, const py::object& score,
           const py::object& divergence, const py::object& log_density, typename Machine::Last last) {
    const TensorView<S> points("x", x, {any_size, any_size}, Machine::place);
    const Place place = points.place();
    const std::int64_t n = points.size(0), dim = checked_dim(points);
    const Source<S> source("score", kind, tensors, dim, 1, place);
    const TensorView<S> score_view("score", score, {n, dim}, place),
        divergence_view("divergence", divergence, {n}, place), log_density_view("log_density", log_density, {n}, place);
    const ScoreOutputs<S> out{
        n, dim, points.data(), score_view.data(), divergence_view.data(), log_density_view.data()};
    Machine::score(source.arguments(), out, place, last);
}

// The paths of a trajectory, both their sources, and where they end.
template <class S>
class Paths {
 public:
    Paths(const py::object& x, const py::object& steps, const std::string& model_kind, const py::list& model,
          const std::string& reference_kind, const py::list& reference, const py::object& x_last, Place at)
        : start_("x", x, {any_size, any_size}, at),
          steps_("steps", steps, {any_size, node_columns}, place()),
          model_("model", model_kind, model, checked_dim(start_), n_nodes(), place()),
          reference_("reference", reference_kind, reference, start_.size(1), n_nodes(), place()),
          end_("x_last", x_last, {n(), start_.size(1)}, place()) {}

    Place place() const { return start_.place(); }
    std::int64_t n() const { return start_.size(0); }
    std::int64_t n_nodes() const { return steps_.size(0); }
    TrajectoryArguments<S> arguments(std::uint64_t seed, std::uint64_t path_offset) const {
        TrajectoryArguments<S> arguments{};
        arguments.n = n();
        arguments.dim = start_.size(1);
        arguments.n_nodes = n_nodes();
        arguments.steps = steps_.data();
        arguments.model = model_.arguments();
        arguments.reference = reference_.arguments();
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

template <class Machine, class S>
void trajectory(const py::object& x, const py::object& steps, const std::string& model_kind, const py::list& model,
                const std::string& reference_kind, const py::list& reference, double divergence_weight, bool sampler,
                bool reverse, std::uint64_t seed, std::uint64_t path_offset, const py::object& value,
                const py::object& mismatch, const py::object& x_last, typename Machine::Last last) {
    const Paths<S> paths(x, steps, model_kind, model, reference_kind, reference, x_last, Machine::place);
    const TensorView<S> value_view("value", value, {paths.n()}, paths.place()),
        mismatch_view("mismatch", mismatch, {paths.n()}, paths.place());
    TrajectoryArguments<S> arguments = paths.arguments(seed, path_offset);
    arguments.divergence_weight = static_cast<S>(divergence_weight);
    arguments.sampler = sampler;
    arguments.reverse = reverse;
    arguments.value = value_view.data();
    arguments.mismatch = mismatch_view.data();
    Machine::trajectory(arguments, paths.place(), last);
}

template <class Machine, class S>
void trajectory_averages(const py::object& x, const py::object& steps, const py::object& rates,
                         const std::string& model_kind, const py::list& model, const std::string& reference_kind,
                         const py::list& reference, std::uint64_t seed, std::uint64_t path_offset,
                         const py::object& mean, const py::object& m2, const py::object& integrals,
                         const py::object& x_last, typename Machine::Last last) {
    const Paths<S> paths(x, steps, model_kind, model, reference_kind, reference, x_last, Machine::place);
    const Place place = paths.place();
    const TensorView<S> rate_table("rates", rates, {paths.n_nodes(), rate_columns}, place),
        integral_view("integrals", integrals, {paths.n(), observables}, place);
    const TensorView<double> mean_view("mean", mean, {paths.n_nodes(), observables}, place),
        m2_view("m2", m2, {paths.n_nodes(), observables}, place);
    const AveragesArguments<S> averages{rate_table.data(), mean_view.data(), m2_view.data(), integral_view.data()};
    Machine::trajectory_averages(paths.arguments(seed, path_offset), averages, place, last);
}

template <class Machine, class S>
void flow(const py::object& x, const py::object& table, int levels, const std::string& kind, const py::list& tensors,
          double rtol, double atol, const py::object& x_last, const py::object& divergence,
          const py::object& evaluations, const py::object& status, typename Machine::Last last) {
    check(levels >= flow_first_level && levels <= flow_finest_level,
          "levels: expected " + std::to_string(flow_first_level) + " to " + std::to_string(flow_finest_level) +
              ", got " + std::to_string(levels));
    const std::int64_t n_nodes = 9 * (std::int64_t(1) << levels) - 3;  // core/flow.hpp, flow_first_node(levels + 1)
    const TensorView<S> points("x", x, {any_size, any_size}, Machine::place);
    const Place place = points.place();
    const std::int64_t n = points.size(0), dim = checked_dim(points);
    const TensorView<S> columns("table", table, {n_nodes, flow_columns}, place);
    const Source<S> source("score", kind, tensors, dim, n_nodes, place);
    const TensorView<S> end("x_last", x_last, {n, dim}, place), gathered("divergence", divergence, {n}, place);
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
                                     end.data(),
                                     gathered.data(),
                                     counted.data(),
                                     ended.data()};
    Machine::flow(arguments, place, last);
}

template <class Machine, class S>
void langevin(const py::object& x, const py::object& drift, const py::object& noise, const py::object& circulation,
              const py::object& steps, std::uint64_t seed, std::uint64_t path_offset, const py::object& x_last,
              const py::object& work, typename Machine::Last last) {
    const TensorView<S> start("x", x, {any_size, any_size}, Machine::place);
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
    Machine::langevin(arguments, place, last);
}

template <class Machine, class S>
void define_path_ops(py::module_& module, const std::string& suffix) {
    using namespace py::literals;
    const auto define = [&](const char* stem, auto function, const auto&... names) {
        module.def((stem + suffix).c_str(), function, names..., py::arg(Machine::last));
    };
    define("normals", &normals<Machine, S>, "seed"_a, "purpose"_a, "path_offset"_a, "first"_a, "out"_a);
    define("score", &score<Machine, S>, "kind"_a, "tensors"_a, "x"_a, "score"_a, "divergence"_a, "log_density"_a);
    define("trajectory", &trajectory<Machine, S>, "x"_a, "steps"_a, "model_kind"_a, "model"_a, "reference_kind"_a,
           "reference"_a, "divergence_weight"_a, "sampler"_a, "reverse"_a, "seed"_a, "path_offset"_a, "value"_a,
           "mismatch"_a, "x_last"_a);
    define("trajectory_averages", &trajectory_averages<Machine, S>, "x"_a, "steps"_a, "rates"_a, "model_kind"_a,
           "model"_a, "reference_kind"_a, "reference"_a, "seed"_a, "path_offset"_a, "mean"_a, "m2"_a, "integrals"_a,
           "x_last"_a);
    define("flow", &flow<Machine, S>, "x"_a, "table"_a, "levels"_a, "kind"_a, "tensors"_a, "rtol"_a, "atol"_a,
           "x_last"_a, "divergence"_a, "evaluations"_a, "status"_a);
    define("langevin", &langevin<Machine, S>, "x"_a, "drift"_a, "noise"_a, "circulation"_a, "steps"_a, "seed"_a,
           "path_offset"_a, "x_last"_a, "work"_a);
}

}  // namespace tk::bindings
