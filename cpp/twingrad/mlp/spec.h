#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "twingrad/losses/loss.h"
#include "twingrad/runtime/names.h"
#include "twingrad/runtime/threads.h"

namespace twingrad {

/// The last part of the network, from logits to the loss. What each one asks of the network and the labels:
/// training_loss.h.
enum class LossKind {
  cross_entropy,         ///< fused from the logits, the label as a class index
  class_probabilities,   ///< the same, the label as a row of probabilities
  softmax_log,           ///< the chain shifted softmax → log(p + ε) → −Σ label · log p
  exercise_softmax_log,  ///< the same with the exercise's own softmax: unshifted, ε in the denominator
  nll,                   ///< log-softmax, then −log p of the label's class
  kl_divergence,         ///< log-softmax, then the divergence of the label as a row of probabilities
  bce_with_logits,       ///< one yes or no a class
  mse,                   ///< this and the rest: the logits against the label as a one-hot row
  l1,
  smooth_l1,
  huber,
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
  layer_of_its_own,  ///< y = x W, then y + b as the next layer of the list
};

/// What stands between a hidden layer's product and its activation.
enum class Normalization { none, batch, layer, rms };

const Names<Bias>& biases();
const Names<Normalization>& normalizations();

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
  nn::Reduction reduction = nn::Reduction::mean;
  Initialization initialization = Initialization::uniform;
  Normalization normalization = Normalization::none;
  double input_dropout = 0;          ///< the share of the inputs that training drops
  double dropout = 0;                ///< the share of each hidden layer's activations that it drops
  double label_smoothing = 0;        ///< the share of a label that goes to all classes alike
  bool residual = false;             ///< a hidden layer F whose input has its own width becomes y = x + F(x)
  bool normalization_affine = true;  ///< whether a normalization learns a scale (and a shift)
  bool normalization_statistics = true;  ///< whether batch normalization keeps running statistics

  // What some losses take; training_loss.h says which.
  std::vector<double> class_weights = {};         ///< one a class; {}: all 1
  std::optional<std::int64_t> ignore_index = {};  ///< rows with this label do not count in the loss
  std::vector<double> positive_weights = {};      ///< of a class's "yes"; {}: all 1
  double smooth_l1_beta = 1;
  double huber_delta = 1;
  bool batch_mean = false;  ///< the mean of the divergence divides by the rows alone
  bool log_target = false;  ///< the divergence takes the logarithm of the label's probabilities
};

/// One layer of the list that both twins are built from, in order.
struct LayerSpec {
  enum class Kind {
    linear,
    matmul,
    add_bias,
    append_ones,
    batch_norm,
    layer_norm,
    rms_norm,
    activation,
    dropout,
    softmax,
    exercise_softmax,
    log,
    log_softmax,
    residual
  };
  Kind kind;
  std::int64_t inputs = 0;  ///< add_bias: of the product before it
  std::int64_t outputs = 0;
  bool has_bias =
      true;  ///< linear alone; false in front of a batch normalization, where it would have no effect
  double dropped = 0;                  ///< dropout alone: the share of its inputs that training drops
  std::vector<LayerSpec> branch = {};  ///< residual alone: the layers of F
  std::string name = {};               ///< "2"; inside a residual block "2.0"
  std::size_t result = 0;              ///< the place of its result in result_names
};

/// The layers of the network, the softmax and log of a chain loss included. A layer's place in this list is
/// its name in torch.nn.Sequential: layer 2's weight is "2.weight", its result "2.output". A residual block is one
/// layer with a list of its own, a nested Sequential: "2.0.weight".
std::vector<LayerSpec> layers_of(const MlpSpec& spec);

/// The same with the layers of each residual block behind it, in the order in which torch.nn.Sequential meets them.
std::vector<LayerSpec> flat_layers_of(const MlpSpec& spec);

/// Whether the specification asks for residual blocks and a hidden layer has the width of its input.
bool has_residual_block(const MlpSpec& spec);

/// The place in layers_of(spec) of the layer whose result is the logits.
std::size_t logits_index(const MlpSpec& spec);

/// The place of the first layer that learns. Below it nobody needs a gradient.
std::size_t first_learning_layer(const MlpSpec& spec);

/// What both twins call the results of the layers, "0.output", …, "logits": those of layers_of in turn, then those
/// inside residual blocks.
std::vector<std::string> result_names(const MlpSpec& spec);

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

/// Whether the rows of a batch can be treated apart and their gradients added: not under batch normalization, whose
/// statistics are those of the whole batch, nor where the mean of the losses depends on the labels (training_loss.h).
bool can_be_sharded(const MlpSpec& spec);

/// What a step on so many rows takes, for plan_threads.
StepWork work_of(const MlpSpec& spec, std::int64_t rows, at::ScalarType dtype = at::kFloat);

/// "784-128-10", for people.
std::string describe_widths(const MlpSpec& spec);

/// Draws the initial parameters, one flat float64 vector on the CPU, from the seed. They do not depend on the
/// dtype of the run, so a float32 and a float64 run begin at the same point up to rounding.
at::Tensor draw_initial_parameters(const MlpSpec& spec, std::uint64_t seed);

}  // namespace twingrad
