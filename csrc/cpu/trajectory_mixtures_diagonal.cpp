// Whole trajectories of two diagonal mixtures with nothing in common.
#include "trajectory.hpp"

TK_BEGIN_NAMESPACE

template bool trajectory_of_mixtures<false>(const TrajectoryArguments<float>&, int, Interrupt);
template bool trajectory_of_mixtures<false>(const TrajectoryArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
