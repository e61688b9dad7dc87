// Every kernel of csrc/cuda on small problems, for builds under sanitizers: `run_kernels ORDER [few]` prints a hash of
// each problem's outputs, which must not depend on the order of threads. What the numbers should be, pytest checks.

#include "cuda_emulator.hpp"
#include "neighbour_problems.hpp"
#include "problems.hpp"

namespace {

template <class S>
void normals(std::int64_t n, std::int64_t count, std::uint64_t first) {
    std::vector<S> out(static_cast<std::size_t>(n * count));
    tk::cuda::normals<S>(
        {.n = n, .count = count, .seed = 7, .path_offset = 1u << 31, .first = first, .purpose = 0, .out = out.data()},
        nullptr);
    std::printf("normals %zu %lld %016llx\n", sizeof(S), static_cast<long long>(n),
                static_cast<unsigned long long>(hash(out)));
}

template <class S>
void statistics(Numbers& random, std::int64_t n) {
    const auto values = random.vector<S>(n);
    const tk::Moments m = tk::cuda::moments<S>(values.data(), n, nullptr);
    const tk::ExponentialSums e = tk::cuda::exponential_sums<S>(values.data(), n, -2.0, nullptr);
    std::printf("statistics %zu %lld %a %a %a %a\n", sizeof(S), static_cast<long long>(n), m.m2, m.m4, e.top, e.second);
}

// The score at the first node, and the whole trajectory.
template <class S>
void paths(Numbers& random, const char* name, const Source<S>& model, const Source<S>& reference, std::int64_t n,
           std::int64_t dim, std::int64_t nodes, bool sampler, bool reverse, double weight) {
    const auto x = random.vector<S>(n * dim);
    const auto steps = random.vector<S>(nodes * tk::node_columns);
    std::vector<S> score(x.size()), last(x.size()), one(static_cast<std::size_t>(n)), two(one), three(one), four(one);
    std::vector<S> coarse(static_cast<std::size_t>(2 * n));
    tk::cuda::score<S>({.source = model.arguments,
                        .out = {.n = n,
                                .dim = dim,
                                .x = x.data(),
                                .score = score.data(),
                                .divergence = one.data(),
                                .log_density = two.data()}},
                       nullptr);
    tk::cuda::trajectory<S>({.n = n,
                             .dim = dim,
                             .n_nodes = nodes,
                             .steps = steps.data(),
                             .model = model.arguments,
                             .reference = reference.arguments,
                             .divergence_weight = static_cast<S>(weight),
                             .sampler = sampler,
                             .reverse = reverse,
                             .seed = 3,
                             .path_offset = 11,
                             .x = x.data(),
                             .value = three.data(),
                             .mismatch = four.data(),
                             .x_last = last.data(),
                             .coarse = sampler ? nullptr : coarse.data(),
                             .split = {}},
                            nullptr);
    const std::uint64_t hashes = hash(score, hash(one, hash(two, hash(three, hash(four, hash(last, hash(coarse)))))));
    std::printf("%s %zu %lld %lld %016llx\n", name, sizeof(S), static_cast<long long>(n), static_cast<long long>(dim),
                static_cast<unsigned long long>(hashes));
}

// Nodes of paths whose scores are given, noise drawn or given, and the contraction with probes. `apart`: rows that do
// not lie on sixteen bytes.
template <class S>
void rows(Numbers& random, std::int64_t n, std::int64_t dim, bool apart) {
    constexpr std::int64_t nodes = 3;
    const std::int64_t first = apart ? 1 : 0, size = n * dim;
    const auto x = random.vector<S>(nodes * size + 1), model = random.vector<S>(nodes * size + 1);
    const auto reference = random.vector<S>(nodes * size + 1), given = random.vector<S>((nodes + 1) * size + 1);
    const auto table = random.vector<S>(nodes * tk::node_columns);
    for (int kind = 0; kind < 4; ++kind) {
        const bool sampler = kind % 2 == 1, reverse = kind > 1;
        std::vector<S> value(static_cast<std::size_t>(nodes * n)), mismatch(value);
        std::vector<S> next(static_cast<std::size_t>(size)), noise(next);
        tk::TrajectoryStepArguments<S> a{};
        a.nodes = 1;
        a.n = n;
        a.dim = dim;
        a.table = table.data();
        a.x = x.data() + first;
        a.model = model.data() + first;
        a.reference = reference.data() + first;
        a.carried = reverse ? given.data() + first : nullptr;
        a.previous = sampler ? given.data() + first : nullptr;
        a.draw = true;
        a.draw_carried = !reverse;
        a.sampler = sampler;
        a.reverse = reverse;
        a.seed = 5;
        a.path_offset = 1u << 31;
        a.first = static_cast<std::uint64_t>(3 * dim);
        a.value = value.data();
        a.mismatch = mismatch.data();
        a.next = next.data();
        a.noise = reverse ? noise.data() : nullptr;
        tk::cuda::trajectory_step<S>(a, nullptr);
        report("step", sizeof(S), n, dim, value, mismatch, next, noise);
        tk::cuda::hutchinson<S>({.n = n,
                                 .dim = dim,
                                 .kind = static_cast<tk::Probe>(kind % 3),
                                 .seed = 5,
                                 .path_offset = 9,
                                 .first = 3,
                                 .products = x.data() + first,
                                 .out = value.data()},
                                nullptr);
        report("hutchinson", sizeof(S), n, dim, value);
        if (reverse) continue;
        a.nodes = nodes;
        a.draw = a.draw_carried = false;
        a.carried = given.data() + first;
        a.drawn = given.data() + first + size;
        a.next = a.noise = nullptr;
        tk::cuda::trajectory_step<S>(a, nullptr);
        report("nodes", sizeof(S), n, dim, value, mismatch);
    }
}

template <class S>
void langevin(Numbers& random, std::int64_t n, std::int64_t dim) {
    const auto x = random.vector<S>(n * dim), drift = random.vector<S>(dim * dim), noise = random.vector<S>(dim * dim);
    const auto circulation = random.vector<S>(dim * dim), steps = random.vector<S>(2 * 5);
    std::vector<S> last(x.size()), work(static_cast<std::size_t>(n));
    tk::cuda::langevin<S>({.n = n,
                           .dim = dim,
                           .n_steps = 5,
                           .drift = drift.data(),
                           .noise = noise.data(),
                           .circulation = circulation.data(),
                           .steps = steps.data(),
                           .seed = 7,
                           .path_offset = 3,
                           .x = x.data(),
                           .x_last = last.data(),
                           .work = work.data()},
                          nullptr);
    report("langevin", sizeof(S), n, dim, last, work);
}

template <class S>
void gaussian_gap(Numbers& random, std::int64_t n, std::int64_t dim, std::int64_t levels, bool drawn) {
    const auto first = random.vector<S>(n * dim), second = random.vector<S>(n * dim), noise = random.vector<S>(n * dim);
    const auto rotation = random.vector<S>(dim * dim), centre = random.vector<S>(dim);
    const auto narrow = random.vector<S>(dim, 1.5), wide = random.vector<S>(dim, 2.5);
    const auto scales = random.vector<S>(levels + 1, 1.5), roots = random.vector<S>(levels + 1, 1.5);
    std::vector<S> out(static_cast<std::size_t>(tk::gap_columns * n));
    tk::cuda::gaussian_gap<S>({.n = n,
                               .dim = dim,
                               .levels = levels,
                               .from_first = first.data(),
                               .from_second = second.data(),
                               .rotation = rotation.data(),
                               .first = narrow.data(),
                               .second = wide.data(),
                               .centre = centre.data(),
                               .mean_scale = scales.data(),
                               .root = roots.data(),
                               .reference = S(1),
                               .noise = drawn ? nullptr : noise.data(),
                               .seed = 7,
                               .path_offset = 3,
                               .out = out.data()},
                              nullptr);
    report("gaussian gap", sizeof(S), n, dim, out);
}

// A network of one hidden layer, or of a residual block of three.
template <class S>
void mlp_gap(Numbers& random, std::int64_t n, std::int64_t dim, std::int64_t conditions, bool residual) {
    const std::int64_t width = 24, layers = residual ? 4 : 2, pairs = conditions > 1 ? conditions - 1 : 1;
    std::vector<std::vector<S>> numbers;
    const auto given = [&](std::int64_t count) { return numbers.emplace_back(random.vector<S>(count)).data(); };
    tk::MlpGapArguments<S> a{};
    a.n = n, a.dim = dim, a.conditions = conditions, a.residual = residual;
    a.level_size = dim, a.condition_size = 2;
    a.mlp.hidden_layers = layers - 1;
    for (std::int64_t l = 0; l < layers; ++l) {
        const std::int64_t rows = l + 1 < layers ? width : dim;
        if (l + 1 < layers) a.mlp.widths[l] = rows;
        a.mlp.weights[l] = given(rows * (l > 0 ? width : dim));
        a.biases[l] = given(rows);
        a.context[l] = l % 2 == 0 ? given(rows * (a.level_size + a.condition_size)) : nullptr;
    }
    a.level = given(a.level_size * n), a.condition = given(conditions * a.condition_size * n);
    a.from_centre = given(n * dim), a.enter = given(n * dim), a.scale = given(n * dim), a.skip = given(n * dim);
    a.noise = residual ? given(n * dim) : nullptr;
    a.centre = given(dim), a.mean_scale = given(n), a.root = given(n);
    a.reference = S(1);
    std::vector<S> out(static_cast<std::size_t>(tk::gap_columns * pairs * n));
    a.out = out.data();
    tk::cuda::mlp_gap<S>(a, nullptr);
    report("perceptron gap", sizeof(S), n, dim, out);
}

template <class S>
void averages(Numbers& random, const Source<S>& model, const Source<S>& reference, std::int64_t n, std::int64_t dim,
              std::int64_t nodes) {
    const auto x = random.vector<S>(n * dim), steps = random.vector<S>(nodes * tk::node_columns),
               rates = random.vector<S>(nodes * 5);
    std::vector<S> last(x.size()), integrals(static_cast<std::size_t>(7 * n));
    std::vector<double> mean(static_cast<std::size_t>(7 * nodes)), m2(mean);
    tk::TrajectoryArguments<S> paths{};
    paths.n = n;
    paths.dim = dim;
    paths.n_nodes = nodes;
    paths.steps = steps.data();
    paths.model = model.arguments;
    paths.reference = reference.arguments;
    paths.seed = 3;
    paths.path_offset = 11;
    paths.x = x.data();
    paths.x_last = last.data();
    tk::cuda::trajectory_averages<S>(
        {.paths = paths, .rates = rates.data(), .mean = mean.data(), .m2 = m2.data(), .integrals = integrals.data()},
        nullptr);
    report("averages", sizeof(S), n, dim, last, integrals, mean, m2);
}

// Forward paths whose Δs is split, by component or not, in three stretches of time of which one has no node.
template <class S>
void parts(Numbers& random, const Source<S>& model, const Source<S>& reference, std::int64_t n, std::int64_t dim,
           std::int64_t nodes, bool by_component) {
    const auto x = random.vector<S>(n * dim), steps = random.vector<S>(nodes * tk::node_columns);
    auto table = random.vector<S>(nodes * tk::part_columns);
    for (std::int64_t node = 0; node < nodes; ++node)
        table[static_cast<std::size_t>((node + 1) * tk::part_columns - 1)] = node < nodes / 2 ? S(0) : S(2);
    const std::int64_t columns = by_component ? dim : 1;
    const auto zeros = [](auto number, std::int64_t count) {
        return std::vector<decltype(number)>(static_cast<std::size_t>(count));
    };
    auto value = zeros(S(), n), mismatch = value, last = zeros(S(), n * dim), totals = zeros(S(), tk::split_forms * n);
    auto sums = zeros(double(), nodes * tk::split_forms * 2),
         cells = zeros(double(), tk::split_forms * 3 * columns * 2);
    auto squares = zeros(double(), tk::split_forms * columns);
    tk::TrajectoryArguments<S> paths{};
    paths.n = n;
    paths.dim = dim;
    paths.n_nodes = nodes;
    paths.steps = steps.data();
    paths.model = model.arguments;
    paths.reference = reference.arguments;
    paths.divergence_weight = by_component ? S(0) : S(2);
    paths.sampler = by_component;
    paths.seed = 3;
    paths.path_offset = 11;
    paths.x = x.data();
    paths.value = value.data();
    paths.mismatch = mismatch.data();
    paths.x_last = last.data();
    paths.split = {.table = table.data(),
                   .stretches = 3,
                   .columns = columns,
                   .totals = totals.data(),
                   .nodes = sums.data(),
                   .cells = cells.data(),
                   .squares = squares.data()};
    tk::cuda::trajectory<S>(paths, nullptr);
    report("parts", sizeof(S), n, dim, last, value, totals, sums, cells, squares);
}

// Steps of the coarsest table; coefficients that vary from node to node.
template <class S>
void flow(Numbers& random, const Source<S>& score, std::int64_t n, std::int64_t dim, std::int64_t nodes) {
    const auto x = random.vector<S>(n * dim), table = random.vector<S>(nodes * 2);
    std::vector<S> last(x.size()), divergence(static_cast<std::size_t>(n));
    std::vector<std::int64_t> evaluations(divergence.size()), status(divergence.size());
    tk::cuda::probability_flow<S>({.n = n,
                                   .dim = dim,
                                   .n_nodes = nodes,
                                   .levels = tk::flow_first_level,
                                   .table = table.data(),
                                   .score = score.arguments,
                                   .rtol = S(0.1),
                                   .atol = S(0.1),
                                   .x = x.data(),
                                   .x_last = last.data(),
                                   .divergence = divergence.data(),
                                   .evaluations = evaluations.data(),
                                   .status = status.data()},
                                  nullptr);
    report("flow", sizeof(S), n, dim, last, divergence, evaluations, status);
}

template <class S>
void everything(bool few) {
    Numbers random;
    for (std::int64_t n : {0, 1, 33, 300}) {
        normals<S>(n, 7, 3);
        statistics<S>(random, 5 * n);
    }
    for (std::int64_t dim : {1, 2, 3, 7, 40}) {
        if (few && dim != 2 && dim != 40) continue;
        for (std::int64_t n : {0, 1, 33, 200}) {
            if (few && n != 200) continue;
            neighbours<S>(random, n, 70, dim, 64, true, false, 5);
            neighbours<S>(random, n, few ? 3 : 70, dim, 64, false, true, 20);
            if (!few) neighbours<S>(random, n, 3, dim, 128, true, true, 17);
        }
    }
    for (std::int64_t dim : {1, 2, 3, 4, 7, 16}) {
        if (few && dim != 2 && dim != 7) continue;
        constexpr std::int64_t nodes = 4;
        Source<S> isotropic, diagonal, narrow, wide, tensor;
        isotropic.mixture(random, dim, nodes, 9, true);
        diagonal.mixture(random, dim, nodes, 3, false);
        narrow.network(random, dim, nodes, {5, 13}, 0);
        wide.network(random, dim, nodes, {dim == 16 ? 256 : 40, 24, 9}, 3);
        tensor.network(random, dim, nodes, {40, 24}, 0, static_cast<tk::Products>(1 + (dim + 1) % 3));
        for (std::int64_t n : {0, 1, 33, 150}) {
            if (few && n != 33) continue;
            paths(random, "tensor", tensor, diagonal, n, dim, nodes, true, true, 2.0);
            paths(random, "shared", isotropic, isotropic, n, dim, nodes, false, false, 2.0);
            paths(random, "shared", diagonal, diagonal, n, dim, nodes, true, true, 0.0);
            paths(random, "mixtures", isotropic, diagonal, n, dim, nodes, true, false, 0.0);
            paths(random, "networks", narrow, wide, n, dim, nodes, false, true, 1.0);
            paths(random, "mixed", diagonal, wide, n, dim, nodes, false, false, 0.0);
            paths(random, "mixed", wide, isotropic, n, dim, nodes, true, true, 2.0);
            averages(random, diagonal, isotropic, n, dim, nodes);
            averages(random, wide, diagonal, n, dim, nodes);
            averages(random, narrow, wide, n, dim, nodes);
            parts(random, diagonal, isotropic, n, dim, nodes, dim % 2 == 0);
            parts(random, wide, diagonal, n, dim, nodes, dim % 2 == 1);
            for (bool apart : {false, true}) rows<S>(random, n, dim, apart);
            langevin<S>(random, n, dim);
            gaussian_gap<S>(random, n, dim, n, true);
            gaussian_gap<S>(random, n, 3 * dim, 0, false);
            mlp_gap<S>(random, n, dim, 1 + dim % 3, dim % 2 == 0);
        }
        constexpr std::int64_t flow_nodes = 9 * 16 - 3;
        Source<S> of_flow, network_of_flow;
        of_flow.mixture(random, dim, flow_nodes, 5, dim % 2 == 0);
        network_of_flow.network(random, dim, flow_nodes, {9, 24}, 1);
        for (std::int64_t n : {1, 33}) {
            flow(random, of_flow, n, dim, flow_nodes);
            flow(random, network_of_flow, n, dim, flow_nodes);
        }
    }
    for (std::int64_t dim : {64, 300, 4100})
        for (bool apart : {false, true}) rows<S>(random, few ? 1 : 5, dim, apart);
}

}  // namespace

int main(int argc, char** argv) {
    const std::string order = argc > 1 ? argv[1] : "forward";
    tk::emulator::options = {order == "random"    ? tk::emulator::Order::random
                             : order == "reverse" ? tk::emulator::Order::reverse
                                                  : tk::emulator::Order::forward,
                             11};
    try {
        const bool few = argc > 2;
        everything<float>(few && std::string(argv[2]) == "few");
        everything<double>(few && std::string(argv[2]) == "few");
    } catch (const std::exception& error) {
        std::puts(error.what());
        return 3;
    }
    return 0;
}
