// Linear Langevin paths.
#pragma once

#include "define.hpp"
#include "score_source.hpp"

namespace tk::bindings {

template <class Machine, class S>
void langevin(const py::object& x, const py::object& drift, const py::object& noise, const py::object& circulation,
              const py::object& steps, std::uint64_t seed, std::uint64_t path_offset, const py::object& x_last,
              const py::object& work, RunOn run_on) {
    const TensorView<const S> start("x", x, {any_size, any_size}, Machine::place);
    const Place place = start.place();
    const std::int64_t n = start.size(0), dim = checked_dim(start);
    const TensorView<const S> drift_view("drift", drift, {dim, dim}, place),
        noise_view("noise", noise, {dim, dim}, place), circulation_view("circulation", circulation, {dim, dim}, place),
        step_table("steps", steps, {any_size, 2}, place);
    const TensorView<S> end_view("x_last", x_last, {n, dim}, place), work_view("work", work, {n}, place);
    const LangevinArguments<S> arguments{.n = n,
                                         .dim = dim,
                                         .n_steps = step_table.size(0),
                                         .drift = drift_view.data(),
                                         .noise = noise_view.data(),
                                         .circulation = circulation_view.data(),
                                         .steps = step_table.data(),
                                         .seed = seed,
                                         .path_offset = path_offset,
                                         .x = start.data(),
                                         .x_last = end_view.data(),
                                         .work = work_view.data()};
    Machine::run(arguments, place, run_on);
}

template <class Machine>
void define_langevin(py::module_& module) {
    using namespace py::literals;
    define(module, "langevin", &langevin<Machine, float>, &langevin<Machine, double>, "x"_a, "drift"_a, "noise"_a,
           "circulation"_a, "steps"_a, "seed"_a, "path_offset"_a, "x_last"_a, "work"_a);
}

}  // namespace tk::bindings
