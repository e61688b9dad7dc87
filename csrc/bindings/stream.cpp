// The ops on scores that a network computed, on the CPU; consecutive nodes in one call there alone.
#include "core_parts.hpp"
#include "running.hpp"
#include "stream_ops.hpp"

namespace tk::bindings {
namespace {

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
        reference_view("reference", reference, {count, n, dim}), nodes_view("nodes", nodes, {count, node_columns}),
        noise_view("noise", noise, {count + 1, n, dim}), value_view("value", value, {count, n}),
        mismatch_view("mismatch", mismatch, {count, n});
    const OptionalView<S> previous_view("previous", previous, {n, dim});
    const int used = size < few_numbers ? 1 : threads_allowed(threads);
    run([&](Interrupt interrupt) {
        for (std::int64_t k = 0; k < count; ++k) {
            StreamArguments<S> node{};
            node.n = n;
            node.dim = dim;
            node.node = nodes_view.data() + k * node_columns;
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
void define(py::module_& module, const std::string& suffix) {
    using namespace py::literals;
    define_stream_ops<Cpu, S>(module, suffix);
    module.def(("trajectory_block" + suffix).c_str(), &trajectory_block<S>, "x"_a, "model"_a, "reference"_a, "nodes"_a,
               "noise"_a, "previous"_a, "sampler"_a, "value"_a, "mismatch"_a, "threads"_a);
}

}  // namespace

void define_stream(py::module_& module) {
    define<float>(module, "_float32");
    define<double>(module, "_float64");
}

}  // namespace tk::bindings
