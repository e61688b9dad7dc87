// The probability-flow equation of isotropic mixtures.
#include "probability_flow.hpp"

TK_BEGIN_NAMESPACE

template bool flow_of_mixture<true>(const ProbabilityFlowArguments<float>&, int, Interrupt);
template bool flow_of_mixture<true>(const ProbabilityFlowArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
