// Moments and exponential sums of values.
#pragma once

#include "../core/statistics.hpp"
#include "define.hpp"

namespace tk::bindings {

template <class Machine, class S>
py::tuple moments(const py::object& values, RunOn run_on) {
    const TensorView<const S> view("values", values, {any_size}, Machine::place);
    const Moments m = Machine::moments(view.data(), view.size(0), view.place(), run_on);
    return py::make_tuple(m.n, m.mean, m.m2, m.m3, m.m4);
}

template <class Machine, class S>
py::tuple exponential_sums(const py::object& values, double scale, RunOn run_on) {
    const TensorView<const S> view("values", values, {any_size}, Machine::place);
    const ExponentialSums s = Machine::exponential_sums(view.data(), view.size(0), scale, view.place(), run_on);
    return py::make_tuple(s.top, s.first, s.second);
}

template <class Machine>
void define_statistics(py::module_& module) {
    using namespace py::literals;
    define(module, "moments", &moments<Machine, float>, &moments<Machine, double>, "values"_a);
    define(module, "exponential_sums", &exponential_sums<Machine, float>, &exponential_sums<Machine, double>,
           "values"_a, "scale"_a);
}

}  // namespace tk::bindings
