// Which devices are there, and which is current.
#include "kernels.hpp"
#include "launch.cuh"

namespace tk::cuda {

std::string absence() {
    int version = 0;
    // Asked first: without a driver the other calls fail with an error that speaks of an old one.
    cudaError_t error = cudaDriverGetVersion(&version);
    if (error != cudaSuccess) return std::string("the driver does not answer: ") + cudaGetErrorString(error);
    if (version == 0) return "no NVIDIA driver";
    int count = 0;
    error = cudaGetDeviceCount(&count);
    if (error != cudaSuccess) return cudaGetErrorString(error);
    return count > 0 ? "" : "no device";
}

OnDevice::OnDevice(int device) {
    check(cudaGetDevice(&before_), "asking for the current device");
    check(cudaSetDevice(device), "choosing a device");
}

OnDevice::~OnDevice() { static_cast<void>(cudaSetDevice(before_)); }

}  // namespace tk::cuda
