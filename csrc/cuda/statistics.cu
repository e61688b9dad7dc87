#include <utility>

#include "kernels.hpp"
#include "launch.cuh"
#include "statistics.cuh"

namespace tk::cuda {

template <class Statistic, class S>
static Statistic reduced(const S* values, std::int64_t n, double scale, Stream given) {
    if (n == 0) return {};
    const auto stream = static_cast<cudaStream_t>(given);
    constexpr std::size_t shared_bytes = statistics_threads * sizeof(Statistic);
    int depth = 0;
    while ((n >> depth) + 1 > std::int64_t(1) << statistics_leaf_depth) ++depth;  // the largest subtree fits a thread
    std::int64_t count = blocks_for(std::int64_t(1) << depth, statistics_threads);
    const Buffer<Statistic> first(count, stream), second(count, stream);
    Statistic *in = first.get(), *out = second.get();
    launch("reduce", reduce_kernel<Statistic, S>, static_cast<unsigned>(count), statistics_threads, shared_bytes,
           stream, values, n, scale, depth, in);
    while (count > 1) {
        const unsigned blocks = blocks_for(count, statistics_threads);
        launch("merge", merge_kernel<Statistic>, blocks, statistics_threads, shared_bytes, stream, in, count, out);
        std::swap(in, out);
        count = blocks;
    }
    return value_on_host(in, stream);
}

template <class S>
Moments moments(const S* values, std::int64_t n, Stream stream) {
    return reduced<Moments>(values, n, 1.0, stream);
}

template <class S>
ExponentialSums exponential_sums(const S* values, std::int64_t n, double scale, Stream stream) {
    return reduced<ExponentialSums>(values, n, scale, stream);
}

template Moments moments(const float*, std::int64_t, Stream);
template Moments moments(const double*, std::int64_t, Stream);
template ExponentialSums exponential_sums(const float*, std::int64_t, double, Stream);
template ExponentialSums exponential_sums(const double*, std::int64_t, double, Stream);

}  // namespace tk::cuda
