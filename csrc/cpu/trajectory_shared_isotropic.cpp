// Whole trajectories of two isotropic mixtures with the same components and different weights.
#include "trajectory.hpp"

TK_BEGIN_NAMESPACE

template bool trajectory_of_shared<true>(const TrajectoryArguments<float>&, int, Interrupt);
template bool trajectory_of_shared<true>(const TrajectoryArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
