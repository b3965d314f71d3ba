#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace twingrad {

/// A test image that a twin classifies wrongly, with the probabilities of all twins: the softmax of the
/// logits, or their sigmoid for bce_with_logits.
struct TestMistake {
  std::int64_t image = 0;  ///< index among the test images
  std::int64_t label = 0;
  std::int64_t prediction = 0;                      ///< of the last twin
  std::vector<std::int64_t> predictions = {};       ///< of each twin
  std::vector<double> prediction_probability = {};  ///< of the class `prediction`, by each twin
  std::vector<double> label_probability = {};       ///< of the class `label`, by each twin
};

/// What an evaluation on the test images shows beyond loss and accuracy.
struct TestResults {
  std::int64_t epoch = 0;  ///< after which
  std::int64_t images = 0;
  std::int64_t classes = 0;
  std::vector<std::string> twins;
  /// For each twin the number of images by label and prediction, [C, C].
  std::vector<std::vector<std::int64_t>> confusion;
  std::int64_t same_predictions = 0;  ///< images that all twins give the same class
  std::vector<TestMistake> mistakes;  ///< of the last twin: those with the highest probabilities, descending
};

}  // namespace twingrad
