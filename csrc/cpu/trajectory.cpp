// Whole trajectories: which kernel a pair of scores has.
#include "trajectory.hpp"

TK_BEGIN_NAMESPACE

template <class S>
bool trajectory(const TrajectoryArguments<S>& arguments, int threads, Interrupt interrupt) {
    if (arguments.n == 0) return true;
    if (arguments.model.is_mlp || arguments.reference.is_mlp)
        return trajectory_of_networks(arguments, threads, interrupt);
    const MixtureArguments& model = arguments.model.mixture;
    const MixtureArguments& reference = arguments.reference.mixture;
    const bool shared = share_components(model, reference, arguments.dim, arguments.n_nodes);
    if (is_isotropic(model, arguments.dim) && is_isotropic(reference, arguments.dim))
        return shared ? trajectory_of_shared<true>(arguments, threads, interrupt)
                      : trajectory_of_mixtures<true>(arguments, threads, interrupt);
    return shared ? trajectory_of_shared<false>(arguments, threads, interrupt)
                  : trajectory_of_mixtures<false>(arguments, threads, interrupt);
}

template bool trajectory(const TrajectoryArguments<float>&, int, Interrupt);
template bool trajectory(const TrajectoryArguments<double>&, int, Interrupt);

TK_END_NAMESPACE
