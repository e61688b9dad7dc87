// The probability-flow equation: networks, and which kernel a score has.
#include "probability_flow.hpp"

TK_BEGIN_NAMESPACE

template <class S>
static bool network(const ProbabilityFlowArguments<S>& arguments, int threads, Interrupt interrupt) {
    const PackedMlp<S> mlp(arguments.score.mlp, arguments.dim);
    const MlpView<S>& view = mlp.view();
    int moving = 0;
    for (int row = 0; row < view.bias_stride; ++row)
        for (std::int64_t k = 1; k < arguments.n_nodes && moving <= row; ++k)
            if (view.biases[k * view.bias_stride + row] != view.biases[row]) moving = row + 1;
    const MlpFlow<S, max_dim> field{view, moving};
    return run_flow(arguments, field, view.dim, mlp.scratch(true) + view.bias_stride, mlp.work(true), threads,
                    interrupt);
}

template <class S>
bool probability_flow(const ProbabilityFlowArguments<S>& arguments, int threads, Interrupt interrupt) {
    if (arguments.n == 0) return true;
    if (arguments.score.is_mlp) return network(arguments, threads, interrupt);
    return is_isotropic(arguments.score.mixture, arguments.dim) ? flow_of_mixture<true>(arguments, threads, interrupt)
                                                                : flow_of_mixture<false>(arguments, threads, interrupt);
}

template bool probability_flow(const ProbabilityFlowArguments<float>&, int, Interrupt);
template bool probability_flow(const ProbabilityFlowArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
