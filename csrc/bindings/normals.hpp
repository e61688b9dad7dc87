// Random numbers of many paths.
#pragma once

#include "../core/arguments.hpp"
#include "define.hpp"

namespace tk::bindings {

template <class Machine, class S>
void normals(std::uint64_t seed, std::uint32_t purpose, std::uint64_t path_offset, std::uint64_t first,
             const py::object& out, RunOn run_on) {
    const TensorView<S> view("out", out, {any_size, any_size}, Machine::place);
    const NormalsArguments<S> arguments{.n = view.size(0),
                                        .count = view.size(1),
                                        .seed = seed,
                                        .path_offset = path_offset,
                                        .first = first,
                                        .purpose = purpose,
                                        .out = view.data()};
    Machine::run(arguments, view.place(), run_on);
}

template <class Machine>
void define_normals(py::module_& module) {
    using namespace py::literals;
    define(module, "normals", &normals<Machine, float>, &normals<Machine, double>, "seed"_a, "purpose"_a,
           "path_offset"_a, "first"_a, "out"_a);
}

}  // namespace tk::bindings
