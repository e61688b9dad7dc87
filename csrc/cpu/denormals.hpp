// What a thread makes of denormal numbers while a kernel runs, whatever the caller's setting.
//
// Far components of a mixture have densities near the smallest number. On Intel every operation on a denormal number
// takes a hundred cycles or more, so kernels of paths, scores and streams read denormal numbers as zero and write zero
// in their place. Squared distances between neighbours may be denormal and must not be zero: those kernels keep them.
#pragma once

#include <cstdint>

#include "../core/lanes.hpp"

TK_BEGIN_NAMESPACE

enum class Denormals { flushed, kept };

// The mode of the calling thread until the end of the scope. Work should be done by a function that the scope calls, or
// on numbers that the scope reads from memory: the compiler knows nothing of the mode, and the barriers in this class
// stop only memory accesses from moving.
class DenormalScope {
 public:
#if defined(__aarch64__)
    using Control = std::uint64_t;                           // FPCR
    static constexpr Control flush_bits = Control{1} << 24;  // FZ: results to zero, operands as zero
#else
    using Control = std::uint32_t;                        // MXCSR; elsewhere nothing is set
    static constexpr Control flush_bits = 0x8000 | 0x40;  // FTZ, results to zero; DAZ, operands as zero
#endif

    explicit DenormalScope(Denormals mode) : before_(read()) {
        write(mode == Denormals::flushed ? before_ | flush_bits : before_ & ~flush_bits);
    }
    explicit DenormalScope(Control mode) : before_(read()) { write(mode); }
    ~DenormalScope() { write(before_); }
    DenormalScope(const DenormalScope&) = delete;
    DenormalScope& operator=(const DenormalScope&) = delete;

    Control before() const { return before_; }

 private:
    static Control read() {
        Control value = 0;
#if defined(__aarch64__)
        asm volatile("mrs %0, fpcr" : "=r"(value) : : "memory");
#elif defined(__SSE2__)
        asm volatile("stmxcsr %0" : "=m"(value) : : "memory");
#endif
        return value;
    }
    static void write([[maybe_unused]] Control value) {
#if defined(__aarch64__)
        asm volatile("msr fpcr, %0" : : "r"(value) : "memory");
#elif defined(__SSE2__)
        asm volatile("ldmxcsr %0" : : "m"(value) : "memory");
#endif
    }

    const Control before_;
};

TK_END_NAMESPACE
