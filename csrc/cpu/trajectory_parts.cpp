// Where Δs arises: what runs once a tile, compiled once for the kernels of all kinds of scores.
#include "trajectory_parts.hpp"

TK_BEGIN_NAMESPACE

template <class S>
void TileParts<S>::erase(Native<S>* forms, int count) const {
    for (int f = 0; f < count; ++f)
        for (int lane = present; lane < lanes<S>; ++lane) forms[f][lane] = 0;
}

template <class S>
Split<S>::Split(const TrajectoryArguments<S>& arguments, int threads)
    : arguments_(&arguments),
      size_(wanted() ? stretch_size(arguments.n) : lanes<S>),
      nodes_(wanted() ? arguments.n_nodes * split_forms * 2 : 0),
      cells_(wanted() ? split_forms * arguments.split.stretches * arguments.split.columns * 2 : 0),
      squares_(wanted() ? split_forms * arguments.split.columns : 0),
      all_(nodes_ + cells_ + squares_),
      own_sums_(threads * all_),
      own_cells_(threads * cells_),
      parts_((arguments.n + size_ - 1) / size_ * all_) {}

template <class S>
TileParts<S> Split<S>::begin(std::int64_t begin, std::int64_t first, int thread) const {
    if (!wanted()) return {};
    Native<S>*const sums = own_sums_.get() + thread * all_, *const cells = own_cells_.get() + thread * cells_;
    for (std::int64_t i = 0; first == begin && i < all_; ++i) sums[i] = Native<S>{};
    for (std::int64_t i = 0; i < cells_; ++i) cells[i] = Native<S>{};
    const std::int64_t left = arguments_->n - first;
    return {arguments_, sums, cells, static_cast<int>(left < lanes<S> ? left : lanes<S>)};
}

template <class S>
void Split<S>::keep(const TileParts<S>& tile, std::int64_t first) const {
    if (!wanted()) return;
    const std::int64_t stretches = arguments_->split.stretches, columns = arguments_->split.columns;
    const std::int64_t count = stretches * columns;
    const auto part = [&](std::int64_t cell, int f) {
        const Native<S>* const forms = tile.cells + cell * kept_forms;
        return f < kept_forms ? forms[f] : forms[1] - forms[2];
    };
    if (tile.present < lanes<S>)
        for (std::int64_t cell = 0; cell < count; ++cell) tile.erase(tile.cells + cell * kept_forms, kept_forms);
    Native<S>* sums = tile.sums + nodes_;
    Native<S>* squares = sums + cells_;
    for (int f = 0; f < split_forms; ++f) {
        Native<S> total{};
        for (std::int64_t cell = 0; cell < count; ++cell) total += part(cell, f);
        for (int lane = 0; lane < tile.present; ++lane)
            arguments_->split.totals[f * arguments_->n + first + lane] = total[lane];
        for (std::int64_t cell = 0; cell < count; ++cell, sums += 2) {
            sums[0] += part(cell, f);
            sums[1] += part(cell, f) * total;
        }
        for (std::int64_t column = 0; column < columns; ++column, ++squares) {
            Native<S> along{};
            for (std::int64_t stretch = 0; stretch < stretches; ++stretch) along += part(stretch * columns + column, f);
            *squares += along * along;
        }
    }
}

template <class S>
void Split<S>::end(std::int64_t begin, int thread) const {
    if (!wanted()) return;
    Native<S>* const sums = own_sums_.get() + thread * all_;
    for (Native<S>* node = sums; node < sums + nodes_; node += 2 * split_forms)
        node[2 * kept_forms] = node[2] - node[4];
    double* const part = parts_.get() + begin / size_ * all_;
    for (std::int64_t i = 0; i < all_; ++i) {
        part[i] = 0;
        for (int lane = 0; lane < lanes<S>; ++lane) part[i] += static_cast<double>(sums[i][lane]);
    }
}

template <class S>
void Split<S>::merge() const {
    const SplitArguments<S>& split = arguments_->split;
    for (std::int64_t i = 0; i < all_; ++i) {
        double sum = 0;
        for (std::int64_t part = 0; part * size_ < arguments_->n; ++part) sum += parts_.get()[part * all_ + i];
        (i < nodes_            ? split.nodes[i]
         : i < nodes_ + cells_ ? split.cells[i - nodes_]
                               : split.squares[i - nodes_ - cells_]) = sum;
    }
}

template struct TileParts<float>;
template struct TileParts<double>;
template class Split<float>;
template class Split<double>;

TK_END_NAMESPACE
