#include "app_fixture.h"

namespace twingrad {
namespace {

class CompareTest : public AppTest {
 protected:
  Outcome compare(const std::string& options) const {
    return run(Arguments("compare --dataset synthetic --hidden 16 --batch-size 32") + options);
  }
};

TEST_F(CompareTest, ListsEveryTensorInBackwardOrder) {
  const Outcome outcome = compare("");
  EXPECT_EQ(outcome.status, 0) << outcome.errors;
  std::size_t from = 0;
  for (const char* tensor :
       {"loss", "logits ", "logits.grad", "2.weight.grad", "1.output.grad", "0.output.grad", "0.weight.grad",
        "0.weight.exp_avg", "same to rounding", "tensors agree"}) {
    const std::size_t at = outcome.output.find(tensor, tensor == std::string("same to rounding") ? 0 : from);
    EXPECT_NE(at, std::string::npos) << tensor;
    from = std::max(from, at);
  }
}

TEST_F(CompareTest, WritesJson) {
  const Outcome outcome = compare("--json --dtype float64");
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.errors, "");
  const Json json = Json::parse(outcome.output);
  EXPECT_EQ(json["passed"], true);
  EXPECT_EQ(json["dtype"], "float64");
  EXPECT_EQ(json["rows"], 32);
  EXPECT_TRUE(json["at_fault"].is_null());
  EXPECT_EQ(json["tensors"][0]["name"], "loss");
}

TEST_F(CompareTest, NamesTheLayerWithAPlantedBug) {
  const Outcome outcome = compare("--bug relu.mask_from_gradient");
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.output,
              AllOf(HasSubstr("at fault: layer 1, relu"), HasSubstr("follows from 0.output.grad")));
  EXPECT_EQ(Json::parse(compare("--json --bug adam.square_not_squared").output)["at_fault"],
            "optimizer, adam");
  EXPECT_EQ(compare("--bug none").status, 0);
}

TEST_F(CompareTest, RefusesBugsThatCannotShow) {
  const auto refusal = [&](const std::string& options) {
    const Outcome outcome = compare(options);
    EXPECT_EQ(outcome.status, 2) << options;
    EXPECT_EQ(outcome.output, "");
    return outcome.errors;
  };
  EXPECT_THAT(refusal("--bug tanh.square_forgotten"), HasSubstr("add --activation tanh"));
  EXPECT_THAT(refusal("--bug relu.mask_from_gradent"), HasSubstr("did you mean relu.mask_from_gradient"));
  EXPECT_THAT(refusal("--optimizer sgd --momentum 0.9 --bug sgd.momentum.reset"),
              ::testing::AnyOf(HasSubstr("the same bits"), HasSubstr("larger than rounding")));
  EXPECT_THAT(refusal("--weights nosuch.pt"), HasSubstr("found nothing"));
  EXPECT_THAT(refusal("--epochs 3"), HasSubstr("expected an option of 'twingrad compare'"));
}

TEST_F(CompareTest, ComparesAtTheWeightsOfARunOrAFile) {
  EXPECT_EQ(train("--hidden 16 --out run --quiet").status, 0);
  const auto loss_at = [&](const std::string& options) {
    const Outcome outcome = run("compare --json " + options);
    EXPECT_EQ(outcome.status, 0) << outcome.errors;
    return Json::parse(outcome.output)["tensors"][0]["largest"].get<double>();
  };
  const double trained = loss_at("--weights run");
  EXPECT_LT(trained, 2) << "the loss before training is about log 10";
  EXPECT_EQ(loss_at("--dataset synthetic --hidden 16 --weights run/manual.safetensors --batch-size 32"),
            loss_at("--weights run --batch-size 32"));
  EXPECT_EQ(loss_at("--dataset synthetic --hidden 16 --init run/manual.safetensors --batch-size 32"),
            loss_at("--weights run --batch-size 32"));
  const Outcome both = run("compare --hidden 16 --weights run/manual.safetensors --init normal");
  EXPECT_EQ(both.status, 2);
  EXPECT_THAT(both.errors, HasSubstr("leave one of the two out"));
  const Outcome other = run("compare --weights run --hidden 17");
  EXPECT_EQ(other.status, 2);
  EXPECT_THAT(other.errors, HasSubstr("leave out the network options"));
}

}  // namespace
}  // namespace twingrad
