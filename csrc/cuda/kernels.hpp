// The CUDA kernels' interface. Arguments as on the CPU, with points, networks, step tables and outputs on the device
// and mixtures on the host; everything runs in the stream given and nothing waits for it, but the statistics for their
// result. Errors are thrown.
#pragma once

#include <string>

#include "../core/arguments.hpp"
#include "../core/statistics.hpp"

namespace tk::cuda {

using Stream = void*;  // cudaStream_t

#define TK_DECLARE(name, Arguments) \
    template <class S>              \
    void name(const Arguments<S>& arguments, Stream stream);
TK_KERNELS(TK_DECLARE)
#undef TK_DECLARE

template <class S>
Moments moments(const S* values, std::int64_t n, Stream stream);
template <class S>
ExponentialSums exponential_sums(const S* values, std::int64_t n, double scale, Stream stream);

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
