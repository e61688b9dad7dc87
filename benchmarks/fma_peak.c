// Independent chains of multiply-adds in registers: as many a second as the core can do. Compiled by limits.py.
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define CHAINS 12
typedef float lanes __attribute__((vector_size(BYTES)));

// Runs the chains for some rounds; returns the floating-point operations done. `out` keeps the compiler honest.
double fma_chains(long rounds, float factor, float* out) {
    lanes sums[CHAINS], a = {0}, b = {0};
    a += factor;
    b += 1.0f - factor;
    for (int c = 0; c < CHAINS; ++c) sums[c] = b * (float)c;
    for (long i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
        for (int c = 0; c < CHAINS; ++c) sums[c] = sums[c] * a + b;
    }
    lanes total = {0};
    for (int c = 0; c < CHAINS; ++c) total += sums[c];
    *out = total[0];
    return 2.0 * CHAINS * (BYTES / sizeof(float)) * (double)rounds;
}
