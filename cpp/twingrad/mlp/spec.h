#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "twingrad/losses/loss.h"

namespace twingrad {

/// The last part of the network, from logits to the loss.
enum class LossKind {
  cross_entropy,         ///< fused from the logits
  softmax_log,           ///< the chain shifted softmax → log(p + ε) → −Σ label · log p
  exercise_softmax_log,  ///< the same with the exercise's own softmax: unshifted, ε in the denominator
};

/// How the first weights are drawn.
enum class Initialization {
  uniform,  ///< W and b uniform in ±1/√inputs, the default of torch::nn::Linear
  normal,   ///< W from N(0, 1), b = 0, as in the classroom exercise
};

/// Where the biases are.
enum class Bias {
  every_layer,     ///< y = x Wᵀ + b in every layer (torch::nn::Linear)
  column_of_ones,  ///< a column of ones behind the input, then products without a bias (the exercise's numpy
                   ///< part)
};

/// What stands between a hidden layer's product and its activation.
enum class Normalization { none, batch, layer, rms };

/// ε of the exercise's Softmax and Log.
inline constexpr double kExerciseEpsilon = 1e-12;

/// A multilayer perceptron and its loss: all that the two twins have in common.
struct MlpSpec {
  std::int64_t inputs = 784;
  std::vector<std::int64_t> hidden = {128};  ///< empty: a linear model
  std::int64_t classes = 10;
  std::string activation = "relu";  ///< a name of layers/activations.h
  Bias bias = Bias::every_layer;
  LossKind loss = LossKind::cross_entropy;
  Reduction reduction = Reduction::mean;
  Initialization initialization = Initialization::uniform;
  Normalization normalization = Normalization::none;
  double dropout = 0;          ///< the share of each hidden layer's activations that training drops
  double label_smoothing = 0;  ///< with the fused cross-entropy alone
};

/// One layer of the list that both twins are built from, in order.
struct LayerSpec {
  enum class Kind {
    linear,
    matmul,
    append_ones,
    batch_norm,
    layer_norm,
    rms_norm,
    activation,
    dropout,
    softmax,
    exercise_softmax,
    log
  };
  Kind kind;
  std::int64_t inputs = 0;
  std::int64_t outputs = 0;
  bool has_bias =
      true;  ///< linear alone; false in front of a batch normalization, where it would have no effect
};

/// The layers of the network, the softmax and log of a chain loss included. A layer's place in this list is
/// its name in torch.nn.Sequential: layer 2's weight is "2.weight", its result "2.output".
std::vector<LayerSpec> layers_of(const MlpSpec& spec);

/// The place in layers_of(spec) of the layer whose result is the logits.
std::size_t logits_index(const MlpSpec& spec);

/// The place of the first layer that learns. Below it nobody needs a gradient.
std::size_t first_learning_layer(const MlpSpec& spec);

/// What both twins call the result of layer `index`: "logits", or "<index>.output".
std::string output_name(const MlpSpec& spec, std::size_t index);

/// One parameter: its name, shape and place in the flat vector.
struct ParameterSpec {
  std::string name;
  std::vector<std::int64_t> shape;
  std::int64_t offset = 0;
  std::int64_t size = 0;
  std::int64_t inputs = 0;  ///< of its layer: what the uniform initialization scales by
  enum class Role { weight, bias, scale, shift } role = Role::weight;  ///< scale, shift: of a normalization
};

/// All parameters in the order of torch.nn.Sequential: 0.weight, 0.bias, 2.weight, …
std::vector<ParameterSpec> parameters_of(const MlpSpec& spec);

/// How many numbers the network learns.
std::int64_t parameter_count(const MlpSpec& spec);

/// "784-128-10", for people.
std::string describe_widths(const MlpSpec& spec);

/// Draws the initial parameters, one flat float64 vector on the CPU, from the seed. They do not depend on the
/// dtype of the run, so a float32 and a float64 run begin at the same point up to rounding.
at::Tensor draw_initial_parameters(const MlpSpec& spec, std::uint64_t seed);

/// Draws the masks of one step, [rows, width] bool for each dropout layer in turn, true where an entry stays. They
/// depend on seed and step alone.
std::vector<at::Tensor> draw_dropout_masks(const MlpSpec& spec, std::int64_t rows, std::uint64_t seed,
                                           std::int64_t step);

}  // namespace twingrad
