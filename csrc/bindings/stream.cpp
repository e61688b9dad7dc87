// Bindings of the ops on scores that a network computed: the step of a stream, and Hutchinson's contraction.
#include <pybind11/pybind11.h>

#include "running.hpp"
#include "tensor_view.hpp"

namespace tk::bindings {
namespace {

constexpr std::int64_t node_numbers = 13;

template <class S>
void trajectory_step(const py::object& x, const py::object& model, const py::object& reference, const py::object& node,
                     const py::object& drawn, const py::object& carried, const py::object& previous, bool draw,
                     bool draw_carried, bool sampler, bool reverse, std::uint64_t seed, std::uint64_t path_offset,
                     std::uint64_t first, const py::object& value, const py::object& mismatch, const py::object& next,
                     const py::object& noise, int threads) {
    const TensorView<S> x_view("x", x, {any_size, any_size});
    const std::int64_t n = x_view.size(0), dim = x_view.size(1);
    const TensorView<S> model_view("model", model, {n, dim}), reference_view("reference", reference, {n, dim}),
        node_view("node", node, {node_numbers}), value_view("value", value, {n}),
        mismatch_view("mismatch", mismatch, {n});
    const OptionalView<S> drawn_view("drawn", drawn, {n, dim}), carried_view("carried", carried, {n, dim}),
        previous_view("previous", previous, {n, dim}), next_view("next", next, {n, dim}),
        noise_view("noise", noise, {n, dim});
    if (draw_carried && first < static_cast<std::uint64_t>(dim))
        throw py::value_error("first: the first node has no step before it, whose noise could be drawn");
    const StreamArguments<S> arguments{n,
                                       dim,
                                       node_view.data(),
                                       x_view.data(),
                                       model_view.data(),
                                       reference_view.data(),
                                       drawn_view.data(),
                                       carried_view.data(),
                                       previous_view.data(),
                                       draw,
                                       draw_carried,
                                       sampler,
                                       reverse,
                                       seed,
                                       path_offset,
                                       first,
                                       value_view.data(),
                                       mismatch_view.data(),
                                       next_view.data(),
                                       noise_view.data()};
    run([&](Interrupt interrupt) { return precision<S>().stream(arguments, threads_allowed(threads), interrupt); });
}

// Below so many numbers of a node its work is over before another thread has started.
constexpr std::int64_t few_numbers = 16384;

// Consecutive nodes of forward paths; noise (nodes + 1, n, dim) of the steps that lead to them and leave them.
template <class S>
void trajectory_block(const py::object& x, const py::object& model, const py::object& reference,
                      const py::object& nodes, const py::object& noise, const py::object& previous, bool sampler,
                      const py::object& value, const py::object& mismatch, int threads) {
    const TensorView<S> x_view("x", x, {any_size, any_size, any_size});
    const std::int64_t count = x_view.size(0), n = x_view.size(1), dim = x_view.size(2), size = n * dim;
    const TensorView<S> model_view("model", model, {count, n, dim}),
        reference_view("reference", reference, {count, n, dim}), nodes_view("nodes", nodes, {count, node_numbers}),
        noise_view("noise", noise, {count + 1, n, dim}), value_view("value", value, {count, n}),
        mismatch_view("mismatch", mismatch, {count, n});
    const OptionalView<S> previous_view("previous", previous, {n, dim});
    const int used = size < few_numbers ? 1 : threads_allowed(threads);
    run([&](Interrupt interrupt) {
        for (std::int64_t k = 0; k < count; ++k) {
            StreamArguments<S> node{};
            node.n = n;
            node.dim = dim;
            node.node = nodes_view.data() + k * node_numbers;
            node.x = x_view.data() + k * size;
            node.model = model_view.data() + k * size;
            node.reference = reference_view.data() + k * size;
            node.carried = noise_view.data() + k * size;
            node.drawn = noise_view.data() + (k + 1) * size;
            node.previous = k > 0 ? x_view.data() + (k - 1) * size : previous_view.data();
            node.sampler = sampler;
            node.value = value_view.data() + k * n;
            node.mismatch = mismatch_view.data() + k * n;
            if (!precision<S>().stream(node, used, interrupt)) return false;
        }
        return true;
    });
}

template <class S>
void hutchinson(const py::object& products, int kind, std::uint64_t seed, std::uint64_t path_offset,
                std::uint64_t first, const py::object& out, int threads) {
    const TensorView<S> view("products", products, {any_size, any_size});
    const TensorView<S> out_view("out", out, {view.size(0)});
    if (kind < 0 || kind > static_cast<int>(Probe::sphere)) throw py::value_error("kind: expected 0, 1 or 2");
    const ProbeArguments<S> arguments{view.size(0), view.size(1), static_cast<Probe>(kind), seed, path_offset,
                                      first,        view.data(),  out_view.data()};
    run([&](Interrupt interrupt) { return precision<S>().hutchinson(arguments, threads_allowed(threads), interrupt); });
}

template <class S>
void define(py::module_& module, const char* suffix) {
    using namespace py::literals;
    const auto name = [&](const char* stem) { return std::string(stem) + suffix; };
    module.def(name("trajectory_step").c_str(), &trajectory_step<S>, "x"_a, "model"_a, "reference"_a, "node"_a,
               "drawn"_a, "carried"_a, "previous"_a, "draw"_a, "draw_carried"_a, "sampler"_a, "reverse"_a, "seed"_a,
               "path_offset"_a, "first"_a, "value"_a, "mismatch"_a, "next"_a, "noise"_a, "threads"_a);
    module.def(name("trajectory_block").c_str(), &trajectory_block<S>, "x"_a, "model"_a, "reference"_a, "nodes"_a,
               "noise"_a, "previous"_a, "sampler"_a, "value"_a, "mismatch"_a, "threads"_a);
    module.def(name("hutchinson").c_str(), &hutchinson<S>, "products"_a, "kind"_a, "seed"_a, "path_offset"_a, "first"_a,
               "out"_a, "threads"_a);
}

}  // namespace

void define_stream(py::module_& module) {
    define<float>(module, "_float32");
    define<double>(module, "_float64");
}

}  // namespace tk::bindings
