#include "kernels.hpp"
#include "row_launch.cuh"
#include "trajectory_step.cuh"

namespace tk::cuda {

template <class S>
void trajectory_step(const TrajectoryStepArguments<S>& a, Stream given) {
    if (a.n == 0) return;
    const auto stream = static_cast<cudaStream_t>(given);
    const RowTiles tiles =
        row_tiles(a.nodes * a.n, a.dim, {a.x, a.model, a.reference, a.drawn, a.carried, a.previous, a.next, a.noise});
    const auto go = [&](const auto& work) { run_rows("trajectory step", work, tiles, stream); };
    if (a.sampler && a.reverse) return go(TrajectoryStepWork<S, true, true>{a});
    if (a.sampler) return go(TrajectoryStepWork<S, true, false>{a});
    if (a.reverse) return go(TrajectoryStepWork<S, false, true>{a});
    go(TrajectoryStepWork<S, false, false>{a});
}

template void trajectory_step(const TrajectoryStepArguments<float>&, Stream);
template void trajectory_step(const TrajectoryStepArguments<double>&, Stream);

}  // namespace tk::cuda
