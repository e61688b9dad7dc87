// The probability-flow equation of diagonal mixtures.
#include "probability_flow.hpp"

TK_BEGIN_NAMESPACE

template bool flow_of_mixture<false>(const ProbabilityFlowArguments<float>&, int, Interrupt);
template bool flow_of_mixture<false>(const ProbabilityFlowArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
