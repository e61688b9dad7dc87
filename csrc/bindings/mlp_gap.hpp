// Differences of the scores of a perceptron under several conditions.
#pragma once

#include <deque>

#include "../core/mlp_gap.hpp"
#include "define.hpp"
#include "score_source.hpp"

namespace tk::bindings {

template <class Machine, class S>
void mlp_gap(const py::object& from_centre, const std::string& activation, const py::list& weights,
             const py::list& biases, bool residual, const py::object& enter, const py::object& scale,
             const py::object& skip, const py::object& centre, const py::object& mean_scale, const py::object& root,
             double reference, const py::object& noise, std::uint64_t seed, std::uint64_t path_offset,
             const py::object& out, RunOn run_on) {
    const TensorView<const S> points("from_centre", from_centre, {any_size, any_size}, Machine::place);
    const Place place = points.place();
    const std::int64_t dim = points.size(0), n = points.size(1);
    check(dim >= 1 && dim <= max_gap_dim,
          "from_centre: expected 1 to " + std::to_string(max_gap_dim) + " axes, got " + std::to_string(dim));
    std::deque<TensorView<const S>> views;
    MlpGapArguments<S> arguments{};
    arguments.n = n;
    arguments.dim = dim;
    arguments.mlp = read_layers("", activation, weights, static_cast<std::int64_t>(weights.size()), dim, place, views);
    const std::int64_t layers = arguments.mlp.hidden_layers + 1;
    check(static_cast<std::int64_t>(biases.size()) == layers,
          "biases: expected " + std::to_string(layers) + ", got " + std::to_string(biases.size()));
    for (std::int64_t l = 0; l < layers; ++l) {
        const std::int64_t rows = l + 1 < layers ? arguments.mlp.widths[l] : dim;
        const std::string name = "biases[" + std::to_string(l) + "]";
        const auto& view = views.emplace_back(name.c_str(), biases[static_cast<std::size_t>(l)],
                                              std::initializer_list<std::int64_t>{any_size, rows, any_size}, place);
        if (l == 0) arguments.conditions = view.size(0);
        arguments.own_biases[l] = view.size(0) == arguments.conditions && view.size(2) == n;
        check(arguments.own_biases[l] || (l > 0 && view.size(0) == 1 && view.size(2) == 1),
              name + ": expected one for each condition and point, or one for all");
        arguments.biases[l] = view.data();
    }
    check(arguments.conditions >= 1 && arguments.conditions <= max_gap_conditions,
          "biases[0]: expected 1 to " + std::to_string(max_gap_conditions) + " conditions, got " +
              std::to_string(arguments.conditions));
    for (std::int64_t l = 2; residual && l + 1 < layers; l += 2)
        check(arguments.mlp.widths[l] == arguments.mlp.widths[0], "weights: expected residual layers of one width");
    check(!residual || layers % 2 == 0, "weights: expected an even number of residual layers");
    const TensorView<const S> enter_view("enter", enter, {dim, n}, place), scale_view("scale", scale, {dim, n}, place),
        skip_view("skip", skip, {dim, n}, place), centre_view("centre", centre, {dim}, place),
        scales("mean_scale", mean_scale, {n}, place), roots("root", root, {n}, place);
    const OptionalView<const S> noise_view("noise", noise, {dim, n}, place);
    const TensorView<S> out_view("out", out, {gap_columns, gap_pairs(static_cast<int>(arguments.conditions)), n},
                                 place);
    arguments.residual = residual;
    arguments.from_centre = points.data();
    arguments.enter = enter_view.data();
    arguments.scale = scale_view.data();
    arguments.skip = skip_view.data();
    arguments.centre = centre_view.data();
    arguments.mean_scale = scales.data();
    arguments.root = roots.data();
    arguments.reference = static_cast<S>(reference);
    arguments.noise = noise_view.data();
    arguments.seed = seed;
    arguments.path_offset = path_offset;
    arguments.out = out_view.data();
    Machine::run(arguments, place, run_on);
}

template <class Machine>
void define_mlp_gap(py::module_& module) {
    using namespace py::literals;
    define(module, "mlp_gap", &mlp_gap<Machine, float>, &mlp_gap<Machine, double>, "from_centre"_a, "activation"_a,
           "weights"_a, "biases"_a, "residual"_a, "enter"_a, "scale"_a, "skip"_a, "centre"_a, "mean_scale"_a, "root"_a,
           "reference"_a, "noise"_a, "seed"_a, "path_offset"_a, "out"_a);
}

}  // namespace tk::bindings
