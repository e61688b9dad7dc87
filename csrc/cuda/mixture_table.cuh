// A mixture of the host, tabulated at every node on the device.
#pragma once

#include <vector>

#include "launch.cuh"
#include "mixture.cuh"

namespace tk::cuda {

template <class S>
class MixtureTable {
 public:
    MixtureTable(const MixtureArguments& mixture, std::int64_t dim, std::int64_t n_nodes, bool isotropic,
                 cudaStream_t stream, const double* other_weights = nullptr)
        : components_(static_cast<int>(mixture.components)),
          numbers_(number_count(mixture.components, dim, n_nodes), stream),
          rows_(n_nodes * mixture.components *
                    mixture_row_size(static_cast<int>(dim), isotropic, other_weights != nullptr),
                stream) {
        const std::int64_t count = mixture.components;
        std::vector<double> packed;
        packed.reserve(static_cast<std::size_t>(number_count(count, dim, n_nodes)));
        const auto pack = [&](const double* from, std::int64_t size) {
            const double* at = numbers_.get() + packed.size();
            packed.insert(packed.end(), from, from + size);
            return at;
        };
        DeviceMixture on_device{};
        on_device.parameters = {pack(mixture.means, count * dim), pack(mixture.variances, count * dim),
                                pack(mixture.weights, count), components_, static_cast<int>(dim)};
        if (other_weights != nullptr) on_device.other_weights = pack(other_weights, count);
        on_device.mean_scale = pack(mixture.mean_scale, n_nodes);
        on_device.variance = pack(mixture.variance, n_nodes);
        on_device.isotropic = isotropic;
        copy_to_device(numbers_.get(), packed.data(), static_cast<std::int64_t>(packed.size()), stream);
        const std::int64_t n_rows = n_nodes * count;
        if (n_rows > 0)
            launch("mixture rows", mixture_rows_kernel<S>, blocks_for(n_rows, mixture_threads), mixture_threads, 0,
                   stream, on_device, n_rows, rows_.get());
    }
    const S* rows() const { return rows_.get(); }
    int components() const { return components_; }

 private:
    static std::int64_t number_count(std::int64_t components, std::int64_t dim, std::int64_t n_nodes) {
        return components * (2 * dim + 2) + 2 * n_nodes;
    }

    int components_;
    Buffer<double> numbers_;
    Buffer<S> rows_;
};

}  // namespace tk::cuda
