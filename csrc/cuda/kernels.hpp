// The CUDA kernels' interface. Arguments as on the CPU, with points, networks, step tables and outputs on the device
// and mixtures on the host; everything runs in the stream given and nothing waits for it, but the statistics for their
// result. Errors are thrown.
#pragma once

#include <string>

#include "../core/arguments.hpp"
#include "../core/moments.hpp"
#include "../core/point_sets.hpp"

namespace tk::cuda {

using Stream = void*;  // cudaStream_t

template <class S>
void normals(const NormalsArguments<S>& arguments, Stream stream);
template <class S>
void score(const ScoreArguments<S>& source, const ScoreOutputs<S>& out, Stream stream);
template <class S>
void trajectory(const TrajectoryArguments<S>& arguments, Stream stream);
template <class S>
void trajectory_averages(const TrajectoryArguments<S>& paths, const AveragesArguments<S>& averages, Stream stream);
template <class S>
void trajectory_step(const StreamArguments<S>& arguments, Stream stream);
template <class S>
void hutchinson(const ProbeArguments<S>& arguments, Stream stream);
template <class S>
void flow(const FlowArguments<S>& arguments, Stream stream);
template <class S>
void langevin(const LangevinArguments<S>& arguments, Stream stream);
template <class S>
Moments moments(const S* values, std::int64_t n, Stream stream);
template <class S>
ExponentialSums exponential_sums(const S* values, std::int64_t n, double scale, Stream stream);

template <class S>
void build(const BuildArguments<S>& arguments, Stream stream);
template <class S>
void search(const NeighbourArguments<S>& arguments, Stream stream);
template <class S>
void count(const CountArguments<S>& arguments, Stream stream);

// Why kernels cannot run here; empty where they can.
std::string absence();

// Makes a device current for as long as this lives.
class OnDevice {
 public:
    explicit OnDevice(int device);
    ~OnDevice();
    OnDevice(const OnDevice&) = delete;
    OnDevice& operator=(const OnDevice&) = delete;

 private:
    int before_ = 0;
};

}  // namespace tk::cuda
