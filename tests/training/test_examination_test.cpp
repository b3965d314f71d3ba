#include "twingrad/training/test_examination.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "twingrad/mlp/autograd_twin.h"
#include "twingrad/mlp/manual_twin.h"

namespace twingrad::test_examination_test {

using namespace ::testing;

class TestExaminationTest : public Test {
 protected:
  TestExamination examination() { return {spec, {&autograd, &manual}}; }

  MlpSpec spec{.inputs = 2, .hidden = {}, .classes = 3};
  at::Tensor initial = at::zeros({parameter_count(spec)}, at::kDouble);
  AutogradTwin autograd{spec, {}, initial, at::kDouble};
  ManualTwin manual{spec, {}, initial, at::kDouble};
};

TEST_F(TestExaminationTest, CountsLabelsAndPredictionsOverAllBatches) {
  TestExamination examined = examination();
  const at::Tensor logits = at::tensor({5.0, 1.0, 0.0, 0.0, 1.0, 5.0}, at::kFloat).view({2, 3});
  const at::Tensor other = at::tensor({5.0, 1.0, 0.0, 0.0, 6.0, 5.0}, at::kFloat).view({2, 3});
  EXPECT_THAT(examined.add({logits, other}, at::tensor({0, 1}, at::kLong), 0), ElementsAre(1, 2));
  EXPECT_THAT(examined.add({logits, logits}, at::tensor({2, 2}, at::kLong), 2), ElementsAre(1, 1));
  const TestResults results = examined.results(7);
  EXPECT_EQ(results.epoch, 7);
  EXPECT_EQ(results.images, 4);
  EXPECT_EQ(results.same_predictions, 3);
  EXPECT_THAT(results.twins, ElementsAre("autograd", "manual"));
  EXPECT_THAT(results.confusion[0], ElementsAre(1, 0, 0, 0, 0, 1, 1, 0, 1));
  EXPECT_THAT(results.confusion[1], ElementsAre(1, 0, 0, 0, 1, 0, 1, 0, 1));
}

TEST_F(TestExaminationTest, ListsTheSurestMistakesWithTheProbabilitiesOfBothTwins) {
  TestExamination examined = examination();
  at::Tensor logits = at::zeros({20, 3}, at::kDouble);
  logits.select(1, 1).copy_(at::arange(20).remainder(7));
  const at::Tensor other = logits + at::tensor({1.0, 0.0, 0.0}, at::kDouble);
  examined.add({other, logits}, at::zeros({20}, at::kLong), 100);
  const TestResults results = examined.results(1);
  ASSERT_EQ(results.mistakes.size(), 12);
  const TestMistake& surest = results.mistakes.front();
  EXPECT_EQ(surest.image, 106);
  EXPECT_EQ(surest.label, 0);
  EXPECT_EQ(surest.prediction, 1);
  const at::Tensor by_autograd = other[6].softmax(0);
  const at::Tensor by_manual = logits[6].softmax(0);
  EXPECT_THAT(surest.prediction_probability,
              ElementsAre(DoubleEq(by_autograd[1].item<double>()), DoubleEq(by_manual[1].item<double>())));
  EXPECT_THAT(surest.label_probability,
              ElementsAre(DoubleEq(by_autograd[0].item<double>()), DoubleEq(by_manual[0].item<double>())));
  for (std::size_t i = 1; i < results.mistakes.size(); ++i) {
    EXPECT_GE(results.mistakes[i - 1].prediction_probability[1],
              results.mistakes[i].prediction_probability[1]);
  }
}

TEST_F(TestExaminationTest, UsesTheSigmoidForBinaryDecisions) {
  spec.loss = LossKind::bce_with_logits;
  TestExamination examined = examination();
  const at::Tensor logits = at::tensor({2.0, 0.0, -1.0}, at::kDouble).view({1, 3});
  examined.add({logits, logits}, at::tensor({1}, at::kLong), 0);
  EXPECT_NEAR(examined.results(1).mistakes.at(0).prediction_probability[1], 0.880797, 1e-6);
}

}  // namespace twingrad::test_examination_test
