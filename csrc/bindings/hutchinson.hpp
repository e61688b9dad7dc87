// Hutchinson's contraction.
#pragma once

#include "../core/arguments.hpp"
#include "define.hpp"

namespace tk::bindings {

template <class Machine, class S>
void hutchinson(const py::object& products, int kind, std::uint64_t seed, std::uint64_t path_offset,
                std::uint64_t first, const py::object& out, RunOn run_on) {
    const TensorView<const S> view("products", products, {any_size, any_size}, Machine::place);
    const TensorView<S> out_view("out", out, {view.size(0)}, view.place());
    check(kind >= 0 && kind <= static_cast<int>(Probe::sphere), "kind: expected 0, 1 or 2");
    const HutchinsonArguments<S> arguments{.n = view.size(0),
                                           .dim = view.size(1),
                                           .kind = static_cast<Probe>(kind),
                                           .seed = seed,
                                           .path_offset = path_offset,
                                           .first = first,
                                           .products = view.data(),
                                           .out = out_view.data()};
    Machine::run(arguments, view.place(), run_on);
}

template <class Machine>
void define_hutchinson(py::module_& module) {
    using namespace py::literals;
    define(module, "hutchinson", &hutchinson<Machine, float>, &hutchinson<Machine, double>, "products"_a, "kind"_a,
           "seed"_a, "path_offset"_a, "first"_a, "out"_a);
}

}  // namespace tk::bindings
