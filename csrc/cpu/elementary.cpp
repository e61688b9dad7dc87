// Random numbers and elementary functions over arrays, and the table of this instruction set's kernels.
#include "schedule.hpp"

TK_BEGIN_NAMESPACE

static bool normals(const NormalsArguments& arguments, int threads, Interrupt interrupt) {
    const std::uint64_t end = arguments.first + static_cast<std::uint64_t>(arguments.count);
    const Purpose purpose = static_cast<Purpose>(arguments.purpose);
    const auto tile = [&](std::int64_t first, int) {
        const PathIndex<Native> path = path_index(arguments.path_offset + static_cast<std::uint64_t>(first));
        for (std::uint64_t block = arguments.first / 4; 4 * block < end; ++block) {
            Native values[4];
            normal_block<Native>(arguments.seed, purpose, path, static_cast<std::uint32_t>(block), values);
            for (int j = 0; j < 4; ++j) {
                const std::uint64_t number = 4 * block + static_cast<std::uint64_t>(j);
                if (number < arguments.first || number >= end) continue;
                float* column = arguments.out + (number - arguments.first);
                for (int lane = 0; lane < lanes && first + lane < arguments.n; ++lane)
                    column[(first + lane) * arguments.count] = values[j][lane];
            }
        }
    };
    const double work = 20.0 * static_cast<double>(arguments.count);
    return for_each_tile(arguments.n, work, threads, interrupt, tile);
}

static Native apply(Function function, Native x) {
    Native slope, sine, cosine;
    switch (function) {
        case Function::exp2: return exp2(x);
        case Function::log: return log(x);
        case Function::sine: sincos_turn(bit_cast<WordOf<Native>>(x), sine, cosine); return sine;
        case Function::cosine: sincos_turn(bit_cast<WordOf<Native>>(x), sine, cosine); return cosine;
        case Function::sigmoid: return sigmoid(x);
        case Function::tanh: return tanh(x);
        case Function::silu: activate<Activation::silu>(x); return x;
        case Function::silu_slope: return activate<Activation::silu>(x);
        case Function::gelu: activate<Activation::gelu_tanh>(x); return x;
        case Function::gelu_slope: slope = activate<Activation::gelu_tanh>(x); return slope;
    }
    return x;
}

static void evaluate(Function function, const float* in, float* out, std::int64_t n) {
    for (std::int64_t first = 0; first < n; first += lanes) {
        Native x;
        gather(in, n, 1, first, &x);
        x = apply(function, x);
        scatter(&x, n, 1, first, out);
    }
}

static void philox_block(const std::uint32_t counter[4], std::uint64_t seed, std::uint32_t out[4]) {
    using Word = WordOf<Native>;
    const Block<Word> block = philox<Word>({splat_word<Native>(counter[0]), splat_word<Native>(counter[1]),
                                            splat_word<Native>(counter[2]), splat_word<Native>(counter[3])},
                                           seed);
    out[0] = block.a[0];
    out[1] = block.b[0];
    out[2] = block.c[lanes - 1];
    out[3] = block.d[lanes - 1];
}

bool score(const ScoreArguments&, const ScoreOutputs&, int threads, Interrupt);
bool trajectory(const TrajectoryArguments&, int threads, Interrupt);

const Kernels& table() {
#define TK_STRING(name) #name
#define TK_STRING_OF(name) TK_STRING(name)
    static const Kernels kernels{TK_STRING_OF(TK_ISA), lanes, normals, score, trajectory, evaluate, philox_block};
    return kernels;
}

TK_END_NAMESPACE
