// Averages along trajectories.
#pragma once

#include "define.hpp"
#include "trajectory.hpp"

namespace tk::bindings {

template <class Machine, class S>
void trajectory_averages(const py::object& x, const py::object& steps, const py::object& rates,
                         const std::string& model_kind, const py::list& model, const std::string& reference_kind,
                         const py::list& reference, std::uint64_t seed, std::uint64_t path_offset,
                         const py::object& mean, const py::object& m2, const py::object& integrals,
                         const py::object& x_last, RunOn run_on) {
    const Paths<S> paths(x, steps, model_kind, model, reference_kind, reference, x_last, Machine::place);
    const Place place = paths.place();
    const TensorView<const S> rate_table("rates", rates, {paths.n_nodes(), rate_columns}, place);
    const TensorView<S> integral_view("integrals", integrals, {paths.n(), observables}, place);
    const TensorView<double> mean_view("mean", mean, {paths.n_nodes(), observables}, place),
        m2_view("m2", m2, {paths.n_nodes(), observables}, place);
    const TrajectoryAveragesArguments<S> arguments{.paths = paths.arguments(seed, path_offset),
                                                   .rates = rate_table.data(),
                                                   .mean = mean_view.data(),
                                                   .m2 = m2_view.data(),
                                                   .integrals = integral_view.data()};
    Machine::run(arguments, place, run_on);
}

template <class Machine>
void define_trajectory_averages(py::module_& module) {
    using namespace py::literals;
    define(module, "trajectory_averages", &trajectory_averages<Machine, float>, &trajectory_averages<Machine, double>,
           "x"_a, "steps"_a, "rates"_a, "model_kind"_a, "model"_a, "reference_kind"_a, "reference"_a, "seed"_a,
           "path_offset"_a, "mean"_a, "m2"_a, "integrals"_a, "x_last"_a);
}

}  // namespace tk::bindings
