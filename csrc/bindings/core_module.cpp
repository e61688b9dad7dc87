// thermokern._core: the CPU kernels, one checked function each.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdlib>
#include <deque>
#include <vector>

#include "../core/moments.hpp"
#include "../cpu/kernels.hpp"
#include "tensor_view.hpp"

namespace tk::bindings {
namespace {

constexpr std::int64_t max_dim = 16, max_width = 256, step_columns = 13;

void check(bool holds, const std::string& message) {
    if (!holds) throw py::value_error(message);
}

template <class S>
std::int64_t checked_dim(const TensorView<S>& x) {
    const std::int64_t dim = x.size(1);
    check(dim >= 1 && dim <= max_dim,
          "x: expected a dimension from 1 to " + std::to_string(max_dim) + ", got " + std::to_string(dim));
    return dim;
}

// A score source from Python: ("mixture", [means, variances, weights, mean_scale, variance]) in float64, or
// ("mlp:ACTIVATION", [weight, …, weight, biases, output_scale, skip]) in the precision S of the kernel.
template <class S>
class Source {
 public:
    Source(const char* role, const std::string& kind, const py::list& tensors, std::int64_t dim, std::int64_t n_nodes) {
        const std::string prefix = std::string(role) + ".";
        if (kind == "mixture") {
            read_mixture(prefix, tensors, dim, n_nodes);
        } else {
            read_mlp(prefix, kind, tensors, dim, n_nodes);
        }
    }
    const ScoreArguments<S>& arguments() const { return arguments_; }

 private:
    void read_mixture(const std::string& prefix, const py::list& tensors, std::int64_t dim, std::int64_t n_nodes) {
        check(tensors.size() == 5, prefix + "mixture: expected 5 tensors, got " + std::to_string(tensors.size()));
        const auto view = [&](const char* name, int index, std::initializer_list<std::int64_t> sizes) {
            return doubles_.emplace_back((prefix + name).c_str(), tensors[static_cast<std::size_t>(index)], sizes)
                .data();
        };
        MixtureArguments& mixture = arguments_.mixture;
        mixture.means = view("means", 0, {any_size, dim});
        mixture.components = doubles_.back().size(0);
        check(mixture.components >= 1, prefix + "means: expected at least one component");
        mixture.variances = view("variances", 1, {mixture.components, dim});
        mixture.weights = view("weights", 2, {mixture.components});
        mixture.mean_scale = view("mean_scale", 3, {n_nodes});
        mixture.variance = view("variance", 4, {n_nodes});
    }

    void read_mlp(const std::string& prefix, const std::string& kind, const py::list& tensors, std::int64_t dim,
                  std::int64_t n_nodes) {
        constexpr std::array<const char*, 4> activations{"mlp:silu", "mlp:tanh", "mlp:relu", "mlp:gelu-tanh"};
        MlpArguments<S>& mlp = arguments_.mlp;
        arguments_.is_mlp = true;
        mlp.activation = -1;
        for (int i = 0; i < 4; ++i)
            if (kind == activations[static_cast<std::size_t>(i)]) mlp.activation = i;
        check(mlp.activation >= 0, prefix + "kind: unknown score source '" + kind + "'");
        const std::int64_t layers = static_cast<std::int64_t>(tensors.size()) - 3;
        check(layers >= 2 && layers <= MlpArguments<S>::max_layers, prefix + "weights: expected 2 to " +
                                                                        std::to_string(MlpArguments<S>::max_layers) +
                                                                        " matrices, got " + std::to_string(layers));
        mlp.hidden_layers = layers - 1;
        std::int64_t fan_in = dim, units = 0;
        for (std::int64_t l = 0; l < layers; ++l) {
            const bool last = l + 1 == layers;
            const std::string name = prefix + "weights[" + std::to_string(l) + "]";
            const auto& weight =
                numbers_.emplace_back(name.c_str(), tensors[static_cast<std::size_t>(l)],
                                      std::initializer_list<std::int64_t>{last ? dim : any_size, fan_in});
            fan_in = weight.size(0);
            check(last || (fan_in >= 1 && fan_in <= max_width),
                  name + ": expected 1 to " + std::to_string(max_width) + " rows, got " + std::to_string(fan_in));
            mlp.weights[l] = weight.data();
            mlp.widths[l] = fan_in;
            units += fan_in;
        }
        const auto view = [&](const char* name, std::int64_t index, std::initializer_list<std::int64_t> sizes) {
            return numbers_.emplace_back((prefix + name).c_str(), tensors[static_cast<std::size_t>(index)], sizes)
                .data();
        };
        mlp.biases = view("biases", layers, {n_nodes, units});
        mlp.output_scale = view("output_scale", layers + 1, {n_nodes});
        mlp.skip = view("skip", layers + 2, {n_nodes});
    }

    ScoreArguments<S> arguments_{};
    std::deque<TensorView<double>> doubles_;
    std::deque<TensorView<S>> numbers_;
};

template <class S>
const PrecisionKernels<S>& precision() {
    if constexpr (sizeof(S) == 4)
        return kernels().float32;
    else
        return kernels().float64;
}

bool signal_pending(void*) {
    const py::gil_scoped_acquire gil;
    return PyErr_CheckSignals() != 0;
}

// Runs a kernel without the interpreter's lock; a signal, such as Ctrl-C, ends it and is raised.
template <class Kernel>
void run(const Kernel& kernel) {
    bool finished;
    {
        const py::gil_scoped_release release;
        finished = kernel(Interrupt{signal_pending, nullptr});
    }
    if (!finished) throw py::error_already_set();
}

template <class S>
void normals(std::uint64_t seed, std::uint32_t purpose, std::uint64_t path_offset, std::uint64_t first,
             const py::object& out, int threads) {
    const TensorView<S> view("out", out, {any_size, any_size});
    const NormalsArguments<S> arguments{view.size(0), view.size(1), seed, path_offset, first, purpose, view.data()};
    run([&](Interrupt interrupt) { return precision<S>().normals(arguments, threads_allowed(threads), interrupt); });
}

template <class S>
void score(const std::string& kind, const py::list& tensors, const py::object& x, const py::object& score,
           const py::object& divergence, const py::object& log_density, int threads) {
    const TensorView<S> points("x", x, {any_size, any_size});
    const std::int64_t n = points.size(0), dim = checked_dim(points);
    const Source<S> source("score", kind, tensors, dim, 1);
    const TensorView<S> score_view("score", score, {n, dim}), divergence_view("divergence", divergence, {n}),
        log_density_view("log_density", log_density, {n});
    const ScoreOutputs<S> out{
        n, dim, points.data(), score_view.data(), divergence_view.data(), log_density_view.data()};
    run([&](Interrupt interrupt) {
        return precision<S>().score(source.arguments(), out, threads_allowed(threads), interrupt);
    });
}

template <class S>
void trajectory(const py::object& x, const py::object& steps, const std::string& model_kind, const py::list& model,
                const std::string& reference_kind, const py::list& reference, double divergence_weight, bool sampler,
                bool reverse, std::uint64_t seed, std::uint64_t path_offset, const py::object& value,
                const py::object& mismatch, const py::object& x_last, int threads) {
    const TensorView<S> start("x", x, {any_size, any_size});
    const std::int64_t n = start.size(0), dim = checked_dim(start);
    const TensorView<S> step_table("steps", steps, {any_size, step_columns});
    const std::int64_t n_nodes = step_table.size(0);
    const Source<S> model_source("model", model_kind, model, dim, n_nodes);
    const Source<S> reference_source("reference", reference_kind, reference, dim, n_nodes);
    const TensorView<S> value_view("value", value, {n}), mismatch_view("mismatch", mismatch, {n}),
        end_view("x_last", x_last, {n, dim});
    const TrajectoryArguments<S> arguments{n,
                                           dim,
                                           n_nodes,
                                           step_table.data(),
                                           model_source.arguments(),
                                           reference_source.arguments(),
                                           static_cast<S>(divergence_weight),
                                           sampler,
                                           reverse,
                                           seed,
                                           path_offset,
                                           start.data(),
                                           value_view.data(),
                                           mismatch_view.data(),
                                           end_view.data()};
    run([&](Interrupt interrupt) { return precision<S>().trajectory(arguments, threads_allowed(threads), interrupt); });
}

template <class T>
py::tuple moments_of(const py::object& values) {
    const TensorView<T> view("values", values, {any_size});
    const Moments m = reduce<Moments>(view.data(), view.size(0), 1.0);
    return py::make_tuple(m.n, m.mean, m.m2, m.m3, m.m4);
}

template <class T>
py::tuple exponential_sums_of(const py::object& values, double scale) {
    const TensorView<T> view("values", values, {any_size});
    const ExponentialSums s = reduce<ExponentialSums>(view.data(), view.size(0), scale);
    return py::make_tuple(s.top, s.first, s.second);
}

std::array<std::uint32_t, 4> philox(std::array<std::uint32_t, 4> counter, std::uint64_t seed) {
    std::array<std::uint32_t, 4> out;
    kernels().philox(counter.data(), seed, out.data());
    return out;
}

template <class S>
void evaluate(const std::string& function, const py::object& in, const py::object& out) {
    constexpr std::array<const char*, 10> names{"exp2", "log",  "sine",       "cosine", "sigmoid",
                                                "tanh", "silu", "silu_slope", "gelu",   "gelu_slope"};
    const TensorView<S> in_view("x", in, {any_size});
    const TensorView<S> out_view("out", out, {in_view.size(0)});
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (function == names[i])
            return precision<S>().evaluate(static_cast<Function>(i), in_view.data(), out_view.data(), in_view.size(0));
    }
    throw py::value_error("function: unknown '" + function + "'");
}

// Everything that comes in both precisions.
template <class S>
void define(py::module_& module, const char* suffix) {
    using namespace py::literals;
    const auto name = [&](const char* stem) { return std::string(stem) + suffix; };
    module.def(name("normals").c_str(), &normals<S>, "seed"_a, "purpose"_a, "path_offset"_a, "first"_a, "out"_a,
               "threads"_a);
    module.def(name("score").c_str(), &score<S>, "kind"_a, "tensors"_a, "x"_a, "score"_a, "divergence"_a,
               "log_density"_a, "threads"_a);
    module.def(name("trajectory").c_str(), &trajectory<S>, "x"_a, "steps"_a, "model_kind"_a, "model"_a,
               "reference_kind"_a, "reference"_a, "divergence_weight"_a, "sampler"_a, "reverse"_a, "seed"_a,
               "path_offset"_a, "value"_a, "mismatch"_a, "x_last"_a, "threads"_a);
    module.def(name("moments").c_str(), &moments_of<S>, "values"_a);
    module.def(name("exponential_sums").c_str(), &exponential_sums_of<S>, "values"_a, "scale"_a);
    module.def(name("evaluate").c_str(), &evaluate<S>, "function"_a, "x"_a, "out"_a);
}

}  // namespace
}  // namespace tk::bindings

PYBIND11_MODULE(_core, module) {
    using namespace tk::bindings;
    using namespace py::literals;
    const char* wanted = std::getenv("THERMOKERN_ISA");
    if (wanted != nullptr && !tk::is_instruction_set(wanted))
        throw py::import_error(std::string("THERMOKERN_ISA: expected baseline, avx2 or avx512, got '") + wanted + "'");

    module.doc() = "CPU kernels of thermokern. Outputs are allocated by the caller.";
    module.attr("instruction_set") = tk::kernels().name;
    module.attr("best_instruction_set") = tk::best_instruction_set();
    module.attr("lanes") = tk::kernels().lanes;
    define<float>(module, "_float32");
    define<double>(module, "_float64");
    module.def("philox", &philox, "counter"_a, "seed"_a);
}
