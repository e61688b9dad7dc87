// Where Δs arises: sums over paths of what every node adds, and of what each path adds in each stretch of time.
//
// Paths are taken in stretches whose size depends on their number alone. Each is summed tile by tile in one thread,
// lane by lane; lanes, and then stretches, are added in their order in float64. So the bits do not depend on the
// threads.
#pragma once

#include "../core/trajectory_parts.hpp"
#include "schedule.hpp"

TK_BEGIN_NAMESPACE

// The difference of two forms' sums needs none of its own.
constexpr int kept_forms = split_forms - 1;

// One tile of paths; looks at nothing where Δs is not split.
template <class S>
struct TileParts {
    const TrajectoryArguments<S>* arguments;
    Native<S>* sums;   // those of its thread: (nodes, split_forms, 2), Σ A and Σ A², and what Split adds; or null
    Native<S>* cells;  // (stretches, columns, kept_forms), of the tile
    int present;       // lanes that hold paths

    void look(std::int64_t k, int dim, const Visit<Native<S>>& visit) const {
        if (sums == nullptr) return;
        const Node<S>& node = reinterpret_cast<const Node<S>*>(arguments->steps)[k];
        const PartNode<S>& part = reinterpret_cast<const PartNode<S>*>(arguments->split.table)[k];
        const bool by_component = arguments->split.columns > 1;
        Native<S>* cell = cells + static_cast<std::int64_t>(part.stretch) * arguments->split.columns * kept_forms;
        Native<S> totals[split_forms] = {};
        totals[0] = node.energy * arguments->divergence_weight * (visit.model_divergence - visit.reference_divergence);
        for (int i = 0; i < dim; ++i) {
            Native<S> forms[split_forms];
            split_component(node, part, arguments->sampler, visit.model[i], visit.reference[i], visit.carried[i],
                            visit.noise[i], visit.previous[i], forms);
            for (int f = 0; f < kept_forms; ++f) totals[f] += forms[f];
            if (!by_component) continue;
            for (int f = 0; f < kept_forms; ++f) cell[f] += forms[f];
            cell += kept_forms;
        }
        for (int f = 0; f < kept_forms && !by_component; ++f) cell[f] += totals[f];
        totals[kept_forms] = totals[1] - totals[2];
        if (present < lanes<S>) erase(totals, split_forms);
        Native<S>* const here = sums + k * split_forms * 2;
        for (int f = 0; f < kept_forms; ++f) here[2 * f] += totals[f];
        for (int f = 0; f < split_forms; ++f) here[2 * f + 1] += totals[f] * totals[f];
    }
    TK_CALL void erase(Native<S>* forms, int count) const;  // what lanes without paths say
};

// All that a call splits; holds nothing where Δs is not split.
template <class S>
class Split {
 public:
    TK_CALL Split(const TrajectoryArguments<S>& arguments, int threads);
    // Paths that one thread takes, one tile after the other.
    std::int64_t size() const { return size_; }
    // Tile `first` of the stretch of paths that begins at `begin`, with nothing in it; and once its paths have arrived.
    TK_CALL TileParts<S> begin(std::int64_t begin, std::int64_t first, int thread) const;
    TK_CALL void keep(const TileParts<S>& tile, std::int64_t first) const;
    // A stretch of paths has arrived; and all of them.
    TK_CALL void end(std::int64_t begin, int thread) const;
    TK_CALL void merge() const;

 private:
    bool wanted() const { return arguments_->split.table != nullptr; }

    const TrajectoryArguments<S>* arguments_;
    std::int64_t size_;                           // paths of a stretch
    std::int64_t nodes_, cells_, squares_, all_;  // numbers of each output, and of all
    Buffer<Native<S>> own_sums_, own_cells_;      // of each thread
    Buffer<double> parts_;                        // (stretches of paths, all_)
};

TK_END_NAMESPACE
