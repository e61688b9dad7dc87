// Random numbers and elementary functions over arrays, and the table of this instruction set's kernels.
#include "rows.hpp"

TK_BEGIN_NAMESPACE

// Many numbers of each path, along it: as many at a time as fit the row.
template <class S>
static bool long_rows(const NormalsArguments<S>& arguments, int threads, Interrupt interrupt) {
    const Purpose purpose = static_cast<Purpose>(arguments.purpose);
    const Buffer<RowNormals<S>> scratch(threads);
    const auto tile = [&](std::int64_t first, int thread) {
        RowNormals<S>& own = scratch.get()[thread];
        for (std::int64_t row = first; row < first + lanes<S> && row < arguments.n; ++row) {
            const PathNormals<S> path(arguments.seed, purpose, arguments.path_offset + static_cast<std::uint64_t>(row));
            for (std::int64_t c = 0; c < arguments.count; c += row_tile) {
                const std::int64_t count = arguments.count - c < row_tile ? arguments.count - c : row_tile;
                const S* numbers = own.draw(path, arguments.first + static_cast<std::uint64_t>(c), count, Soon<S, 0>{});
                __builtin_memcpy(arguments.out + row * arguments.count + c, numbers,
                                 static_cast<std::size_t>(count) * sizeof(S));
            }
        }
    };
    return for_each_tile<S>(arguments.n, 20.0 * static_cast<double>(arguments.count), threads, interrupt, tile);
}

template <class S>
static bool normals(const NormalsArguments<S>& arguments, int threads, Interrupt interrupt) {
    if (arguments.count >= 8 * lanes<S>) return long_rows(arguments, threads, interrupt);
    const std::uint64_t end = arguments.first + static_cast<std::uint64_t>(arguments.count);
    const Purpose purpose = static_cast<Purpose>(arguments.purpose);
    const auto tile = [&](std::int64_t first, int) {
        const PathIndex<Native<S>> path = path_index<S>(arguments.path_offset + static_cast<std::uint64_t>(first));
        for (std::uint64_t block = arguments.first / 4; 4 * block < end; ++block) {
            Native<S> values[4];
            normal_block<Native<S>>(arguments.seed, purpose, path, static_cast<std::uint32_t>(block), values);
            for (int j = 0; j < 4; ++j) {
                const std::uint64_t number = 4 * block + static_cast<std::uint64_t>(j);
                if (number < arguments.first || number >= end) continue;
                S* column = arguments.out + (number - arguments.first);
                for (int lane = 0; lane < lanes<S> && first + lane < arguments.n; ++lane)
                    column[(first + lane) * arguments.count] = values[j][lane];
            }
        }
    };
    const double work = 20.0 * static_cast<double>(arguments.count);
    return for_each_tile<S>(arguments.n, work, threads, interrupt, tile);
}

// The words of a turn from numbers: float32 carries them as its bits, float64 as its value.
template <class S>
static WordOf<Native<S>> as_words(Native<S> x) {
    if constexpr (sizeof(S) == 4)
        return bit_cast<WordOf<Native<S>>>(x);
    else
        return __builtin_convertvector(x, WordOf<Native<S>>);
}

template <class S>
static Native<S> apply(Function function, Native<S> x) {
    Native<S> slope, sine, cosine;
    switch (function) {
        case Function::exp2: return exp2(x);
        case Function::log: return log(x);
        case Function::sine: sincos_turn(as_words<S>(x), sine, cosine); return sine;
        case Function::cosine: sincos_turn(as_words<S>(x), sine, cosine); return cosine;
        case Function::sigmoid: return sigmoid(x);
        case Function::tanh: return tanh(x);
        case Function::silu: activate<Activation::silu>(x); return x;
        case Function::silu_slope: return activate<Activation::silu>(x);
        case Function::gelu: activate<Activation::gelu_tanh>(x); return x;
        case Function::gelu_slope: slope = activate<Activation::gelu_tanh>(x); return slope;
    }
    return x;
}

template <class S>
static void evaluate(Function function, const S* in, S* out, std::int64_t n) {
    for (std::int64_t first = 0; first < n; first += lanes<S>) {
        Native<S> x;
        gather<S>(in, n, 1, first, &x);
        x = apply<S>(function, x);
        scatter<S>(&x, n, 1, first, out);
    }
}

static void philox_block(const std::uint32_t counter[4], std::uint64_t seed, std::uint32_t out[4]) {
    using Word = WordOf<Native<float>>;
    const Block<Word> block =
        philox<Word>({splat_word<Native<float>>(counter[0]), splat_word<Native<float>>(counter[1]),
                      splat_word<Native<float>>(counter[2]), splat_word<Native<float>>(counter[3])},
                     seed);
    out[0] = block.a[0];
    out[1] = block.b[0];
    out[2] = block.c[lanes<float> - 1];
    out[3] = block.d[lanes<float> - 1];
}

template <class S>
bool flow(const FlowArguments<S>&, int threads, Interrupt);
template <class S>
bool langevin(const LangevinArguments<S>&, int threads, Interrupt);
template <class S>
bool score(const ScoreArguments<S>&, const ScoreOutputs<S>&, int threads, Interrupt);
template <class S>
bool trajectory(const TrajectoryArguments<S>&, int threads, Interrupt);
template <class S>
bool trajectory_averages(const TrajectoryArguments<S>&, const AveragesArguments<S>&, int threads, Interrupt);

template <class S>
bool stream(const StreamArguments<S>&, int threads, Interrupt);
template <class S>
bool hutchinson(const ProbeArguments<S>&, int threads, Interrupt);
template <class S>
bool build(const BuildArguments<S>&, int threads, Interrupt);
template <class S>
bool search(const NeighbourArguments<S>&, int threads, Interrupt);
template <class S>
bool count(const CountArguments<S>&, int threads, Interrupt);

template <class S>
static PrecisionKernels<S> precision() {
    return {
        normals<S>,  flow<S>,       langevin<S>,
        score<S>,    trajectory<S>, trajectory_averages<S>,
        stream<S>,   hutchinson<S>, {build<S>, search<S>, count<S>},
        evaluate<S>,
    };
}

const Kernels& table() {
#define TK_STRING(name) #name
#define TK_STRING_OF(name) TK_STRING(name)
    static const Kernels kernels{TK_STRING_OF(TK_ISA), lanes<float>, precision<float>(), precision<double>(),
                                 philox_block};
    return kernels;
}

TK_END_NAMESPACE
