// Score sources made ready for the kernels: mixtures tabulated at every node, perceptrons packed into panels.
#pragma once

#include "schedule.hpp"

TK_BEGIN_NAMESPACE

// A dimension known to the compiler, or 0 for one that is not. The small ones have kernels of their own.
template <int D>
struct Dim {
    static constexpr int bound = D > 0 ? D : max_dim;
    static TK_HD int value(std::int64_t dim) { return D > 0 ? D : static_cast<int>(dim); }
};

// One dimension not without `WithOne`: there every mixture is isotropic.
template <bool WithOne, class S, class Body>
inline bool with_dim(std::int64_t dim, const Body& body) {
    if (dim == 2) return body(Dim<2>{});
    if constexpr (sizeof(S) == 4) {  // float64 is for checking: half the kernels to compile
        if constexpr (WithOne) {
            if (dim == 1) return body(Dim<1>{});
        }
        if (dim == 3) return body(Dim<3>{});
    }
    return body(Dim<0>{});
}

// Operations for one score of a mixture.
inline double mixture_work(std::int64_t components, std::int64_t dim) {
    return 20.0 * static_cast<double>(components * (dim + 2));
}

// Component rows at every node, (nodes, components, row size).
template <class S>
class MixtureTable {
 public:
    TK_CALL MixtureTable(const MixtureArguments& mixture, std::int64_t dim, std::int64_t n_nodes, bool isotropic,
                         const double* other_weights = nullptr)
        : rows_(n_nodes * mixture.components *
                mixture_row_size(static_cast<int>(dim), isotropic, other_weights != nullptr)) {
        const MixtureParameters parameters{mixture.means, mixture.variances, mixture.weights,
                                           static_cast<int>(mixture.components), static_cast<int>(dim)};
        const int size = mixture_row_size(static_cast<int>(dim), isotropic, other_weights != nullptr);
        S* row = rows_.get();
        for (std::int64_t node = 0; node < n_nodes; ++node)
            for (int c = 0; c < parameters.components; ++c, row += size)
                fill_mixture_row(parameters, c, mixture.mean_scale[node], mixture.variance[node], isotropic,
                                 other_weights, row);
    }
    const S* rows() const { return rows_.get(); }

 private:
    Buffer<S> rows_;
};

template <class S>
class PackedMlp {
 public:
    TK_CALL PackedMlp(const MlpArguments<S>& mlp, std::int64_t dim)
        : packed_(packed_size(mlp)), view_(mlp_view(mlp, dim)) {
        S* packed = packed_.get();
        for (int l = 1; l < view_.hidden_layers; ++l) {
            pack_matrix(mlp.weights[l], view_.widths[l], view_.widths[l - 1], packed);
            view_.weights[l] = packed;
            packed += padded_rows(view_.widths[l]) * view_.widths[l - 1];
        }
    }

    const MlpView<S>& view() const { return view_; }
    std::int64_t scratch(bool with_divergence) const {
        return mlp_scratch(widest(view_), with_divergence ? 1 + view_.dim : 1);
    }
    // Operations for one score: products, and some forty for each activation.
    double work(bool with_divergence) const {
        double products = 0, units = 0;
        int fan_in = view_.dim;
        for (int l = 0; l < view_.hidden_layers; fan_in = view_.widths[l++]) {
            products += static_cast<double>(view_.widths[l]) * fan_in;
            units += view_.widths[l];
        }
        products += static_cast<double>(view_.dim) * fan_in;
        return (2 * products + 40 * units) * (with_divergence ? 1 + view_.dim : 1);
    }

 private:
    static std::int64_t packed_size(const MlpArguments<S>& mlp) {
        std::int64_t size = 0;
        for (std::int64_t l = 1; l < mlp.hidden_layers; ++l)
            size += padded_rows(static_cast<int>(mlp.widths[l])) * mlp.widths[l - 1];
        return size;
    }

    Buffer<S> packed_;
    MlpView<S> view_;
};

// What kernels of scores call, one copy for all of them, which sources.cpp has.
#define TK_CALLED(S, EXTERN)                                                                                          \
    EXTERN template class MixtureTable<S>;                                                                            \
    EXTERN template class PackedMlp<S>;                                                                               \
    EXTERN template Native<S> mixture_score_called<true, max_dim>(const S*, int, int, const Native<S>*, Native<S>*,   \
                                                                  Native<S>&);                                        \
    EXTERN template Native<S> mixture_score_called<false, max_dim>(const S*, int, int, const Native<S>*, Native<S>*,  \
                                                                   Native<S>&);                                       \
    EXTERN template void mlp_score(const MlpView<S>&, const S*, S, S, const Native<S>*, bool, Native<S>*, Native<S>*, \
                                   Native<S>&);
TK_CALLED(float, extern)
TK_CALLED(double, extern)

// body(scores, scratch, work) with the scores of a model and a reference of which at least one is a network. Its
// matrices outweigh everything else, so one kernel serves every dimension.
template <class S, class Body>
bool with_networks(const TrajectoryArguments<S>& arguments, bool with_divergence, const Body& body) {
    const ScoreSource<S>& model = arguments.model;
    const ScoreSource<S>& reference = arguments.reference;
    const auto go = [&](auto first, auto second, std::int64_t scratch, double work) {
        return body(Independent<decltype(first), decltype(second), max_dim>{first, second}, scratch, work);
    };
    if (model.is_mlp && reference.is_mlp) {
        const PackedMlp<S> a(model.mlp, arguments.dim), b(reference.mlp, arguments.dim);
        const std::int64_t scratch_a = a.scratch(with_divergence), scratch_b = b.scratch(with_divergence);
        return go(Mlp<S>{a.view(), with_divergence}, Mlp<S>{b.view(), with_divergence},
                  scratch_a > scratch_b ? scratch_a : scratch_b, a.work(with_divergence) + b.work(with_divergence));
    }
    const PackedMlp<S> network((model.is_mlp ? model : reference).mlp, arguments.dim);
    const MixtureArguments& other = (model.is_mlp ? reference : model).mixture;
    const MixtureTable<S> table(other, arguments.dim, arguments.n_nodes, false);
    const Mlp<S> mlp{network.view(), with_divergence};
    const Mixture<S, false, max_dim> mixture{table.rows(), static_cast<int>(other.components)};
    const std::int64_t scratch = network.scratch(with_divergence);
    const double work = network.work(with_divergence) + mixture_work(other.components, arguments.dim);
    return model.is_mlp ? go(mlp, mixture, scratch, work) : go(mixture, mlp, scratch, work);
}

// body(scores, dimension, work) with the scores of two mixtures that share nothing, in a dimension that the compiler
// may know.
template <bool Isotropic, class S, class D, class Body>
bool with_mixtures(const TrajectoryArguments<S>& arguments, D d, const Body& body) {
    using Source = Mixture<S, Isotropic, D::bound>;
    const MixtureArguments& model = arguments.model.mixture;
    const MixtureArguments& reference = arguments.reference.mixture;
    const MixtureTable<S> model_table(model, arguments.dim, arguments.n_nodes, Isotropic);
    const MixtureTable<S> reference_table(reference, arguments.dim, arguments.n_nodes, Isotropic);
    const Independent<Source, Source, D::bound> scores{
        {model_table.rows(), static_cast<int>(model.components)},
        {reference_table.rows(), static_cast<int>(reference.components)}};
    return body(scores, d, mixture_work(model.components + reference.components, arguments.dim));
}

TK_END_NAMESPACE
