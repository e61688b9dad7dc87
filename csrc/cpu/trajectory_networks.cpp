// Whole trajectories with a network for the model, the reference, or both.
#include "trajectory.hpp"

TK_BEGIN_NAMESPACE

template <class S>
bool trajectory_of_networks(const TrajectoryArguments<S>& arguments, int threads, Interrupt interrupt) {
    const bool with_divergence = arguments.divergence_weight != S(0);
    return with_networks(arguments, with_divergence, [&](auto scores, std::int64_t scratch, double work) {
        return run_tiles(arguments, scores, Dim<0>{}, scratch, work, threads, interrupt);
    });
}

template bool trajectory_of_networks(const TrajectoryArguments<float>&, int, Interrupt);
template bool trajectory_of_networks(const TrajectoryArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
