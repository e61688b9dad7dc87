// A score source from Python, checked against what the kernels take.
#pragma once

#include <pybind11/pybind11.h>

#include <deque>
#include <iterator>
#include <string>

#include "../core/arguments.hpp"
#include "tensor_view.hpp"

namespace tk::bindings {

template <class S>
std::int64_t checked_dim(const TensorView<const S>& x) {
    const std::int64_t dim = x.size(1);
    check(dim >= 1 && dim <= max_dim,
          "x: expected a dimension from 1 to " + std::to_string(max_dim) + ", got " + std::to_string(dim));
    return dim;
}

// The first `layers` tensors as the matrices of a perceptron from `dim` numbers to as many, and its activation.
template <class S>
MlpArguments<S> read_layers(const std::string& prefix, const std::string& activation, const py::list& tensors,
                            std::int64_t layers, std::int64_t dim, Place place,
                            std::deque<TensorView<const S>>& views) {
    MlpArguments<S> mlp{};
    mlp.activation = -1;
    for (std::size_t i = 0; i < std::size(activations); ++i)
        if (activation == activations[i]) mlp.activation = static_cast<int>(i);
    check(mlp.activation >= 0, prefix + "activation: unknown '" + activation + "'");
    check(layers >= 2 && layers <= max_layers + 1, prefix + "weights: expected 2 to " + std::to_string(max_layers + 1) +
                                                       " matrices, got " + std::to_string(layers));
    mlp.hidden_layers = layers - 1;
    std::int64_t fan_in = dim;
    for (std::int64_t l = 0; l < layers; ++l) {
        const bool last = l + 1 == layers;
        const std::string name = prefix + "weights[" + std::to_string(l) + "]";
        const auto& weight =
            views.emplace_back(name.c_str(), tensors[static_cast<std::size_t>(l)],
                               std::initializer_list<std::int64_t>{last ? dim : any_size, fan_in}, place);
        fan_in = weight.size(0);
        check(last || (fan_in >= 1 && fan_in <= max_width),
              name + ": expected 1 to " + std::to_string(max_width) + " rows, got " + std::to_string(fan_in));
        mlp.weights[l] = weight.data();
        if (!last) mlp.widths[l] = fan_in;
    }
    return mlp;
}

inline Products read_products(const std::string& prefix, const std::string& name) {
    for (std::size_t i = 0; i < std::size(products); ++i)
        if (name == products[i]) return static_cast<Products>(i);
    throw py::value_error(prefix + "products: unknown '" + name + "'");
}

// A score source from Python: ("mixture", [means, variances, weights, mean_scale, variance]) in float64, or
// ("mlp:ACTIVATION", [weight, …, weight, biases, output_scale, skip]) in the precision S of the kernel and in its
// place; mixtures are on the CPU always. "mlp:ACTIVATION:PRODUCTS" says how a CUDA device multiplies.
template <class S>
class Source {
 public:
    Source(const char* role, const std::string& kind, const py::list& tensors, std::int64_t dim, std::int64_t n_nodes,
           Place place = on_cpu)
        : place_(place) {
        const std::string prefix = std::string(role) + ".";
        if (kind == "mixture") {
            read_mixture(prefix, tensors, dim, n_nodes);
        } else {
            read_mlp(prefix, kind, tensors, dim, n_nodes);
        }
    }
    const ScoreSource<S>& arguments() const { return arguments_; }

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
        const std::int64_t layers = static_cast<std::int64_t>(tensors.size()) - 3;
        const bool named = kind.rfind("mlp:", 0) == 0;
        check(named, prefix + "kind: unknown score source '" + kind + "'");
        MlpArguments<S>& mlp = arguments_.mlp;
        arguments_.is_mlp = true;
        const std::size_t end = kind.find(':', 4);
        mlp = read_layers(prefix, kind.substr(4, end - 4), tensors, layers, dim, place_, numbers_);
        mlp.products = end == std::string::npos ? Products::fp32 : read_products(prefix, kind.substr(end + 1));
        std::int64_t units = dim;
        for (std::int64_t l = 0; l < mlp.hidden_layers; ++l) units += mlp.widths[l];
        const auto view = [&](const char* name, std::int64_t index, std::initializer_list<std::int64_t> sizes) {
            return numbers_
                .emplace_back((prefix + name).c_str(), tensors[static_cast<std::size_t>(index)], sizes, place_)
                .data();
        };
        mlp.biases = view("biases", layers, {n_nodes, units});
        mlp.output_scale = view("output_scale", layers + 1, {n_nodes});
        mlp.skip = view("skip", layers + 2, {n_nodes});
    }

    Place place_;
    ScoreSource<S> arguments_{};
    std::deque<TensorView<const double>> doubles_;
    std::deque<TensorView<const S>> numbers_;
};

}  // namespace tk::bindings
