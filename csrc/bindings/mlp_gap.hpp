// Differences of the scores of a perceptron under several conditions.
#pragma once

#include <deque>

#include "../core/mlp_gap.hpp"
#include "define.hpp"
#include "score_source.hpp"

namespace tk::bindings {

template <class Machine, class S>
void mlp_gap(const py::object& from_centre, const std::string& activation, const py::list& weights,
             const py::list& biases, const py::list& context, const py::object& level, const py::object& condition,
             bool residual, const py::object& enter, const py::object& scale, const py::object& skip,
             const py::object& centre, const py::object& mean_scale, const py::object& root, double reference,
             const py::object& noise, std::uint64_t seed, std::uint64_t path_offset, const py::object& out,
             RunOn run_on) {
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
    const TensorView<const S> level_view("level", level, {any_size, n}, place),
        condition_view("condition", condition, {any_size, any_size, n}, place);
    arguments.level_size = level_view.size(0);
    arguments.conditions = condition_view.size(0);
    arguments.condition_size = condition_view.size(1);
    const std::int64_t layers = arguments.mlp.hidden_layers + 1;
    const std::int64_t seen = arguments.level_size + arguments.condition_size;
    check(arguments.conditions >= 1 && arguments.conditions <= max_gap_conditions,
          "condition: expected 1 to " + std::to_string(max_gap_conditions) + " conditions, got " +
              std::to_string(arguments.conditions));
    check(seen <= max_gap_features, "level and condition: expected at most " + std::to_string(max_gap_features) +
                                        " features together, got " + std::to_string(seen));
    check(static_cast<std::int64_t>(biases.size()) == layers && static_cast<std::int64_t>(context.size()) == layers,
          "biases, context: expected " + std::to_string(layers) + " each");
    for (std::int64_t l = 0; l < layers; ++l) {
        const auto index = static_cast<std::size_t>(l);
        const std::int64_t rows = l + 1 < layers ? arguments.mlp.widths[l] : dim;
        const std::string bias = "biases[" + std::to_string(l) + "]",
                          context_name = "context[" + std::to_string(l) + "]";
        arguments.biases[l] =
            views.emplace_back(bias.c_str(), biases[index], std::initializer_list<std::int64_t>{rows}, place).data();
        const auto& view = views.emplace_back(context_name.c_str(), context[index],
                                              std::initializer_list<std::int64_t>{rows, any_size}, place);
        check(view.size(1) == 0 || view.size(1) == seen, context_name + ": expected " + std::to_string(seen) +
                                                             " columns, or none, got " + std::to_string(view.size(1)));
        arguments.context[l] = view.size(1) == 0 ? nullptr : view.data();
    }
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
    arguments.level = level_view.data();
    arguments.condition = condition_view.data();
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
           "weights"_a, "biases"_a, "context"_a, "level"_a, "condition"_a, "residual"_a, "enter"_a, "scale"_a, "skip"_a,
           "centre"_a, "mean_scale"_a, "root"_a, "reference"_a, "noise"_a, "seed"_a, "path_offset"_a, "out"_a);
}

}  // namespace tk::bindings
