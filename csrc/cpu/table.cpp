// The table of an instruction set's kernels, and elementary functions over arrays for the tests.
#include "../core/mlp.hpp"
#include "schedule.hpp"

TK_BEGIN_NAMESPACE

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
    const DenormalScope flushed(Denormals::flushed);
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

#define TK_DECLARE(name, Arguments) \
    template <class S>              \
    bool name(const Arguments<S>&, int threads, Interrupt);
TK_KERNELS(TK_DECLARE)
#undef TK_DECLARE

template <class Arguments>
constexpr Denormals denormals_of = Denormals::flushed;
template <class S>
constexpr Denormals denormals_of<NeighboursBuildArguments<S>> = Denormals::kept;
template <class S>
constexpr Denormals denormals_of<NeighboursSearchArguments<S>> = Denormals::kept;
template <class S>
constexpr Denormals denormals_of<NeighboursCountArguments<S>> = Denormals::kept;

// What the caller asks to be told is asked in the caller's mode: a handler of signals may compute.
struct CallersInterrupt {
    Interrupt interrupt;
    DenormalScope::Control mode;

    static bool requested(void* context) {
        const auto& caller = *static_cast<const CallersInterrupt*>(context);
        const DenormalScope outside(caller.mode);
        return caller.interrupt.requested(caller.interrupt.context);
    }
};

// Starts the threads that the kernel will use. They keep for good the mode in which they are started, and others use
// them too: it is to be the caller's.
static void start_threads(int threads) {
#pragma omp parallel num_threads(threads)
    asm volatile("" : : : "memory");
}

// A kernel in its mode, which its threads set for themselves.
template <auto Kernel, class Arguments>
static bool run(const Arguments& arguments, int threads, Interrupt interrupt) {
    if (threads > 1) start_threads(threads);
    const DenormalScope scope(denormals_of<Arguments>);
    CallersInterrupt callers{interrupt, scope.before()};
    return Kernel(arguments, threads, {CallersInterrupt::requested, &callers, interrupt.share});
}

template <class S>
static PrecisionKernels<S> precision() {
#define TK_ENTRY(name, Arguments) .name = run<name<S>, Arguments<S>>,
    return {TK_KERNELS(TK_ENTRY).evaluate = evaluate<S>};
#undef TK_ENTRY
}

const Kernels& table() {
#define TK_STRING(name) #name
#define TK_STRING_OF(name) TK_STRING(name)
    static const Kernels kernels{.name = TK_STRING_OF(TK_ISA),
                                 .lanes = lanes<float>,
                                 .float32 = precision<float>(),
                                 .float64 = precision<double>(),
                                 .philox = philox_block};
    return kernels;
}

TK_END_NAMESPACE
