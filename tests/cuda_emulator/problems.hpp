// What problems are made of, the same in every run, and the line that says what came out.
#pragma once

#include <cstdio>
#include <vector>

#include "../../csrc/cuda/kernels.hpp"

namespace {

using tk::ScoreSource;

// Numbers in (−1, 1), the same in every run.
class Numbers {
 public:
    double next() {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<double>(state_ >> 33) / 1073741824.0 - 1.0;
    }
    template <class T>
    std::vector<T> vector(std::int64_t count, double offset = 0.0) {
        std::vector<T> values(static_cast<std::size_t>(count));
        for (T& value : values) value = static_cast<T>(next() + offset);
        return values;
    }

 private:
    std::uint64_t state_ = 1;
};

template <class T>
std::uint64_t hash(const std::vector<T>& values, std::uint64_t seed = 1469598103934665603u) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
    for (std::size_t i = 0; i < values.size() * sizeof(T); ++i) seed = (seed ^ bytes[i]) * 1099511628211u;
    return seed;
}

// A mixture or a network with the memory that its arguments point to.
template <class S>
struct Source {
    std::vector<double> means, variances, weights, mean_scale, variance;
    std::vector<std::vector<S>> numbers;
    ScoreSource<S> arguments{};

    void mixture(Numbers& random, std::int64_t dim, std::int64_t nodes, std::int64_t components, bool isotropic) {
        means = random.vector<double>(components * dim);
        variances = random.vector<double>(components * dim, 1.5);
        if (isotropic)
            for (std::size_t i = 0; i < variances.size(); ++i) variances[i] = 0.25;
        weights = random.vector<double>(components, 1.5);
        mean_scale = random.vector<double>(nodes, 2.0);
        variance = random.vector<double>(nodes, 2.0);
        arguments.mixture = {means.data(),      variances.data(), weights.data(),
                             mean_scale.data(), variance.data(),  components};
    }

    void network(Numbers& random, std::int64_t dim, std::int64_t nodes, const std::vector<std::int64_t>& widths,
                 int activation, tk::Products products = tk::Products::fp32) {
        auto& mlp = arguments.mlp;
        arguments.is_mlp = true;
        mlp.activation = activation;
        mlp.products = products;
        mlp.hidden_layers = static_cast<std::int64_t>(widths.size());
        std::int64_t fan_in = dim, units = dim;
        for (std::size_t l = 0; l <= widths.size(); ++l) {
            const std::int64_t rows = l < widths.size() ? widths[l] : dim;
            numbers.push_back(random.vector<S>(rows * fan_in));
            mlp.weights[l] = numbers.back().data();
            if (l < widths.size()) units += mlp.widths[l] = rows;
            fan_in = rows;
        }
        for (auto [pointer, count] :
             {std::pair{&mlp.biases, nodes * units}, {&mlp.output_scale, nodes}, {&mlp.skip, nodes}}) {
            numbers.push_back(random.vector<S>(count));
            *pointer = numbers.back().data();
        }
    }
};

template <class... Vectors>
void report(const char* name, std::size_t precision, std::int64_t n, std::int64_t dim, const Vectors&... outputs) {
    std::uint64_t seed = 1469598103934665603u;
    ((seed = hash(outputs, seed)), ...);
    std::printf("%s %zu %lld %lld %016llx\n", name, precision, static_cast<long long>(n), static_cast<long long>(dim),
                static_cast<unsigned long long>(seed));
}

}  // namespace
