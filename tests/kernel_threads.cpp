// The kernels of paths, rows and flows under ThreadSanitizer, without Python: two threads against one. Exits with 1
// where they differ. The numbers mean nothing; every table has some that are not zero.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "../csrc/cpu/kernels.hpp"

namespace tk {
inline namespace baseline {
const Kernels& table();
}
}  // namespace tk

namespace {

using tk::Interrupt;

const Interrupt never{[](void*) { return false; }, nullptr};
constexpr std::int64_t n = 700, dim = 3, n_nodes = 9;
bool all_same = true;

// `count` numbers between low and high, always the same.
template <class S>
std::vector<S> numbers(std::int64_t count, double low, double high, std::uint32_t state = 1) {
    std::vector<S> out(static_cast<std::size_t>(count));
    for (S& value : out) {
        state = 1664525u * state + 1013904223u;
        value = static_cast<S>(low + (high - low) * static_cast<double>(state >> 8) / 16777216.0);
    }
    return out;
}

// A mixture and a network with their tables for so many nodes.
template <class S>
struct Sources {
    explicit Sources(std::int64_t nodes)
        : means(numbers<double>(2 * dim, -1, 1)),
          variances(numbers<double>(2 * dim, 0.5, 1)),
          weights{0.25, 0.75},
          scales(numbers<double>(nodes, 0.5, 1)),
          spreads(numbers<double>(nodes, 0.1, 1)),
          first(numbers<S>(20 * dim, -1, 1)),
          second(numbers<S>(dim * 20, -1, 1)),
          biases(numbers<S>(nodes * (20 + dim), -1, 1)),
          outputs(numbers<S>(nodes, 0.5, 1)),
          skips(numbers<S>(nodes, -0.5, 0)) {}
    tk::ScoreSource<S> mixture() const {
        tk::ScoreSource<S> source{};
        source.mixture = {means.data(), variances.data(), weights.data(), scales.data(), spreads.data(), 2};
        return source;
    }
    tk::ScoreSource<S> network() const {
        tk::ScoreSource<S> source{};
        source.is_mlp = true;
        tk::MlpArguments<S>& mlp = source.mlp;
        mlp.weights[0] = first.data();
        mlp.weights[1] = second.data();
        mlp.widths[0] = 20;
        mlp.hidden_layers = 1;
        mlp.biases = biases.data();
        mlp.output_scale = outputs.data();
        mlp.skip = skips.data();
        return source;
    }
    std::vector<double> means, variances, weights, scales, spreads;
    std::vector<S> first, second, biases, outputs, skips;
};

// What a kernel writes, in bytes.
using Bytes = std::vector<unsigned char>;

template <class T>
void keep(Bytes& bytes, const std::vector<T>& values) {
    const std::size_t before = bytes.size();
    bytes.resize(before + values.size() * sizeof(T));
    std::memcpy(bytes.data() + before, values.data(), values.size() * sizeof(T));
}

// `kernel(threads)` returns what it wrote.
template <class Kernel>
void compare(const char* name, const Kernel& kernel) {
    const Bytes one = kernel(1), two = kernel(2);
    const bool same = one == two && !one.empty();
    std::printf("%s: %s\n", name, same ? "the same" : "DIFFERENT");
    all_same = all_same && same;
}

template <class S>
std::vector<S> room(std::int64_t count) {
    return std::vector<S>(static_cast<std::size_t>(count));
}

template <class S>
void try_paths(const tk::PrecisionKernels<S>& kernels, const tk::ScoreSource<S>& model,
               const tk::ScoreSource<S>& reference) {
    const std::vector<S> steps = numbers<S>(n_nodes * tk::node_columns, 0.1, 0.5), x = numbers<S>(n * dim, -2, 2);
    const std::vector<S> rates = numbers<S>(n_nodes * tk::rate_columns, 0.1, 1);
    for (const bool reverse : {false, true}) {
        const auto paths = [&](std::vector<S>& value, std::vector<S>& mismatch, std::vector<S>& last, S* coarse) {
            return tk::TrajectoryArguments<S>{
                n, dim, n_nodes,  steps.data(), model,           reference,   S(1),   false, reverse,
                1, 2,   x.data(), value.data(), mismatch.data(), last.data(), coarse, {}};
        };
        compare("trajectory", [&](int threads) {
            std::vector<S> value = room<S>(n), mismatch = room<S>(n), last = room<S>(n * dim), coarse = room<S>(2 * n);
            kernels.trajectory(paths(value, mismatch, last, coarse.data()), threads, never);
            Bytes out;
            for (const auto* part : {&value, &mismatch, &last, &coarse}) keep(out, *part);
            return out;
        });
        if (reverse) continue;
        compare("trajectory_averages", [&](int threads) {
            std::vector<S> none = room<S>(n), last = room<S>(n * dim), integrals = room<S>(n * tk::observables);
            std::vector<double> mean = room<double>(n_nodes * tk::observables), m2 = mean;
            kernels.trajectory_averages(
                {paths(none, none, last, nullptr), rates.data(), mean.data(), m2.data(), integrals.data()}, threads,
                never);
            Bytes out;
            keep(out, mean);
            keep(out, m2);
            keep(out, integrals);
            keep(out, last);
            return out;
        });
    }
}

template <class S>
void try_flow(const tk::PrecisionKernels<S>& kernels, const tk::ScoreSource<S>& score, int levels, std::int64_t nodes) {
    const std::vector<S> table = numbers<S>(nodes * tk::flow_columns, -0.5, -0.1), x = numbers<S>(n * dim, -2, 2);
    compare("probability_flow", [&](int threads) {
        std::vector<S> last = room<S>(n * dim), divergence = room<S>(n);
        std::vector<std::int64_t> evaluations = room<std::int64_t>(n), status = evaluations;
        kernels.probability_flow({n, dim, nodes, levels, table.data(), score, S(1e-3), S(1e-3), x.data(), last.data(),
                                  divergence.data(), evaluations.data(), status.data()},
                                 threads, never);
        Bytes out;
        keep(out, last);
        keep(out, divergence);
        keep(out, evaluations);
        keep(out, status);
        return out;
    });
}

// The kernels behind streamed paths and estimates of traces, and what draws and moves points.
template <class S>
void try_rows(const tk::PrecisionKernels<S>& kernels, const tk::ScoreSource<S>& score) {
    const std::vector<S> table = numbers<S>(n_nodes * tk::node_columns, 0.1, 0.5);
    const std::vector<S> x = numbers<S>(n_nodes * n * dim, -2, 2), y = numbers<S>(n_nodes * n * dim, -2, 2, 7);
    for (const std::int64_t nodes : {std::int64_t(1), n_nodes})
        compare("trajectory_step", [&](int threads) {
            std::vector<S> value = room<S>(nodes * n), mismatch = value, next = room<S>(nodes * n * dim), noise = next;
            const bool draw = nodes == 1;
            kernels.trajectory_step({nodes,
                                     n,
                                     dim,
                                     table.data(),
                                     x.data(),
                                     y.data(),
                                     x.data(),
                                     draw ? nullptr : y.data(),
                                     draw ? nullptr : x.data(),
                                     nullptr,
                                     draw,
                                     draw,
                                     false,
                                     false,
                                     1,
                                     2,
                                     3,
                                     value.data(),
                                     mismatch.data(),
                                     draw ? next.data() : nullptr,
                                     draw ? noise.data() : nullptr},
                                    threads, never);
            Bytes out;
            for (const auto* part : {&value, &mismatch, &next, &noise}) keep(out, *part);
            return out;
        });
    compare("hutchinson", [&](int threads) {
        std::vector<S> out = room<S>(n);
        kernels.hutchinson({n, dim, tk::Probe::sphere, 1, 2, 3, x.data(), out.data()}, threads, never);
        Bytes bytes;
        keep(bytes, out);
        return bytes;
    });
    compare("normals", [&](int threads) {
        std::vector<S> out = room<S>(n * 5);
        kernels.normals({n, 5, 1, 2, 3, 0, out.data()}, threads, never);
        Bytes bytes;
        keep(bytes, out);
        return bytes;
    });
    compare("score", [&](int threads) {
        std::vector<S> value = room<S>(n * dim), divergence = room<S>(n), density = room<S>(n);
        kernels.score({score, {n, dim, x.data(), value.data(), divergence.data(), density.data()}}, threads, never);
        Bytes bytes;
        for (const auto* part : {&value, &divergence, &density}) keep(bytes, *part);
        return bytes;
    });
    compare("langevin", [&](int threads) {
        const std::vector<S> matrix = numbers<S>(dim * dim, 0, 1), steps = numbers<S>(2 * n_nodes, 0.1, 0.3);
        std::vector<S> last = room<S>(n * dim), work = room<S>(n);
        kernels.langevin({n, dim, n_nodes, matrix.data(), matrix.data(), matrix.data(), steps.data(), 1, 2, x.data(),
                          last.data(), work.data()},
                         threads, never);
        Bytes bytes;
        keep(bytes, last);
        keep(bytes, work);
        return bytes;
    });
}

template <class S>
void try_all(const tk::PrecisionKernels<S>& kernels) {
    const int levels = 6;
    const std::int64_t flow_nodes = 9 * (std::int64_t(1) << levels) - 3;
    const Sources<S> along(n_nodes), flowing(flow_nodes);
    try_paths(kernels, along.mixture(), along.mixture());
    try_paths(kernels, along.network(), along.mixture());
    try_flow(kernels, flowing.mixture(), levels, flow_nodes);
    try_flow(kernels, flowing.network(), levels, flow_nodes);
    try_rows(kernels, along.mixture());
}

}  // namespace

int main() {
    try_all(tk::table().float32);
    try_all(tk::table().float64);
    return all_same ? 0 : 1;
}
