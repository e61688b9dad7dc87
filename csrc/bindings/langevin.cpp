// The binding of the linear Langevin paths.
#include "langevin.hpp"

#include "running.hpp"
#include "score_source.hpp"

namespace tk::bindings {
namespace {

template <class S>
void langevin(const py::object& x, const py::object& drift, const py::object& noise, const py::object& circulation,
              const py::object& steps, std::uint64_t seed, std::uint64_t path_offset, const py::object& x_last,
              const py::object& work, int threads) {
    const TensorView<S> start("x", x, {any_size, any_size});
    const std::int64_t n = start.size(0), dim = checked_dim(start);
    const TensorView<S> drift_view("drift", drift, {dim, dim}), noise_view("noise", noise, {dim, dim}),
        circulation_view("circulation", circulation, {dim, dim}), step_table("steps", steps, {any_size, 2});
    const TensorView<S> end_view("x_last", x_last, {n, dim}), work_view("work", work, {n});
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
    run([&](Interrupt interrupt) { return precision<S>().langevin(arguments, threads_allowed(threads), interrupt); });
}

template <class S>
void define(py::module_& module, const char* name) {
    using namespace py::literals;
    module.def(name, &langevin<S>, "x"_a, "drift"_a, "noise"_a, "circulation"_a, "steps"_a, "seed"_a, "path_offset"_a,
               "x_last"_a, "work"_a, "threads"_a);
}

}  // namespace

void define_langevin(py::module_& module) {
    define<float>(module, "langevin_float32");
    define<double>(module, "langevin_float64");
}

}  // namespace tk::bindings
