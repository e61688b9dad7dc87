// The probability-flow equation from Python.
#include "flow.hpp"

#include "running.hpp"
#include "score_source.hpp"

namespace tk::bindings {
namespace {

constexpr std::int64_t flow_columns = 2;

template <class S>
void flow(const py::object& x, const py::object& table, int levels, const std::string& kind, const py::list& tensors,
          double rtol, double atol, const py::object& x_last, const py::object& divergence,
          const py::object& evaluations, const py::object& status, int threads) {
    check(levels >= 4 && levels <= 20, "levels: expected 4 to 20, got " + std::to_string(levels));
    const std::int64_t n_nodes = 9 * (std::int64_t(1) << levels) - 3;
    const TensorView<S> points("x", x, {any_size, any_size});
    const std::int64_t n = points.size(0), dim = checked_dim(points);
    const TensorView<S> columns("table", table, {n_nodes, flow_columns});
    const Source<S> source("score", kind, tensors, dim, n_nodes);
    const TensorView<S> last("x_last", x_last, {n, dim}), gathered("divergence", divergence, {n});
    const TensorView<std::int64_t> counted("evaluations", evaluations, {n}), ended("status", status, {n});
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
    run([&](Interrupt interrupt) { return precision<S>().flow(arguments, threads_allowed(threads), interrupt); });
}

template <class S>
void define(py::module_& module, const char* name) {
    using namespace py::literals;
    module.def(name, &flow<S>, "x"_a, "table"_a, "levels"_a, "kind"_a, "tensors"_a, "rtol"_a, "atol"_a, "x_last"_a,
               "divergence"_a, "evaluations"_a, "status"_a, "threads"_a);
}

}  // namespace

void define_flow(py::module_& module) {
    define<float>(module, "flow_float32");
    define<double>(module, "flow_float64");
}

}  // namespace tk::bindings
