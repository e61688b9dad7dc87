// Whole trajectories of two isotropic mixtures with nothing in common.
#include "trajectory.hpp"

TK_BEGIN_NAMESPACE

template bool trajectory_of_mixtures<true>(const TrajectoryArguments<float>&, int, Interrupt);
template bool trajectory_of_mixtures<true>(const TrajectoryArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
