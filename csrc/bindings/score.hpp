// Scores at one time.
#pragma once

#include "define.hpp"
#include "score_source.hpp"

namespace tk::bindings {

template <class Machine, class S>
void score(const std::string& kind, const py::list& tensors, const py::object& x, const py::object& score,
           const py::object& divergence, const py::object& log_density, RunOn run_on) {
    const TensorView<const S> points("x", x, {any_size, any_size}, Machine::place);
    const Place place = points.place();
    const std::int64_t n = points.size(0), dim = checked_dim(points);
    const Source<S> source("score", kind, tensors, dim, 1, place);
    const TensorView<S> score_view("score", score, {n, dim}, place),
        divergence_view("divergence", divergence, {n}, place), log_density_view("log_density", log_density, {n}, place);
    const ScoreArguments<S> arguments{.source = source.arguments(),
                                      .out = {.n = n,
                                              .dim = dim,
                                              .x = points.data(),
                                              .score = score_view.data(),
                                              .divergence = divergence_view.data(),
                                              .log_density = log_density_view.data()}};
    Machine::run(arguments, place, run_on);
}

template <class Machine>
void define_score(py::module_& module) {
    using namespace py::literals;
    define(module, "score", &score<Machine, float>, &score<Machine, double>, "kind"_a, "tensors"_a, "x"_a, "score"_a,
           "divergence"_a, "log_density"_a);
}

}  // namespace tk::bindings
