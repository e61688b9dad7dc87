// Whole trajectories.
#pragma once

#include "define.hpp"
#include "score_source.hpp"

namespace tk::bindings {

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
    TensorView<const S> start_, steps_;
    Source<S> model_, reference_;
    TensorView<S> end_;
};

template <class Machine, class S>
void trajectory(const py::object& x, const py::object& steps, const std::string& model_kind, const py::list& model,
                const std::string& reference_kind, const py::list& reference, double divergence_weight, bool sampler,
                bool reverse, std::uint64_t seed, std::uint64_t path_offset, const py::object& value,
                const py::object& mismatch, const py::object& x_last, const py::object& coarse, RunOn run_on) {
    const Paths<S> paths(x, steps, model_kind, model, reference_kind, reference, x_last, Machine::place);
    const TensorView<S> value_view("value", value, {paths.n()}, paths.place()),
        mismatch_view("mismatch", mismatch, {paths.n()}, paths.place());
    const OptionalView<S> coarse_view("coarse", coarse, {paths.n(), 2}, paths.place());
    TrajectoryArguments<S> arguments = paths.arguments(seed, path_offset);
    arguments.divergence_weight = static_cast<S>(divergence_weight);
    arguments.sampler = sampler;
    arguments.reverse = reverse;
    arguments.value = value_view.data();
    arguments.mismatch = mismatch_view.data();
    arguments.coarse = coarse_view.data();
    Machine::run(arguments, paths.place(), run_on);
}

template <class Machine, class S>
void trajectory_parts(const py::object& x, const py::object& steps, const py::object& parts,
                      const std::string& model_kind, const py::list& model, const std::string& reference_kind,
                      const py::list& reference, double divergence_weight, bool sampler, std::uint64_t seed,
                      std::uint64_t path_offset, const py::object& value, const py::object& mismatch,
                      const py::object& x_last, const py::object& coarse, const py::object& totals,
                      const py::object& nodes, const py::object& cells, const py::object& squares, RunOn run_on) {
    const Paths<S> paths(x, steps, model_kind, model, reference_kind, reference, x_last, Machine::place);
    const Place place = paths.place();
    const TensorView<S> value_view("value", value, {paths.n()}, place),
        mismatch_view("mismatch", mismatch, {paths.n()}, place),
        totals_view("totals", totals, {split_forms, paths.n()}, place);
    const OptionalView<S> coarse_view("coarse", coarse, {paths.n(), 2}, place);
    const TensorView<const S> table("parts", parts, {paths.n_nodes(), part_columns}, place);
    const TensorView<double> nodes_view("nodes", nodes, {paths.n_nodes(), split_forms, 2}, place),
        cells_view("cells", cells, {split_forms, any_size, any_size, 2}, place),
        squares_view("squares", squares, {split_forms, cells_view.size(2)}, place);
    TrajectoryArguments<S> arguments = paths.arguments(seed, path_offset);
    arguments.divergence_weight = static_cast<S>(divergence_weight);
    arguments.sampler = sampler;
    arguments.value = value_view.data();
    arguments.mismatch = mismatch_view.data();
    arguments.coarse = coarse_view.data();
    arguments.split = {.table = table.data(),
                       .stretches = cells_view.size(1),
                       .columns = cells_view.size(2),
                       .totals = totals_view.data(),
                       .nodes = nodes_view.data(),
                       .cells = cells_view.data(),
                       .squares = squares_view.data()};
    if (arguments.split.columns != 1 && arguments.split.columns != arguments.dim)
        throw py::value_error("cells: expected 1 column or as many as x");
    Machine::run(arguments, place, run_on);
}

template <class Machine>
void define_trajectory(py::module_& module) {
    using namespace py::literals;
    define(module, "trajectory_parts", &trajectory_parts<Machine, float>, &trajectory_parts<Machine, double>, "x"_a,
           "steps"_a, "parts"_a, "model_kind"_a, "model"_a, "reference_kind"_a, "reference"_a, "divergence_weight"_a,
           "sampler"_a, "seed"_a, "path_offset"_a, "value"_a, "mismatch"_a, "x_last"_a, "coarse"_a, "totals"_a,
           "nodes"_a, "cells"_a, "squares"_a);
    define(module, "trajectory", &trajectory<Machine, float>, &trajectory<Machine, double>, "x"_a, "steps"_a,
           "model_kind"_a, "model"_a, "reference_kind"_a, "reference"_a, "divergence_weight"_a, "sampler"_a,
           "reverse"_a, "seed"_a, "path_offset"_a, "value"_a, "mismatch"_a, "x_last"_a, "coarse"_a);
}

}  // namespace tk::bindings
