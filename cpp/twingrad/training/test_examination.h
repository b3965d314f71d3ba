#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "twingrad/mlp/spec.h"
#include "twingrad/mlp/twin.h"
#include "twingrad/training/test_results.h"

namespace twingrad {

/// Collects TestResults batch by batch.
class TestExamination {
 public:
  TestExamination(const MlpSpec& spec, const std::vector<Twin*>& twins);

  /// logits: [B, C] of each twin for the images first … first + B − 1; labels [B]. Returns the number of
  /// images that each twin classifies correctly.
  std::vector<std::int64_t> add(const std::vector<at::Tensor>& logits, const at::Tensor& labels,
                                std::int64_t first);

  TestResults results(std::int64_t epoch) const;

 private:
  struct Row;
  void add_mistake(const std::vector<Row>& rows, std::int64_t image, std::int64_t label);

  bool is_sigmoid_;
  TestResults results_;
};

}  // namespace twingrad
