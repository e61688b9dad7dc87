// Nodes of paths whose scores a network computed: one of them, or consecutive ones.
#pragma once

#include "../core/arguments.hpp"
#include "define.hpp"

namespace tk::bindings {

template <class Machine, class S>
void trajectory_step(const py::object& x, const py::object& model, const py::object& reference, const py::object& node,
                     const py::object& drawn, const py::object& carried, const py::object& previous, bool draw,
                     bool draw_carried, bool sampler, bool reverse, std::uint64_t seed, std::uint64_t path_offset,
                     std::uint64_t first, const py::object& value, const py::object& mismatch, const py::object& next,
                     const py::object& noise, RunOn run_on) {
    const TensorView<const S> x_view("x", x, {any_size, any_size}, Machine::place);
    const Place place = x_view.place();
    const std::int64_t n = x_view.size(0), dim = x_view.size(1);
    const TensorView<const S> model_view("model", model, {n, dim}, place),
        reference_view("reference", reference, {n, dim}, place), node_view("node", node, {node_columns}, place);
    const OptionalView<const S> drawn_view("drawn", drawn, {n, dim}, place),
        carried_view("carried", carried, {n, dim}, place), previous_view("previous", previous, {n, dim}, place);
    const TensorView<S> value_view("value", value, {n}, place), mismatch_view("mismatch", mismatch, {n}, place);
    const OptionalView<S> next_view("next", next, {n, dim}, place), noise_view("noise", noise, {n, dim}, place);
    check(!draw_carried || first >= static_cast<std::uint64_t>(dim),
          "first: the first node has no step before it, whose noise could be drawn");
    const TrajectoryStepArguments<S> arguments{.nodes = 1,
                                               .n = n,
                                               .dim = dim,
                                               .table = node_view.data(),
                                               .x = x_view.data(),
                                               .model = model_view.data(),
                                               .reference = reference_view.data(),
                                               .drawn = drawn_view.data(),
                                               .carried = carried_view.data(),
                                               .previous = previous_view.data(),
                                               .draw = draw,
                                               .draw_carried = draw_carried,
                                               .sampler = sampler,
                                               .reverse = reverse,
                                               .seed = seed,
                                               .path_offset = path_offset,
                                               .first = first,
                                               .value = value_view.data(),
                                               .mismatch = mismatch_view.data(),
                                               .next = next_view.data(),
                                               .noise = noise_view.data()};
    Machine::run(arguments, place, run_on);
}

// Consecutive nodes of forward paths; noise (nodes + 1, n, dim) of the steps that lead to them and leave them.
template <class Machine, class S>
void trajectory_block(const py::object& x, const py::object& model, const py::object& reference,
                      const py::object& nodes, const py::object& noise, const py::object& previous, bool sampler,
                      const py::object& value, const py::object& mismatch, RunOn run_on) {
    const TensorView<const S> x_view("x", x, {any_size, any_size, any_size}, Machine::place);
    const Place place = x_view.place();
    const std::int64_t count = x_view.size(0), n = x_view.size(1), dim = x_view.size(2);
    const TensorView<const S> model_view("model", model, {count, n, dim}, place),
        reference_view("reference", reference, {count, n, dim}, place),
        nodes_view("nodes", nodes, {count, node_columns}, place),
        noise_view("noise", noise, {count + 1, n, dim}, place);
    const OptionalView<const S> previous_view("previous", previous, {n, dim}, place);
    const TensorView<S> value_view("value", value, {count, n}, place),
        mismatch_view("mismatch", mismatch, {count, n}, place);
    TrajectoryStepArguments<S> arguments{};
    arguments.nodes = count;
    arguments.n = n;
    arguments.dim = dim;
    arguments.table = nodes_view.data();
    arguments.x = x_view.data();
    arguments.model = model_view.data();
    arguments.reference = reference_view.data();
    arguments.carried = noise_view.data();
    arguments.drawn = noise_view.data() + n * dim;
    arguments.previous = previous_view.data();
    arguments.sampler = sampler;
    arguments.value = value_view.data();
    arguments.mismatch = mismatch_view.data();
    Machine::run(arguments, place, run_on);
}

template <class Machine>
void define_trajectory_step(py::module_& module) {
    using namespace py::literals;
    define(module, "trajectory_step", &trajectory_step<Machine, float>, &trajectory_step<Machine, double>, "x"_a,
           "model"_a, "reference"_a, "node"_a, "drawn"_a, "carried"_a, "previous"_a, "draw"_a, "draw_carried"_a,
           "sampler"_a, "reverse"_a, "seed"_a, "path_offset"_a, "first"_a, "value"_a, "mismatch"_a, "next"_a,
           "noise"_a);
    define(module, "trajectory_block", &trajectory_block<Machine, float>, &trajectory_block<Machine, double>, "x"_a,
           "model"_a, "reference"_a, "nodes"_a, "noise"_a, "previous"_a, "sampler"_a, "value"_a, "mismatch"_a);
}

}  // namespace tk::bindings
