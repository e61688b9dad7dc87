// Matrix products by the emulated tensor cores, for tests/test_cuda_products.py, which calls `multiply` by its address.

#include <cuda_emulator.hpp>

#include "../../csrc/cuda/tensor_cores.cuh"

namespace {

using namespace tk::cuda;

// A block of one warp for each 32 × 32 tile of the product.
void multiply_kernel(tk::Products products, const MatrixWords* shares, int steps, const float* units, int stride,
                     float* out) {
    const int row = static_cast<int>(blockIdx.y) * warp_rows, column = static_cast<int>(blockIdx.x) * warp_columns;
    WarpSums sums = {};
    multiply_warp(products, shares + row / mma_rows * steps * warp_lanes, steps, units + column, stride, sums);
    for_each_sum(sums, [&](int r, int c, float sum) { out[(row + r) * stride + column + c] = sum; });
}

unsigned tiles(int numbers, int of_tile) { return static_cast<unsigned>((numbers + of_tile - 1) / of_tile); }

}  // namespace

// out (rows, n) ← matrix (rows, depth) · units (depth, n).
extern "C" void multiply(int number, int nearest, int rows, int depth, int n, const float* matrix, const float* units,
                         float* out) {
    tk::emulator::sums = nearest != 0 ? tk::emulator::Sums::nearest : tk::emulator::Sums::truncated;
    const auto products = static_cast<tk::Products>(number);
    const MatrixShares shares = matrix_shares(products, rows, depth);
    std::vector<MatrixWords> words(static_cast<std::size_t>(shares.count));
    for (int i = 0; i < shares.count; ++i)
        words[static_cast<std::size_t>(i)] = matrix_words(products, matrix, shares, i);
    const dim3 grid(tiles(n, warp_columns), tiles(rows, warp_rows));
    const int stride = static_cast<int>(grid.x) * warp_columns;
    std::vector<float> padded(static_cast<std::size_t>(shares.steps * product_depth(products) * stride));
    for (int k = 0; k < depth; ++k) std::copy(units + k * n, units + (k + 1) * n, padded.begin() + k * stride);
    std::vector<float> product(grid.y * warp_rows * static_cast<std::size_t>(stride));
    TK_LAUNCH(grid, dim3(warp_lanes), 0, nullptr, multiply_kernel, products, words.data(), shares.steps, padded.data(),
              stride, product.data());
    for (int r = 0; r < rows; ++r) std::copy_n(product.begin() + r * stride, n, out + r * n);
}

// The two parts of a number.
extern "C" void split(int count, const float* numbers, float* big, float* small) {
    for (int i = 0; i < count; ++i) {
        big[i] = tk::round_to_tf32(numbers[i]);
        small[i] = tk::round_to_tf32(numbers[i] - big[i]);
    }
}

extern "C" void to_bfloat16(int count, const float* numbers, std::uint32_t* bits) {
    for (int i = 0; i < count; ++i) bits[i] = tk::bfloat16_bits(numbers[i]);
}
