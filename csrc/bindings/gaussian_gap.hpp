// Differences of the scores of two Gaussians.
#pragma once

#include "../core/arguments.hpp"
#include "define.hpp"

namespace tk::bindings {

template <class Machine, class S>
void gaussian_gap(const py::object& from_first, const py::object& from_second, const py::object& rotation,
                  const py::object& first, const py::object& second, const py::object& centre,
                  const py::object& mean_scale, const py::object& root, bool shared, double reference,
                  const py::object& noise, std::uint64_t seed, std::uint64_t path_offset, const py::object& out,
                  RunOn run_on) {
    const TensorView<const S> points("from_first", from_first, {any_size, any_size}, Machine::place);
    const Place place = points.place();
    const std::int64_t dim = points.size(0), n = points.size(1);
    check(dim >= 1 && dim <= max_gap_dim,
          "from_first: expected 1 to " + std::to_string(max_gap_dim) + " axes, got " + std::to_string(dim));
    const TensorView<const S> others("from_second", from_second, {dim, n}, place),
        matrix("rotation", rotation, {dim, dim}, place), first_view("first", first, {dim}, place),
        second_view("second", second, {dim}, place), centre_view("centre", centre, {dim}, place),
        scales("mean_scale", mean_scale, {shared ? 1 : n}, place), roots("root", root, {shared ? 1 : n}, place);
    const OptionalView<const S> noise_view("noise", noise, {dim, n}, place);
    const TensorView<S> out_view("out", out, {gap_columns, n}, place);
    const GaussianGapArguments<S> arguments{.n = n,
                                            .dim = dim,
                                            .levels = shared ? 0 : n,
                                            .from_first = points.data(),
                                            .from_second = others.data(),
                                            .rotation = matrix.data(),
                                            .first = first_view.data(),
                                            .second = second_view.data(),
                                            .centre = centre_view.data(),
                                            .mean_scale = scales.data(),
                                            .root = roots.data(),
                                            .reference = static_cast<S>(reference),
                                            .noise = noise_view.data(),
                                            .seed = seed,
                                            .path_offset = path_offset,
                                            .out = out_view.data()};
    Machine::run(arguments, place, run_on);
}

template <class Machine>
void define_gaussian_gap(py::module_& module) {
    using namespace py::literals;
    define(module, "gaussian_gap", &gaussian_gap<Machine, float>, &gaussian_gap<Machine, double>, "from_first"_a,
           "from_second"_a, "rotation"_a, "first"_a, "second"_a, "centre"_a, "mean_scale"_a, "root"_a, "shared"_a,
           "reference"_a, "noise"_a, "seed"_a, "path_offset"_a, "out"_a);
}

}  // namespace tk::bindings
