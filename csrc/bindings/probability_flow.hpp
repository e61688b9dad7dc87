// The probability-flow equation.
#pragma once

#include "define.hpp"
#include "score_source.hpp"

namespace tk::bindings {

template <class Machine, class S>
void probability_flow(const py::object& x, const py::object& table, int levels, const std::string& kind,
                      const py::list& tensors, double rtol, double atol, const py::object& x_last,
                      const py::object& divergence, const py::object& evaluations, const py::object& status,
                      RunOn run_on) {
    check(levels >= flow_first_level && levels <= flow_finest_level,
          "levels: expected " + std::to_string(flow_first_level) + " to " + std::to_string(flow_finest_level) +
              ", got " + std::to_string(levels));
    const std::int64_t n_nodes =
        9 * (std::int64_t(1) << levels) - 3;  // core/probability_flow.hpp, flow_first_node(levels + 1)
    const TensorView<const S> points("x", x, {any_size, any_size}, Machine::place);
    const Place place = points.place();
    const std::int64_t n = points.size(0), dim = checked_dim(points);
    const TensorView<const S> columns("table", table, {n_nodes, flow_columns}, place);
    const Source<S> source("score", kind, tensors, dim, n_nodes, place);
    const TensorView<S> end("x_last", x_last, {n, dim}, place), gathered("divergence", divergence, {n}, place);
    const TensorView<std::int64_t> counted("evaluations", evaluations, {n}, place), ended("status", status, {n}, place);
    const ProbabilityFlowArguments<S> arguments{.n = n,
                                                .dim = dim,
                                                .n_nodes = n_nodes,
                                                .levels = levels,
                                                .table = columns.data(),
                                                .score = source.arguments(),
                                                .rtol = static_cast<S>(rtol),
                                                .atol = static_cast<S>(atol),
                                                .x = points.data(),
                                                .x_last = end.data(),
                                                .divergence = gathered.data(),
                                                .evaluations = counted.data(),
                                                .status = ended.data()};
    Machine::run(arguments, place, run_on);
}

template <class Machine>
void define_probability_flow(py::module_& module) {
    using namespace py::literals;
    define(module, "probability_flow", &probability_flow<Machine, float>, &probability_flow<Machine, double>, "x"_a,
           "table"_a, "levels"_a, "kind"_a, "tensors"_a, "rtol"_a, "atol"_a, "x_last"_a, "divergence"_a,
           "evaluations"_a, "status"_a);
}

}  // namespace tk::bindings
