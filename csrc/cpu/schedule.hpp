// What the schedules of one instruction set share: its lane, tiles over paths, scratch memory.
#pragma once

#include <omp.h>

#include <new>

#include "../core/trajectory.hpp"
#include "denormals.hpp"
#include "kernels.hpp"

#if !defined(TK_ISA)
#error "csrc/cpu/*.cpp is compiled once per instruction set, with TK_ISA its name"
#endif

// For code that is long and runs once a call: one copy is quicker to compile.
#define TK_CALL __attribute__((noinline))

TK_BEGIN_NAMESPACE

// Bytes of a register, and with them how many paths of a precision run side by side.
#if defined(__AVX512F__)
constexpr int register_bytes = 64;
#elif defined(__AVX2__)
constexpr int register_bytes = 32;
#else
constexpr int register_bytes = 16;
#endif
template <class S>
struct NativeOf;
template <>
struct NativeOf<float> {
    using Type = Vectors<register_bytes / 4>::Float;
};
template <>
struct NativeOf<double> {
    using Type = Vectors<register_bytes / 8>::Double;
};
template <class S>
using Native = typename NativeOf<S>::Type;
template <class S>
constexpr int lanes = Lane<Native<S>>::count;

// Aligned memory that is freed with its scope. Not a std::vector: its functions would be weak symbols.
template <class T>
class Buffer {
 public:
    explicit Buffer(std::int64_t count)
        : data_(static_cast<T*>(
              ::operator new(static_cast<std::size_t>(count > 0 ? count : 1) * sizeof(T), std::align_val_t{64}))) {}
    ~Buffer() { ::operator delete(data_, std::align_val_t{64}); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    T* get() const { return data_; }

 private:
    T* data_;
};

// Paths first … first + lanes<S> of a stream, one per lane.
template <class S>
inline PathIndex<Native<S>> path_index(std::uint64_t first) {
    std::uint32_t low[lanes<S>], high[lanes<S>];
    for (int lane = 0; lane < lanes<S>; ++lane) {
        const std::uint64_t index = first + static_cast<std::uint64_t>(lane);
        low[lane] = static_cast<std::uint32_t>(index);
        high[lane] = static_cast<std::uint32_t>(index >> 32);
    }
    PathIndex<Native<S>> path;
    __builtin_memcpy(&path.low, low, sizeof low);
    __builtin_memcpy(&path.high, high, sizeof high);
    return path;
}

// (n, dim) rows first … first + lanes<S> to one vector per axis. Lanes past the end repeat the last row.
template <class S>
inline void gather(const S* rows, std::int64_t n, int dim, std::int64_t first, Native<S>* x) {
    for (int lane = 0; lane < lanes<S>; ++lane) {
        const std::int64_t row = first + lane < n ? first + lane : n - 1;
        for (int i = 0; i < dim; ++i) x[i][lane] = rows[row * dim + i];
    }
}

template <class S>
inline void scatter(const Native<S>* x, std::int64_t n, int dim, std::int64_t first, S* rows) {
    for (int lane = 0; lane < lanes<S> && first + lane < n; ++lane)
        for (int i = 0; i < dim; ++i) rows[(first + lane) * dim + i] = x[i][lane];
}

// Paths of a stretch that one thread sums path by path: by their number alone, so that bits do not depend on threads.
constexpr std::int64_t least_stretch = 256, most_stretches = 256;  // paths; how many merge

inline std::int64_t stretch_size(std::int64_t n) {
    const std::int64_t even = (n + most_stretches - 1) / most_stretches;
    const std::int64_t size = even > least_stretch ? even : least_stretch;
    return (size + 15) / 16 * 16;  // whole tiles, whatever their width
}

// body(first, thread) for every stretch of `size` paths. The calling thread asks `interrupt` about every 0.05 s, which
// it measures by `work`, the operations that a path costs; false when the answer was to stop.
template <class Body>
inline bool for_each_stretch(std::int64_t n, std::int64_t size, double work, int threads, Interrupt interrupt,
                             const Body& body) {
    const std::int64_t patience = static_cast<std::int64_t>(1e9 / (work * static_cast<double>(size) + 1e3)) + 1;
    int stop = 0;
#pragma omp parallel num_threads(threads)
    {
        const DenormalScope flushed(Denormals::flushed);
        const int thread = omp_get_thread_num();
        std::int64_t stretches = 0;
#pragma omp for schedule(dynamic)
        for (std::int64_t first = 0; first < n; first += size) {
            int stopped;
#pragma omp atomic read
            stopped = stop;
            if (stopped) continue;
            body(first, thread);
            if (thread != 0 || ++stretches % patience != 0) continue;
            // Stretches are dealt in order.
            if (interrupt.share != nullptr) *interrupt.share = static_cast<double>(first) / static_cast<double>(n);
            if (interrupt.requested(interrupt.context)) {
#pragma omp atomic write
                stop = 1;
            }
        }
    }
    return stop == 0;
}

// A stretch that fills a register.
template <class S, class Body>
inline bool for_each_tile(std::int64_t n, double work, int threads, Interrupt interrupt, const Body& body) {
    return for_each_stretch(n, lanes<S>, work, threads, interrupt, body);
}

TK_END_NAMESPACE
