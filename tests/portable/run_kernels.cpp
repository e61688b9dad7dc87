// Every CPU kernel against stored float64 references, without Python: `run_kernels problems.bin` prints a line for each
// kernel and precision, and fails if an error is above its bound, if two threads give other bits than one, if bits
// depend on the caller's mode for denormal numbers, or if a kernel leaves that mode changed.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <map>

#include "../../csrc/cpu/denormals.hpp"
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
        Array& bias = a.list(3)[l].array;
        if (l == 0) out.conditions = bias.size(0);
        out.own_biases[l] = bias.size(0) == out.conditions && bias.size(2) == out.n;
        out.biases[l] = bias.template data<S>();
    }
    out.residual = a.flag(4);
    out.from_centre = a.numbers(0);
    out.enter = a.numbers(5);
    out.scale = a.numbers(6);
    out.skip = a.numbers(7);
    out.centre = a.numbers(8);
    out.mean_scale = a.numbers(9);
    out.root = a.numbers(10);
    out.reference = static_cast<S>(a.number(11));
    out.noise = a.numbers(12);
    out.seed = a.word(13);
    out.path_offset = a.word(14);
    out.out = a.numbers(15);
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
    if (name == "trajectory") {
        tk::TrajectoryArguments<S> p = paths(a, 2);
        p.divergence_weight = a.number(6);
        p.sampler = a.flag(7);
        p.reverse = a.flag(8);
        p.seed = a.word(9);
        p.path_offset = a.word(10);
        p.value = a.numbers(11);
        p.mismatch = a.numbers(12);
        p.x_last = a.numbers(13);
        p.coarse = a.numbers(14);
        return k.trajectory(p, threads, never);
    }
    if (name == "trajectory_parts") {
        tk::TrajectoryArguments<S> p = paths(a, 3);
        p.divergence_weight = a.number(7);
        p.sampler = a.flag(8);
        p.seed = a.word(9);
        p.path_offset = a.word(10);
        p.value = a.numbers(11);
        p.mismatch = a.numbers(12);
        p.x_last = a.numbers(13);
        p.coarse = a.numbers(14);
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

std::vector<Array*> outputs(Call& call) {
    std::vector<Array*> out;
    for (Value& value : call.arguments)
        if (value.array.output) out.push_back(&value.array);
    return out;
}

// The largest RMS error over its bound of the columns of an output; 0 where there is nothing to compare.
double error_of(Array& array) {
    double worst = 0;
    const std::size_t columns = array.bounds.size(), count = array.reference.size();
    for (std::size_t column = 0; column < columns; ++column) {
        double sum = 0;
        for (std::size_t i = column; i < count; i += columns) {
            const double difference = array.at(static_cast<std::int64_t>(i)) - array.reference[i];
            if (difference != 0 && array.at(static_cast<std::int64_t>(i)) != array.reference[i])
                sum += difference * difference;
        }
        const double rms = std::sqrt(sum / std::max<double>(1, static_cast<double>(count / columns)));
        const double relative = rms == 0 ? 0 : rms / array.bounds[column];
        if (!(relative <= worst)) worst = relative;
    }
    return worst;
}

// Whether statistics of many numbers, whose tree threads share, have the bits of one thread's.
bool statistics_deal_alike() {
    std::vector<float> values(100003);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i));
    const auto moments = [&](int threads) {
        return tk::reduce_dealt<tk::Moments>(values.data(), static_cast<std::int64_t>(values.size()), 1.0, threads);
    };
    const tk::Moments one = moments(1), two = moments(2);
    return one.mean == two.mean && one.m2 == two.m2 && one.m3 == two.m3 && one.m4 == two.m4;
}

struct Tally {
    int calls = 0, outputs = 0, wrong = 0;
    double worst = 0;
};

bool run_in_its_precision(Call& call, int threads) {
    return call.is_double ? run<double>(call, threads) : run<float>(call, threads);
}

// The bits of all outputs after a run.
std::vector<std::vector<std::uint64_t>> bits(Call& call, int threads) {
    for (Array* array : outputs(call)) array->bytes.assign(array->bytes.size(), ~std::uint64_t{0});
    if (!run_in_its_precision(call, threads)) throw std::runtime_error(call.kernel + ": unknown here");
    std::vector<std::vector<std::uint64_t>> out;
    for (Array* array : outputs(call)) out.push_back(array->bytes);
    return out;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 2) throw std::runtime_error("usage: run_kernels problems.bin");
    const std::uint32_t counter[4] = {0, 0, 0, 0}, known[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    std::uint32_t words[4];
    tk::kernels().philox(counter, 0, words);
    int failures = std::memcmp(words, known, sizeof known) != 0;  // of Random123's table of known answers
    std::printf("%s, %d lanes; philox %s\n", tk::kernels().name, tk::kernels().lanes,
                failures ? "WRONG" : "as published");

    if (!statistics_deal_alike()) ++failures, std::puts("moments: bits depend on threads");

    std::map<std::string, Tally> tallies;
    ProblemFile file(argv[1]);
    for (Call call; file.next(call);) {
        Tally& tally = tallies[call.kernel + (call.is_double ? " float64" : " float32")];
        ++tally.calls;
        const auto with_two = bits(call, 2), with_one = bits(call, 1);
        std::vector<std::vector<std::uint64_t>> flushed;
        {
            const tk::DenormalScope callers(tk::Denormals::flushed);
            const tk::DenormalScope::Control mode = tk::DenormalScope(tk::Denormals::flushed).before();
            flushed = bits(call, 1);
            if (tk::DenormalScope(tk::Denormals::flushed).before() != mode) ++tally.wrong, std::puts("mode changed");
        }
        if (with_two != with_one || flushed != with_one) {
            ++tally.wrong;
            std::printf("%s: bits depend on threads or on the caller's mode\n", call.kernel.c_str());
        }
        for (Array* array : outputs(call)) {
            if (array->bounds.empty()) continue;
            const double error = error_of(*array);
            ++tally.outputs;
            tally.worst = std::max(tally.worst, error);
            if (!(error <= 1)) {
                ++tally.wrong;
                std::printf("%s: an RMS error is %.3g times its bound\n", call.kernel.c_str(), error);
            }
        }
    }
    for (const auto& [name, tally] : tallies) {
        std::printf("%-28s %3d calls, %3d outputs, worst error %5.2f of its bound%s\n", name.c_str(), tally.calls,
                    tally.outputs, tally.worst, tally.wrong > 0 ? ", WRONG" : "");
        failures += tally.wrong;
    }
    std::puts(failures > 0 || tallies.empty() ? "FAILED" : "all as they should be");
    return failures > 0 || tallies.empty();
} catch (const std::exception& error) {
    std::puts(error.what());
    return 2;
}
