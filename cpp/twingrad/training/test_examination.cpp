#include "twingrad/training/test_examination.h"

#include <algorithm>
#include <cmath>

namespace twingrad {
namespace {

constexpr std::size_t kMostMistakes = 12;

}  // namespace

/// The logits of one image, by one twin.
struct TestExamination::Row {
  const double* logits;
  std::int64_t classes;
  std::int64_t prediction;

  Row(const at::Tensor& batch, std::int64_t row)
      : logits(batch.data_ptr<double>() + row * batch.size(1)),
        classes(batch.size(1)),
        prediction(std::max_element(logits, logits + classes) - logits) {}

  /// As in Predictor.
  double probability(std::int64_t of_class, bool is_sigmoid) const {
    if (is_sigmoid) {
      return 1 / (1 + std::exp(-logits[of_class]));
    }
    double sum = 0;
    for (std::int64_t i = 0; i < classes; ++i) {
      sum += std::exp(logits[i] - logits[prediction]);
    }
    return std::exp(logits[of_class] - logits[prediction]) / sum;
  }
};

TestExamination::TestExamination(const MlpSpec& spec, const std::vector<Twin*>& twins)
    : is_sigmoid_(spec.loss == LossKind::bce_with_logits) {
  results_.classes = spec.classes;
  for (const Twin* twin : twins) {
    results_.twins.push_back(twin->name());
    results_.confusion.emplace_back(spec.classes * spec.classes, 0);
  }
}

std::vector<std::int64_t> TestExamination::add(const std::vector<at::Tensor>& logits,
                                               const at::Tensor& labels, std::int64_t first) {
  std::vector<at::Tensor> batches;
  for (const at::Tensor& of_twin : logits) {
    batches.push_back(of_twin.to(at::kCPU, at::kDouble).contiguous());
  }
  const at::Tensor of_rows = labels.to(at::kCPU);
  const auto* label = of_rows.data_ptr<std::int64_t>();
  std::vector<std::int64_t> correct(logits.size(), 0);
  std::vector<Row> rows;
  for (std::int64_t i = 0; i < of_rows.numel(); ++i) {
    rows.clear();
    for (std::size_t twin = 0; twin < batches.size(); ++twin) {
      rows.emplace_back(batches[twin], i);
      const std::int64_t prediction = rows.back().prediction;
      correct[twin] += prediction == label[i] ? 1 : 0;
      ++results_.confusion[twin][static_cast<std::size_t>(label[i] * results_.classes + prediction)];
    }
    results_.same_predictions += rows.front().prediction == rows.back().prediction ? 1 : 0;
    if (rows.back().prediction != label[i]) {
      add_mistake(rows, first + i, label[i]);
    }
  }
  results_.images += of_rows.numel();
  return correct;
}

void TestExamination::add_mistake(const std::vector<Row>& rows, std::int64_t image, std::int64_t label) {
  std::vector<TestMistake>& mistakes = results_.mistakes;
  const std::int64_t wrong = rows.back().prediction;
  const double probability = rows.back().probability(wrong, is_sigmoid_);
  const auto place = std::find_if(mistakes.begin(), mistakes.end(), [&](const TestMistake& other) {
    return probability > other.prediction_probability.back();
  });
  if (place - mistakes.begin() >= static_cast<std::ptrdiff_t>(kMostMistakes)) {
    return;
  }
  TestMistake mistake{.image = image, .label = label, .prediction = wrong};
  for (const Row& row : rows) {
    mistake.predictions.push_back(row.prediction);
    mistake.prediction_probability.push_back(row.probability(wrong, is_sigmoid_));
    mistake.label_probability.push_back(row.probability(label, is_sigmoid_));
  }
  mistakes.insert(place, std::move(mistake));
  mistakes.resize(std::min(mistakes.size(), kMostMistakes));
}

TestResults TestExamination::results(std::int64_t epoch) const {
  TestResults results = results_;
  results.epoch = epoch;
  return results;
}

}  // namespace twingrad
