// A stored call handed to its kernel: arguments in the order of the native function's signature.
#pragma once

#include <initializer_list>

#include "../../csrc/cpu/kernels.hpp"
#include "../../csrc/cpu/statistics.hpp"
#include "problem_file.hpp"

namespace {

using tk::Interrupt;

template <class S>
const tk::PrecisionKernels<S>& precision() {
    if constexpr (sizeof(S) == 4)
        return tk::kernels().float32;
    else
        return tk::kernels().float64;
}

// The arguments of one call, in the order of the native function's signature.
template <class S>
class Arguments {
 public:
    explicit Arguments(Call& call) : values_(call.arguments) {}

    Array& array(std::size_t i) { return values_.at(i).array; }
    S* numbers(std::size_t i) { return array(i).template data<S>(); }
    double* doubles(std::size_t i) { return array(i).template data<double>(); }
    std::int64_t* integers(std::size_t i) { return array(i).template data<std::int64_t>(); }
    S number(std::size_t i) { return static_cast<S>(exact(i)); }
    double exact(std::size_t i) { return values_.at(i).number; }
    std::int64_t integer(std::size_t i) { return values_.at(i).integer; }
    std::uint64_t word(std::size_t i) { return static_cast<std::uint64_t>(values_.at(i).integer); }
    bool flag(std::size_t i) { return values_.at(i).integer != 0; }
    const std::string& text(std::size_t i) { return values_.at(i).text; }

    // What a function returns; true.
    bool fill(std::size_t i, std::initializer_list<double> results) {
        std::copy(results.begin(), results.end(), doubles(i));
        return true;
    }

    std::vector<Value>& list(std::size_t i) { return values_.at(i).list; }

    // An activation, and the matrices that are the first `layers` tensors.
    static tk::MlpArguments<S> network(const std::string& activation, std::vector<Value>& tensors, std::size_t layers) {
        tk::MlpArguments<S> out{};
        out.activation = -1;
        for (int a = 0; a < 4; ++a)
            if (activation == tk::activations[a]) out.activation = a;
        out.hidden_layers = static_cast<std::int64_t>(layers) - 1;
        for (std::size_t l = 0; l < layers; ++l) {
            out.weights[l] = tensors[l].array.template data<S>();
            if (l + 1 < layers) out.widths[l] = tensors[l].array.size(0);
        }
        return out;
    }

    // A kind and its tensors, at i and i + 1.
    tk::ScoreSource<S> source(std::size_t i) {
        tk::ScoreSource<S> out{};
        std::vector<Value>& tensors = values_.at(i + 1).list;
        if (text(i) == "mixture") {
            tk::MixtureArguments& mixture = out.mixture;
            const double** const to[] = {&mixture.means, &mixture.variances, &mixture.weights, &mixture.mean_scale,
                                         &mixture.variance};
            for (std::size_t j = 0; j < 5; ++j) *to[j] = tensors.at(j).array.template data<double>();
            mixture.components = tensors[0].array.size(0);
            return out;
        }
        out.is_mlp = true;
        const std::size_t layers = tensors.size() - 3;
        out.mlp = network(text(i).substr(4), tensors, layers);
        out.mlp.biases = tensors[layers].array.template data<S>();
        out.mlp.output_scale = tensors[layers + 1].array.template data<S>();
        out.mlp.skip = tensors[layers + 2].array.template data<S>();
        return out;
    }

    tk::PointSet<S> points(std::size_t i) {
        Array& leaves = array(i);
        return {.n = array(i + 1).size(0),
                .dim = leaves.size(1),
                .leaf = leaves.size(2),
                .points = numbers(i),
                .order = array(i + 1).template data<std::int32_t>(),
                .bounds = numbers(i + 2)};
    }

 private:
    std::vector<Value>& values_;
};

template <class S>
tk::TrajectoryArguments<S> paths(Arguments<S>& a, std::size_t sources) {
    tk::TrajectoryArguments<S> out{};
    out.n = a.array(0).size(0);
    out.dim = a.array(0).size(1);
    out.n_nodes = a.array(1).size(0);
    out.steps = a.numbers(1);
    out.model = a.source(sources);
    out.reference = a.source(sources + 2);
    out.x = a.numbers(0);
    return out;
}

template <class S>
tk::MlpGapArguments<S> mlp_gap_arguments(Arguments<S>& a) {
    tk::MlpGapArguments<S> out{};
    out.dim = a.array(0).size(0);
    out.n = a.array(0).size(1);
    out.mlp = a.network(a.text(1), a.list(2), a.list(2).size());
    for (std::size_t l = 0; l < a.list(3).size(); ++l) {
        out.biases[l] = a.list(3)[l].array.template data<S>();
        Array& context = a.list(4)[l].array;
        out.context[l] = context.size(1) == 0 ? nullptr : context.template data<S>();
    }
    out.level_size = a.array(5).size(0);
    out.level = a.numbers(5);
    out.conditions = a.array(6).size(0);
    out.condition_size = a.array(6).size(1);
    out.condition = a.numbers(6);
    out.residual = a.flag(7);
    out.from_centre = a.numbers(0);
    out.enter = a.numbers(8);
    out.scale = a.numbers(9);
    out.skip = a.numbers(10);
    out.centre = a.numbers(11);
    out.mean_scale = a.numbers(12);
    out.root = a.numbers(13);
    out.reference = static_cast<S>(a.number(14));
    out.noise = a.numbers(15);
    out.seed = a.word(16);
    out.path_offset = a.word(17);
    out.out = a.numbers(18);
    return out;
}

// Runs one call; false if no such kernel is known here.
template <class S>
bool run(Call& call, int threads) {
    const tk::PrecisionKernels<S>& k = precision<S>();
    const Interrupt never{[](void*) { return false; }, nullptr};
    const std::string& name = call.kernel;
    Arguments<S> a(call);
    const auto n = [&](std::size_t i) { return a.array(i).size(0); };
    const auto dim = [&](std::size_t i) { return a.array(i).size(1); };
    if (name == "evaluate") {
        for (int f = 0; f < 10; ++f)
            if (a.text(0) == tk::functions[f])
                k.evaluate(static_cast<tk::Function>(f), a.numbers(1), a.numbers(2), n(1));
        return true;
    }
    if (name == "normals")
        return k.normals({.n = n(4),
                          .count = dim(4),
                          .seed = a.word(0),
                          .path_offset = a.word(2),
                          .first = a.word(3),
                          .purpose = static_cast<std::uint32_t>(a.integer(1)),
                          .out = a.numbers(4)},
                         threads, never);
    if (name == "score")
        return k.score({.source = a.source(0),
                        .out = {.n = n(2),
                                .dim = dim(2),
                                .x = a.numbers(2),
                                .score = a.numbers(3),
                                .divergence = a.numbers(4),
                                .log_density = a.numbers(5)}},
                       threads, never);
    if (name == "trajectory" || name == "trajectory_parts") {
        const bool parts = name == "trajectory_parts";
        tk::TrajectoryArguments<S> p = paths(a, parts ? 3 : 2);
        p.divergence_weight = a.number(parts ? 7 : 6);
        p.sampler = a.flag(parts ? 8 : 7);
        p.reverse = !parts && a.flag(8);
        p.seed = a.word(9);
        p.path_offset = a.word(10);
        p.value = a.numbers(11);
        p.mismatch = a.numbers(12);
        p.x_last = a.numbers(13);
        p.coarse = a.numbers(14);
        if (parts)
            p.split = {.table = a.numbers(2),
                       .stretches = a.array(17).size(1),
                       .columns = a.array(17).size(2),
                       .totals = a.numbers(15),
                       .nodes = a.doubles(16),
                       .cells = a.doubles(17),
                       .squares = a.doubles(18)};
        return k.trajectory(p, threads, never);
    }
    if (name == "trajectory_averages") {
        tk::TrajectoryArguments<S> p = paths(a, 3);
        p.seed = a.word(7);
        p.path_offset = a.word(8);
        p.x_last = a.numbers(12);
        return k.trajectory_averages(
            {.paths = p, .rates = a.numbers(2), .mean = a.doubles(9), .m2 = a.doubles(10), .integrals = a.numbers(11)},
            threads, never);
    }
    if (name == "trajectory_step" || name == "trajectory_block") {
        tk::TrajectoryStepArguments<S> s{};
        const bool one = name == "trajectory_step";
        s.nodes = one ? 1 : n(0);
        s.n = one ? n(0) : a.array(0).size(1);
        s.dim = one ? dim(0) : a.array(0).size(2);
        s.x = a.numbers(0);
        s.model = a.numbers(1);
        s.reference = a.numbers(2);
        s.table = a.numbers(3);
        if (one) {
            s.drawn = a.numbers(4);
            s.carried = a.numbers(5);
            s.previous = a.numbers(6);
            s.draw = a.flag(7);
            s.draw_carried = a.flag(8);
            s.sampler = a.flag(9);
            s.reverse = a.flag(10);
            s.seed = a.word(11);
            s.path_offset = a.word(12);
            s.first = a.word(13);
            s.value = a.numbers(14);
            s.mismatch = a.numbers(15);
            s.next = a.numbers(16);
            s.noise = a.numbers(17);
        } else {
            s.carried = a.numbers(4);
            s.drawn = s.carried + s.n * s.dim;
            s.previous = a.numbers(5);
            s.sampler = a.flag(6);
            s.value = a.numbers(7);
            s.mismatch = a.numbers(8);
        }
        return k.trajectory_step(s, threads, never);
    }
    if (name == "hutchinson")
        return k.hutchinson({.n = n(0),
                             .dim = dim(0),
                             .kind = static_cast<tk::Probe>(a.integer(1)),
                             .seed = a.word(2),
                             .path_offset = a.word(3),
                             .first = a.word(4),
                             .products = a.numbers(0),
                             .out = a.numbers(5)},
                            threads, never);
    if (name == "probability_flow")
        return k.probability_flow({.n = n(0),
                                   .dim = dim(0),
                                   .n_nodes = n(1),
                                   .levels = static_cast<int>(a.integer(2)),
                                   .table = a.numbers(1),
                                   .score = a.source(3),
                                   .rtol = a.number(5),
                                   .atol = a.number(6),
                                   .x = a.numbers(0),
                                   .x_last = a.numbers(7),
                                   .divergence = a.numbers(8),
                                   .evaluations = a.integers(9),
                                   .status = a.integers(10)},
                                  threads, never);
    if (name == "langevin")
        return k.langevin({.n = n(0),
                           .dim = dim(0),
                           .n_steps = n(4),
                           .drift = a.numbers(1),
                           .noise = a.numbers(2),
                           .circulation = a.numbers(3),
                           .steps = a.numbers(4),
                           .seed = a.word(5),
                           .path_offset = a.word(6),
                           .x = a.numbers(0),
                           .x_last = a.numbers(7),
                           .work = a.numbers(8)},
                          threads, never);
    if (name == "gaussian_gap")
        return k.gaussian_gap({.n = dim(0),
                               .dim = n(0),
                               .levels = a.flag(8) ? 0 : dim(0),
                               .from_first = a.numbers(0),
                               .from_second = a.numbers(1),
                               .rotation = a.numbers(2),
                               .first = a.numbers(3),
                               .second = a.numbers(4),
                               .centre = a.numbers(5),
                               .mean_scale = a.numbers(6),
                               .root = a.numbers(7),
                               .reference = a.number(9),
                               .noise = a.numbers(10),
                               .seed = a.word(11),
                               .path_offset = a.word(12),
                               .out = a.numbers(13)},
                              threads, never);
    if (name == "moments") {
        const tk::Moments m = tk::reduce_dealt<tk::Moments>(a.numbers(0), n(0), 1.0, threads);
        return a.fill(1, {m.n, m.mean, m.m2, m.m3, m.m4});
    }
    if (name == "exponential_sums") {
        const tk::ExponentialSums e = tk::reduce_dealt<tk::ExponentialSums>(a.numbers(0), n(0), a.exact(1), threads);
        return a.fill(2, {e.top, e.first, e.second});
    }
    if (name == "mlp_gap") return k.mlp_gap(mlp_gap_arguments(a), threads, never);
    if (name == "neighbours_build")
        return k.neighbours_build({.n = n(0),
                                   .dim = dim(0),
                                   .leaf = a.array(2).size(2),
                                   .scale = a.number(1),
                                   .x = a.numbers(0),
                                   .points = a.numbers(2),
                                   .order = a.array(3).template data<std::int32_t>(),
                                   .bounds = a.numbers(4)},
                                  threads, never);
    if (name == "neighbours_search")
        return k.neighbours_search({.data = a.points(0),
                                    .queries = a.points(3),
                                    .own = a.flag(6),
                                    .max_norm = a.flag(7),
                                    .k = dim(10),
                                    .scale = a.number(8),
                                    .upper = a.number(9),
                                    .distances = a.numbers(10),
                                    .indices = a.integers(11),
                                    .pairs = a.integers(12)},
                                   threads, never);
    if (name == "neighbours_count")
        return k.neighbours_count({.data = a.points(0),
                                   .queries = a.points(3),
                                   .max_norm = a.flag(6),
                                   .strict = a.flag(7),
                                   .scale = a.number(8),
                                   .radius = a.numbers(9),
                                   .counts = a.integers(10)},
                                  threads, never);
    return false;
}

}  // namespace
