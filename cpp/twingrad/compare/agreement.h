#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace twingrad {

/// How two twins agree at one step of a training. The gradients, those of all parameters and all intermediate
/// results, are compared at the weights of the manual twin (twin_comparer.h). The weights and the state of
/// the optimizers are those of the two trainings, which drift apart: Adam turns rounding into steps.
struct Agreement {
  std::int64_t epoch = 0;  ///< 0: before the first update
  std::int64_t step = 0;   ///< updates made so far
  double max_abs_gradient_difference = 0;
  double max_rel_gradient_difference = 0;  ///< max|a − m| / max|a| of the worst gradient
  double max_abs_weight_difference = 0;
  double max_abs_optimizer_state_difference = 0;
  std::string worst;                ///< the gradient with the largest relative difference, "0.weight"
  double bound = 0;                 ///< on its relative difference
  std::int64_t tensors = 0;         ///< number of tensors compared
  std::int64_t rows = 0;            ///< of the batch that were compared, or set aside
  std::int64_t rows_set_aside = 0;  ///< near a kink
  std::string verdict;              ///< Comparison::verdict
  double autograd_loss = 0;         ///< of the rows that were compared
  double manual_loss = 0;
  std::map<std::string, double> gradients = {};  ///< max|a − m| / max|a| of each; not in checkpoints
};

struct Comparison;

/// The figures of a comparison, without epoch, step and the distance of the two trainings.
Agreement agreement_of(const Comparison& comparison);

/// Why a training ends after this comparison, which did not pass, at a step after this many.
std::string describe_disagreement(const Comparison& comparison, std::int64_t steps);

}  // namespace twingrad
